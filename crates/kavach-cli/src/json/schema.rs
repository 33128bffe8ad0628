//! The JSON Schemas of docs/schemas: written from the types, and pinned.

use std::path::PathBuf;

use kavach::policy::PRESETS;
use kavach::{Backend, Control, StrengthScore};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{documents as doc, host, policy, verify};

#[path = "../../tests/common/skip.rs"]
mod skip;

/// The names of an enum of the library, from serde's own mouth: the list cannot be forgotten
/// when the library gains one.
fn variants<T: DeserializeOwned>(wrong: Value) -> Vec<String> {
    let said = match serde_json::from_value::<T>(wrong) {
        Ok(_) => panic!("`?` is a name"),
        Err(error) => error.to_string(),
    };
    let (_, expected) = said.split_once("expected ").unwrap();
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(String::from)
        .collect()
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    let mut labels: Vec<&str> = (0..=100).map(|n| StrengthScore::new(n).label()).collect();
    labels.dedup();
    json_schema!({ "type": "string", "enum": labels })
}

pub(super) fn presets(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": PRESETS })
}

pub(super) fn backends(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Backend::ALL })
}

pub(super) fn change_kinds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": kavach::workspace::ChangeKind::ALL })
}

pub(super) fn entry_kinds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": kavach::workspace::EntryKind::ALL })
}

pub(super) fn controls(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Control::ALL })
}

pub(super) fn control_or_null(_: &mut SchemaGenerator) -> Schema {
    let mut names = json!(Control::ALL);
    if let Value::Array(names) = &mut names {
        names.push(Value::Null);
    }
    json_schema!({ "type": ["string", "null"], "enum": names })
}

pub(super) fn observations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": variants::<kavach::verify::Observation>(json!("?")) })
}

pub(super) fn outcomes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": variants::<kavach::verify::Outcome>(json!("?")) })
}

pub(super) fn requirements(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": variants::<kavach::Requirement>(json!("?")) })
}

pub(super) fn states(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": variants::<kavach::ControlState>(json!("?")) })
}

pub(super) fn problem_kinds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": variants::<kavach::policy::ProblemKind>(json!("?")) })
}

pub(super) fn effects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": variants::<kavach::policy::Effect>(json!("?")) })
}

pub(super) fn termination(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "kind": {
                "type": "string",
                "enum": variants::<kavach::Termination>(json!({ "kind": "?" })),
            },
            "value": {
                "description": "The code of `exited`, the signal's number of `signaled`; else left out.",
                "type": "integer",
            },
        },
        "required": ["kind"],
    })
}

pub(super) fn verdict(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "verdict": {
                "type": "string",
                "enum": variants::<kavach::Verdict>(json!({ "verdict": "?" })),
            },
            "reason": {
                "description": "Why it is released; of `release` alone.",
                "type": "string",
            },
            "findings": {
                "description": "What was seen in the output; of the other verdicts.",
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "rule": { "type": "string" },
                        "detail": { "type": "string" },
                    },
                    "required": ["rule", "detail"],
                },
            },
        },
        "required": ["verdict"],
    })
}

fn of<T: JsonSchema>() -> Schema {
    // As they are written, not as they would be read: a key that may be null is still there.
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
}

/// Every document, under the name of its file.
fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("backends", of::<host::Backends>()),
        ("changes", of::<doc::Changes>()),
        ("completions", of::<doc::Completions>()),
        ("doctor", of::<host::Doctor>()),
        ("error", of::<doc::Failure>()),
        ("exec", of::<doc::Exec<'_>>()),
        ("gc", of::<host::Gc>()),
        ("man", of::<doc::Man>()),
        ("policy-check", of::<policy::PolicyCheck<'_>>()),
        ("policy-diff", of::<policy::PolicyDiff<'_>>()),
        ("policy-explain", of::<policy::PolicyExplain<'_>>()),
        ("score", of::<host::Score>()),
        ("score-here", of::<host::ScoreHere<'_>>()),
        ("verify", of::<verify::Verify<'_>>()),
    ]
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schemas"))
}

#[test]
fn each_document_has_its_name_and_version() {
    for (name, schema) in all() {
        let tag = &schema.as_value()["properties"]["schema"];
        let text = tag["const"].as_str().or_else(|| tag["enum"][0].as_str());
        let (document, version) = text.unwrap().split_once('/').unwrap();
        assert_eq!(document, format!("kavach.{name}"));
        version.parse::<u32>().unwrap();
    }
}

/// `KAVACH_WRITE_SCHEMAS=1 cargo test -p kavach-cli schemas` writes them anew.
#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let directory = directory();
    if !directory.parent().is_some_and(|docs| docs.is_dir()) {
        let test = "json::schema::the_committed_schemas_are_those_of_the_types";
        skip::skip(test, "docs/schemas is not in the package");
        return;
    }
    let write = std::env::var_os("KAVACH_WRITE_SCHEMAS").is_some();
    let mut files = Vec::new();
    for (name, schema) in all() {
        let file = directory.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if write {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        // As values: the order of keys may change with a feature of serde_json.
        assert!(
            serde_json::from_str::<Value>(&committed).ok().as_ref() == Some(schema.as_value()),
            "{} is not what the types say: raise the version where a key was removed or changed \
             its meaning, then run `KAVACH_WRITE_SCHEMAS=1 cargo test -p kavach-cli schemas`",
            file.display()
        );
        files.push(format!("{name}.json"));
    }
    // Other schemas may lie beside those of the documents.
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let is_documents = schema["properties"]["schema"].is_object();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            !is_documents || files.iter().any(|file| file == name),
            "{name} belongs to no document any more"
        );
    }
}
