//! JSON to a tree.
//!
//! serde_json keeps no places. Its `RawValue` keeps the text of a value, though, and the text of
//! each part lies in the text of the whole in order: a cursor that walks along finds every key
//! and value again.

use std::fmt;
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::Syntax;
use super::toml::deeper;
use super::tree::{Entry, MAX_DEPTH, Node, Value};

/// The tree, or what is wrong with the text's form.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Syntax>> {
    if text.trim_start_matches(WHITE).is_empty() {
        return Err(vec![Syntax::new(0..0, "an empty file".to_owned())]);
    }
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| vec![fault(text, &error)])?;
    // White space may stand before and after.
    let start = text.len() - text.trim_start_matches(WHITE).len();
    let mut repeated = Vec::new();
    let node = of_value(whole.get(), start, 0, &mut repeated).map_err(|fault| vec![fault])?;
    if repeated.is_empty() {
        Ok(node)
    } else {
        Err(repeated)
    }
}

/// What JSON calls white space.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// serde_json says the line, and the column in bytes; both also stand at the end of its text.
fn fault(text: &str, error: &serde_json::Error) -> Syntax {
    let line_start: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let at = (line_start + error.column().saturating_sub(1)).min(text.len());
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    Syntax::new(at..at + 1, message.to_owned())
}

fn of_value(
    text: &str,
    start: usize,
    depth: usize,
    repeated: &mut Vec<Syntax>,
) -> Result<Node, Syntax> {
    let span = start..start + text.len();
    if depth > MAX_DEPTH {
        return Err(Syntax::new(start..start + 1, deeper()));
    }
    // The whole was read once: only what serde_json checks late can still be wrong.
    let failed = |error: serde_json::Error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        Syntax::new(span.clone(), message.to_owned())
    };
    let value = match text.as_bytes().first() {
        Some(b'{') => {
            let entries = serde_json::Deserializer::from_str(text)
                .deserialize_map(Entries)
                .map_err(failed)?;
            table(text, start, entries, depth, repeated)?
        }
        Some(b'[') => {
            let items = serde_json::Deserializer::from_str(text)
                .deserialize_seq(Items)
                .map_err(failed)?;
            let mut cursor = Cursor::new(text, start);
            let mut nodes = Vec::with_capacity(items.len());
            for item in items {
                let at = cursor.next(item.get());
                nodes.push(of_value(item.get(), at, depth + 1, repeated)?);
            }
            Value::List(nodes)
        }
        Some(b'"') => Value::Text(serde_json::from_str(text).map_err(failed)?),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') => Value::Null,
        _ => match text.parse::<i128>() {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Float(text.parse().unwrap_or(f64::INFINITY), text.to_owned()),
        },
    };
    Ok(Node { span, value })
}

fn table(
    text: &str,
    start: usize,
    entries: Vec<(String, &RawValue)>,
    depth: usize,
    repeated: &mut Vec<Syntax>,
) -> Result<Value, Syntax> {
    let mut cursor = Cursor::new(text, start);
    let mut out: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut seen = std::collections::BTreeSet::new();
    for (key, value) in entries {
        let span = cursor.key();
        let at = cursor.next(value.get());
        if !seen.insert(key.clone()) {
            let shown = crate::names::shown(&key);
            repeated.push(Syntax::new(
                span,
                format!("the key `{shown}` stands here twice"),
            ));
            continue;
        }
        out.push(Entry {
            span,
            key,
            node: of_value(value.get(), at, depth + 1, repeated)?,
        });
    }
    Ok(Value::Table(out))
}

/// Walks along the text of a table or list.
struct Cursor<'a> {
    text: &'a str,
    start: usize,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Behind the opening bracket.
    fn new(text: &'a str, start: usize) -> Self {
        Self { text, start, at: 1 }
    }

    fn skip(&mut self, separator: char) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let rest_len = rest
            .trim_start_matches(|c| WHITE.contains(&c) || c == separator)
            .len();
        self.at += rest.len() - rest_len;
    }

    /// The place of the next key, quotes included.
    fn key(&mut self) -> Range<usize> {
        self.skip(',');
        let from = self.at;
        let mut escaped = false;
        let quoted = self.text.bytes().skip(from + 1);
        let inside = quoted.take_while(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            !ends
        });
        self.at = from + 1 + inside.count() + 1;
        let span = self.start + from..self.start + self.at;
        self.skip(':');
        span
    }

    /// Where the next value begins, whose text this is.
    fn next(&mut self, value: &str) -> usize {
        self.skip(',');
        let at = self.start + self.at;
        self.at += value.len();
        at
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::steps;
    use super::*;

    #[test]
    fn every_part_is_found_where_it_stands() {
        let text = " {\"a\\\"b\" : [ 1 ,\t{\"c\":\"é\"} ],\n\"d\": -2.5e1,\"e\":null}\n";
        let node = parse(text).unwrap();
        let Value::Table(entries) = &node.value else {
            panic!("{node:?}");
        };
        let keys: Vec<&str> = entries
            .iter()
            .map(|entry| &text[entry.span.clone()])
            .collect();
        assert_eq!(keys, ["\"a\\\"b\"", "\"d\"", "\"e\""]);
        let values: Vec<&str> = entries
            .iter()
            .map(|entry| &text[entry.node.span.clone()])
            .collect();
        assert_eq!(values, ["[ 1 ,\t{\"c\":\"é\"} ]", "-2.5e1", "null"]);
        let mut path = steps("x[1].c");
        path[0] = super::super::tree::Step::Key("a\"b".into());
        let inner = node.at(&path).unwrap();
        assert_eq!(&text[inner.span.clone()], "\"é\"");
    }

    #[test]
    fn depth_is_bounded_before_it_costs_a_stack() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        let faults = parse(&deep).unwrap_err();
        assert!(faults[0].problem.contains("deeper"), "{faults:?}");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_the_second_time() {
        let faults = parse("{\"a\": 1, \"a\": 2}").unwrap_err();
        assert_eq!((faults.len(), faults[0].span.start), (1, 9));
    }
}
