//! The JSON Schema of policy files: what it says of real files, and the committed copies of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::schema::faults;
use common::{json, run, skip};
use serde_json::Value;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const WRONG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wrong-policies");
const PRESETS: [&str; 3] = ["minimal", "basic", "strict"];

fn schema() -> Value {
    json(&run(["policy", "schema"]))
}

/// A file as a value, where it is TOML or JSON at all.
fn value(path: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    if path.extension().is_some_and(|ending| ending == "json") {
        serde_json::from_str(&text).ok()
    } else {
        let table: toml::Table = toml::from_str(&text).ok()?;
        serde_json::to_value(table).ok()
    }
}

#[test]
fn every_written_policy_is_what_the_schema_says() {
    for preset in PRESETS {
        let shown = json(&run(["policy", "show", "--json", preset]));
        assert_eq!(faults(&schema(), &shown), Vec::<String>::new(), "{preset}");
    }
}

/// What a schema cannot say: other files, settings that contradict each other, the form of paths.
const BEYOND: [&str; 9] = [
    "extends-a-wrong-file.toml",
    "extends-from-above.toml",
    "extends-itself.toml",
    "extends-nothing-there.toml",
    "host-view-with-read-only-root.toml",
    "requirement-given-up.toml",
    "unknown-preset.toml",
    "view-without-its-namespace.toml",
    // A parser that takes the last of two values sees nothing wrong.
    "key-twice.json",
];

#[test]
fn the_schema_refuses_the_wrong_files_that_a_schema_can() {
    let schema = schema();
    for entry in std::fs::read_dir(WRONG).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // YAML, and what is of no format at all.
        let Some(value) = value(&path).filter(|_| !name.ends_with(".yaml")) else {
            continue;
        };
        let refused = !faults(&schema, &value).is_empty();
        assert_eq!(refused, !BEYOND.contains(&name), "{name}");
    }
}

/// The directory of the ready policies, which is not in the package.
fn policies(test: &str) -> Option<PathBuf> {
    let directory = Path::new(REPOSITORY).join("policies");
    if directory.is_dir() {
        return Some(directory);
    }
    skip(test, "policies/ is in the repository, not in the package");
    None
}

#[test]
fn every_ready_policy_is_valid_for_kavach_and_for_the_schema() {
    let test = "every_ready_policy_is_valid_for_kavach_and_for_the_schema";
    let Some(directory) = policies(test) else {
        return;
    };
    let schema = schema();
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let file = path.to_str().unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let found = faults(&schema, &value(&path).unwrap());
        assert_eq!(found, Vec::<String>::new(), "{name}");
        let checked = json(&run(["policy", "check", "--json", file]));
        assert_eq!(checked["valid"], true, "{checked}");
        assert_eq!(checked["policy"], name);
        assert_eq!(checked["warnings"], Value::Array(Vec::new()), "{checked}");
        count += 1;
    }
    assert_eq!(count, 4);
}

/// Compares a committed text with what it should be; `KAVACH_WRITE_SCHEMAS=1` writes it.
fn pinned(path: &Path, text: &str) {
    if std::env::var_os("KAVACH_WRITE_SCHEMAS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is not what the types say: run `KAVACH_WRITE_SCHEMAS=1 cargo test -p kavach-cli \
         schema`",
        path.display()
    );
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    if let Some(directory) = policies("the_committed_schema_is_that_of_the_types") {
        let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        pinned(&directory.join("policy.schema.json"), &text);
    }
}

const BEGIN: &str =
    "<!-- keys: written from the schema by crates/kavach-cli/tests/policy_schema.rs -->\n";
const END: &str = "<!-- end of the keys -->\n";

#[test]
fn the_manual_has_every_key_of_the_schema() {
    let path = Path::new(REPOSITORY).join("docs/policy.md");
    let Ok(manual) = std::fs::read_to_string(&path) else {
        let test = "the_manual_has_every_key_of_the_schema";
        skip(test, "docs/policy.md is not in the package");
        return;
    };
    let (before, rest) = manual.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    pinned(
        &path,
        &format!("{before}{BEGIN}\n{}\n{END}{after}", reference()),
    );
}

