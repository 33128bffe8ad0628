//! TOML to a tree.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Syntax;
use super::tree::{Entry, MAX_DEPTH, Node, Value};

/// How many faults of the form are told; the later ones often follow from the first.
const MOST_FAULTS: usize = 3;

/// The tree, or what is wrong with the text's form.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Syntax>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let faults = errors.iter().take(MOST_FAULTS).map(|error| {
            let span = error.span().unwrap_or(0..0);
            Syntax::new(span, error.message().to_owned())
        });
        return Err(faults.collect());
    }
    let span = table.span();
    of_table(table.into_inner(), span, 0).map_err(|fault| vec![fault])
}

pub(super) fn deeper() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

fn of_table(table: DeTable<'_>, span: Range<usize>, depth: usize) -> Result<Node, Syntax> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        entries.push(Entry {
            span: key.span(),
            key: key.into_inner().into_owned(),
            node: of_value(value, depth + 1)?,
        });
    }
    // The parser sorts them by name; people read them from top to bottom.
    entries.sort_by_key(|entry| entry.span.start);
    Ok(Node {
        span,
        value: Value::Table(entries),
    })
}

fn of_value(value: Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Syntax> {
    let span = value.span();
    if depth > MAX_DEPTH {
        return Err(Syntax::new(span, deeper()));
    }
    let value = match value.into_inner() {
        DeValue::Table(table) => return of_table(table, span, depth),
        DeValue::Array(list) => {
            let nodes = list.into_iter().map(|value| of_value(value, depth + 1));
            Value::List(nodes.collect::<Result<_, _>>()?)
        }
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            // Longer than any number of use here: as large as a float says.
            .map_or_else(|_| float(number.to_string(), f64::INFINITY), Value::Integer),
        DeValue::Float(number) => {
            let value = number.as_str().parse().unwrap_or(f64::NAN);
            float(number.to_string(), value)
        }
    };
    Ok(Node { span, value })
}

fn float(written: String, value: f64) -> Value {
    Value::Float(value, written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part of a key is a table within a table: without a limit, freeing them would need a
    /// stack as deep.
    #[test]
    fn keys_of_many_parts_are_refused_before_they_cost_a_stack() {
        for parts in [MAX_DEPTH + 1, 300_000] {
            let key = vec!["k"; parts].join(".");
            for text in [
                format!("{key} = 1\n"),
                format!("[{key}]\n"),
                format!("a = {{ {key} = 1 }}\n"),
                format!("a = {}1{}\n", "[".repeat(parts), "]".repeat(parts)),
            ] {
                assert!(!parse(&text).unwrap_err().is_empty());
            }
        }
    }
}
