//! The JSON Schema of policy files, from the types that read them.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::mistake::keys;
use super::text::{NO_PROFILE, PolicyText, VERSION};
use crate::control::Control;
use crate::policy::validate::MAX_NAME;
use crate::policy::{MAX_READ_PATHS, SYSCALL_PROFILES};

/// The JSON Schema (draft 2020-12) of policy files: every key with its type, range, unit (as
/// `x-unit`) and description. For editors, and for whatever writes policies.
///
/// What no schema can say is found when a policy is read: settings that contradict each other, a
/// path of a form that no host has, the file that another one extends.
#[must_use]
pub fn json_schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    let mut control = generator.subschema_for::<Control>().to_value();
    polished(&mut control);
    let mut schema = generator.into_root_schema_for::<PolicyText>().to_value();
    polished(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "kavach policy".into());
    }
    let mut add = |key: &str, what: Value| {
        if let (Some(node), Value::Object(what)) = (node_of(&mut schema, key), what) {
            node.extend(what);
        }
    };
    for key in keys() {
        if let Some((least, most)) = key.rule.range {
            add(
                key.path,
                json!({ "minimum": number(least), "maximum": number(most), "x-unit": key.rule.unit }),
            );
        }
    }
    add("version", json!({ "const": VERSION }));
    add("name", json!({ "maxLength": MAX_NAME }));
    for paths in ["filesystem.read", "filesystem.write_through"] {
        let item = json!({ "type": "string", "pattern": "^/." });
        add(
            paths,
            json!({ "maxItems": MAX_READ_PATHS, "uniqueItems": true, "items": item }),
        );
    }
    let mut profiles = SYSCALL_PROFILES.to_vec();
    profiles.push(NO_PROFILE);
    add("syscall_filter.profile", json!({ "enum": profiles }));
    add("requirements", json!({ "propertyNames": control }));
    let approximate: Vec<&str> = Control::ALL
        .into_iter()
        .filter(|control| control.may_be_approximate())
        .map(Control::as_str)
        .collect();
    add(
        "accept_approximate",
        json!({ "items": { "type": "string", "enum": approximate } }),
    );
    schema
}

/// A whole number where it is one: `1`, not `1.0`.
fn number(number: f64) -> Value {
    // Ranges lie far below 2^53, so nothing is lost.
    if number.fract() == 0.0 {
        json!(number as u64)
    } else {
        json!(number)
    }
}

/// The schema of a key.
fn node_of<'a>(schema: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let mut node = schema;
    for part in key.split('.') {
        node = node.get_mut("properties")?.get_mut(part)?;
    }
    node.as_object_mut()
}

/// Takes out what the types say of Rust and not of a policy.
///
/// An optional key may be absent. It may not be `null`, which could be meant as "no limit".
fn polished(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(polished),
        Value::Object(node) => {
            if let Some(Value::Array(types)) = node.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    node.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(choices)) = node.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type") != Some(&json!("null")));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    node.remove("anyOf");
                    for (key, value) in only {
                        // The key's own description says more than its type's.
                        node.entry(key).or_insert(value);
                    }
                }
            }
            // What serde fills in for an absent key; to people it says nothing.
            if node.get("default") == Some(&Value::Null) {
                node.remove("default");
            }
            node.remove("format");
            // Lines are broken where the source's are.
            if let Some(Value::String(text)) = node.get_mut("description") {
                let parts = text.split("\n\n").map(|part| part.replace('\n', " "));
                *text = parts.collect::<Vec<_>>().join("\n\n");
            }
            for (keyword, value) in node.iter_mut() {
                match value {
                    // Its keys are the policy's, and not words of JSON Schema.
                    Value::Object(keys) if keyword == "properties" => {
                        keys.values_mut().for_each(polished);
                    }
                    value => polished(value),
                }
            }
        }
        _ => {}
    }
}