/// The tables of docs/policy.md.
fn reference() -> String {
    let schema = schema();
    let presets = PRESETS.map(|preset| json(&run(["policy", "show", "--json", preset])));
    let mut out = String::new();
    let top = schema["properties"].as_object().unwrap();
    let is_section = |key: &Value| key["properties"].is_object();
    let plain: Vec<_> = top.iter().filter(|(_, key)| !is_section(key)).collect();
    out.push_str("### Beside the sections\n\n");
    table(&mut out, "", &plain, &presets);
    for (name, section) in top.iter().filter(|(_, key)| is_section(key)) {
        let about = section["description"].as_str().unwrap();
        write!(out, "\n### `[{name}]`\n\n{about}\n\n").unwrap();
        let keys: Vec<_> = section["properties"].as_object().unwrap().iter().collect();
        table(&mut out, name, &keys, &presets);
    }
    out.push_str("\n### Controls, for `requirements`\n\n| control | what it is |\n|---|---|\n");
    let controls = &schema["properties"]["requirements"]["propertyNames"]["oneOf"];
    for control in controls.as_array().unwrap() {
        let name = control["const"].as_str().unwrap();
        writeln!(out, "| `{name}` | {} |", cell(&control["description"])).unwrap();
    }
    out
}

fn table(out: &mut String, section: &str, keys: &[(&String, &Value)], presets: &[Value; 3]) {
    out.push_str(
        "| key | takes | minimal | basic | strict | meaning |\n|---|---|---|---|---|---|\n",
    );
    for (name, key) in keys {
        let [minimal, basic, strict] = presets.each_ref().map(|preset| {
            let value = match section {
                "" => &preset[name.as_str()],
                section => &preset[section][name.as_str()],
            };
            match (name.as_str(), value) {
                // Not of a preset's own, or the same in all.
                ("$schema" | "extends" | "name" | "requirements", _) => String::new(),
                (_, Value::Null) => "no limit".to_owned(),
                (_, value) => format!("`{value}`"),
            }
        });
        let meaning = meaning(key);
        let takes = takes(key);
        writeln!(
            out,
            "| `{name}` | {takes} | {minimal} | {basic} | {strict} | {meaning} |"
        )
        .unwrap();
    }
}

/// The description, with that of each value.
fn meaning(key: &Value) -> String {
    let mut text = cell(&key["description"]);
    for value in key["oneOf"].as_array().into_iter().flatten() {
        let (name, about) = (
            value["const"].as_str().unwrap(),
            cell(&value["description"]),
        );
        write!(text, "<br>`\"{name}\"`: {about}").unwrap();
    }
    text
}

fn takes(key: &Value) -> String {
    let listed = |values: Vec<String>| values.join(", ");
    if let Some(choices) = key["oneOf"].as_array() {
        return listed(
            choices
                .iter()
                .map(|one| format!("`{}`", one["const"]))
                .collect(),
        );
    }
    if let Some(choices) = key["enum"].as_array() {
        return listed(choices.iter().map(|one| format!("`{one}`")).collect());
    }
    if key["const"].is_number() {
        return format!("`{}`", key["const"]);
    }
    match (key["type"].as_str().unwrap(), key["minimum"].is_number()) {
        (kind @ ("integer" | "number"), true) => {
            let kind = if kind == "integer" {
                "a whole number"
            } else {
                "a number"
            };
            let unit = key["x-unit"].as_str().unwrap();
            format!("{kind}, {} to {} {unit}", key["minimum"], key["maximum"])
        }
        ("boolean", _) => "`true`, `false`".into(),
        ("string", _) => "a text".into(),
        ("array", _) if key["items"]["enum"].is_array() => {
            let items = key["items"]["enum"].as_array().unwrap();
            let names = listed(items.iter().map(|one| format!("`{one}`")).collect());
            format!("a list of {names}")
        }
        ("array", _) => "a list of paths".into(),
        ("object", _) => "a table: a control = `\"required\"`, `\"preferred\"` or `\"off\"`".into(),
        other => panic!("{other:?}"),
    }
}

/// A description on one line of a table.
fn cell(text: &Value) -> String {
    text.as_str()
        .unwrap()
        .replace('\n', " ")
        .replace('|', "\\|")
}
