//! A file's contents with the place of each part, whichever format it was written in.

use std::ops::Range;

/// How deep tables and lists may lie in each other. A policy needs three.
pub(super) const MAX_DEPTH: usize = 16;

/// A value and the bytes that it stands in.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

/// A value of TOML or JSON.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    /// With the text that it is written as.
    Float(f64, String),
    Text(String),
    /// Only TOML has these; no key takes one.
    Date(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// Was wrong, and was taken out of its list; the others keep their numbers.
    Pruned,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) node: Node,
}

/// One part of the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The way as it stands in errors: `filesystem.read[1]`.
pub(super) fn written(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Index(index) => out.push_str(&format!("[{index}]")),
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&crate::names::shown(key));
            }
        }
    }
    out
}

/// The way to a key of the type's own, for instance `filesystem.read[1]`.
pub(super) fn steps(key: &str) -> Vec<Step> {
    let mut out = Vec::new();
    for part in key.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse().ok()),
            None => (part, None),
        };
        out.push(Step::Key(name.to_owned()));
        out.extend(index.map(Step::Index));
    }
    out
}

impl Node {
    /// The value at the end of a way.
    pub(super) fn at(&self, path: &[Step]) -> Option<&Node> {
        let Some((step, rest)) = path.split_first() else {
            return Some(self);
        };
        match (&self.value, step) {
            (Value::Table(entries), Step::Key(key)) => {
                let entry = entries.iter().find(|entry| entry.key == *key)?;
                entry.node.at(rest)
            }
            (Value::List(nodes), Step::Index(index)) => nodes.get(*index)?.at(rest),
            _ => None,
        }
    }

    /// The place of a way's end: of the value, or of as much of the way as there is.
    pub(super) fn place(&self, path: &[Step]) -> Option<Range<usize>> {
        (1..=path.len())
            .rev()
            .find_map(|length| Some(self.at(path.get(..length)?)?.span.clone()))
    }

    /// Takes a value out, with its key; whether there was one.
    pub(super) fn prune(&mut self, path: &[Step]) -> bool {
        let Some((step, rest)) = path.split_first() else {
            return false;
        };
        match (&mut self.value, step) {
            (Value::Table(entries), Step::Key(key)) => {
                let Some(at) = entries.iter().position(|entry| entry.key == *key) else {
                    return false;
                };
                if rest.is_empty() {
                    entries.remove(at);
                    return true;
                }
                entries
                    .get_mut(at)
                    .is_some_and(|entry| entry.node.prune(rest))
            }
            (Value::List(nodes), Step::Index(index)) => nodes.get_mut(*index).is_some_and(|node| {
                if rest.is_empty() {
                    node.value = Value::Pruned;
                    return true;
                }
                node.prune(rest)
            }),
            _ => false,
        }
    }

    /// What it is, for people.
    pub(super) fn described(&self) -> String {
        match &self.value {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Float(_, written) => crate::names::shown(written),
            Value::Text(text) => format!("the text \"{}\"", crate::names::shown(text)),
            Value::Date(date) => format!("the date {date}"),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
            Value::Pruned => String::new(),
        }
    }
}
