//! Whether a document keeps its JSON Schema.
//!
//! The part of JSON Schema that docs/schemas and policies/ use, and no more: a keyword that is not known here
//! fails the test. The complete validators there are bring more than seventy crates with them.

use std::path::PathBuf;

use serde_json::{Map, Value};

/// The schema of a document from docs/schemas; `None` where docs is not in the package.
pub(crate) fn schema(name: &str) -> Option<Value> {
    let docs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"));
    let file = docs.join("schemas").join(format!("{name}.json"));
    docs.is_dir()
        .then(|| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

/// What is wrong with `value`. Stricter than the schema in one point: a key that the schema does
/// not know is wrong here, although readers are told to let it pass, for it is undocumented.
pub(crate) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, schema, value, "", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = schema.as_object().expect("a schema is an object");
    let mut fault = |text: String| faults.push(format!("{at}: {text}"));
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            "properties" | "required" | "items" => {}
            "type" if !is_of(rule, value) => fault(format!("{value} is no {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => {
                fault(format!("{value} is none of {rule}"));
            }
            "const" if rule != value => fault(format!("{value} is not {rule}")),
            // Of numbers alone: null is not below 0.
            "minimum" if value.as_f64().is_some_and(|n| Some(n) < rule.as_f64()) => {
                fault(format!("{value} < {rule}"));
            }
            "maximum" if value.as_f64().is_some_and(|n| Some(n) > rule.as_f64()) => {
                fault(format!("{value} > {rule}"));
            }
            "maxLength" if length(value) > rule.as_u64() => fault(format!("{value} is long")),
            "maxItems" if value.as_array().map(|l| l.len() as u64) > rule.as_u64() => {
                fault(format!("{value} is long"));
            }
            "uniqueItems" => {
                let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                if (1..list.len()).any(|n| list[..n].contains(&list[n])) {
                    fault(format!("{value} has the same twice"));
                }
            }
            // The two patterns of the schemas.
            "pattern" if rule == "^/." => {
                let text = value.as_str().unwrap_or_default();
                if !text.starts_with('/') || text.len() < 2 {
                    fault(format!("{value} does not match {rule}"));
                }
            }
            "pattern" => {
                assert_eq!(rule, "^KV-[A-Z-]+$");
                let rest = value.as_str().unwrap_or_default().strip_prefix("KV-");
                let plain = |b: u8| b.is_ascii_uppercase() || b == b'-';
                if !rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain)) {
                    fault(format!("{value} does not match {rule}"));
                }
            }
            "type" | "enum" | "const" | "minimum" | "maximum" | "maxLength" | "maxItems" => {}
            "$ref" | "anyOf" | "oneOf" | "propertyNames" => {}
            // Of keys that are named, `false` is how every object is taken here.
            "additionalProperties" if rule.is_object() || rule == &Value::Bool(false) => {}
            "x-unit" => {}
            other => panic!("{at}: the keyword `{other}` is not known to this test"),
        }
    }
    if let Some(Value::String(path)) = schema.get("$ref") {
        let target = root.pointer(path.strip_prefix('#').unwrap()).unwrap();
        check(root, target, value, at, faults);
    }
    for (keyword, wanted) in [("anyOf", 1..=usize::MAX), ("oneOf", 1..=1)] {
        if let Some(Value::Array(choices)) = schema.get(keyword) {
            let fits = |choice: &&Value| {
                let mut found = Vec::new();
                check(root, choice, value, at, &mut found);
                found.is_empty()
            };
            let count = choices.iter().filter(fits).count();
            if !wanted.contains(&count) {
                faults.push(format!("{at}: {value} fits {count} of {keyword}"));
            }
        }
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            check(root, items, item, &format!("{at}/{index}"), faults);
        }
    }
    if let (Some(rule @ Value::Object(_)), Some(object)) =
        (schema.get("additionalProperties"), value.as_object())
    {
        for (key, value) in object {
            check(root, rule, value, &format!("{at}/{key}"), faults);
            let names = schema.get("propertyNames").unwrap_or(&Value::Null);
            if names.is_object() {
                check(root, names, &Value::from(key.as_str()), at, faults);
            }
        }
    }
    if let (Some(Value::Object(known)), Some(object)) =
        (schema.get("properties"), value.as_object())
    {
        check_object(root, known, schema.get("required"), object, at, faults);
    }
}

fn check_object(
    root: &Value,
    known: &Map<String, Value>,
    required: Option<&Value>,
    object: &Map<String, Value>,
    at: &str,
    faults: &mut Vec<String>,
) {
    for key in required.and_then(Value::as_array).into_iter().flatten() {
        if !object.contains_key(key.as_str().unwrap()) {
            faults.push(format!("{at}: no {key}"));
        }
    }
    for (key, value) in object {
        match known.get(key) {
            Some(schema) => check(root, schema, value, &format!("{at}/{key}"), faults),
            None => faults.push(format!("{at}: {key} is not documented")),
        }
    }
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

/// `rule` is the name of a type, or a list of them.
fn is_of(rule: &Value, value: &Value) -> bool {
    let names = match rule {
        Value::Array(names) => names.clone(),
        name => vec![name.clone()],
    };
    names.iter().any(|name| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the type `{other}` is not known to this test"),
    })
}
