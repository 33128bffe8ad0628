//! Every document that `--json` prints keeps its schema of docs/schemas.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::schema::{faults, schema};
use common::{json, run, sandboxes, skip};
use serde_json::{Value, json};

/// Whether the schemas are here; if not, the calling test is listed as skipped.
fn schemas(test: &str) -> bool {
    let there = schema("error").is_some();
    if !there {
        skip(test, "docs/schemas is not in the package");
    }
    there
}

/// Runs it and compares what it prints with a schema.
#[track_caller]
fn keeps(name: &str, args: &[&str]) -> Value {
    let schema = schema(name).unwrap();
    let done = run(args);
    let document = json(&done);
    assert_eq!(
        faults(&schema, &document),
        Vec::<String>::new(),
        "{args:?}: {document:#}"
    );
    let said = document["schema"].as_str().unwrap();
    assert_eq!(said.split_once('/').unwrap().0, format!("kavach.{name}"));
    assert_eq!(done.stderr, b"", "{args:?}");
    document
}

#[test]
fn the_check_itself_finds_what_is_wrong() {
    let schema = json!({
        "type": "object",
        "properties": {
            "n": { "type": "integer", "minimum": 1, "maximum": 9 },
            "s": { "anyOf": [{ "$ref": "#/$defs/S" }, { "type": "null" }] },
            "l": { "type": "array", "items": { "type": ["string", "null"] } },
        },
        "required": ["n"],
        "$defs": { "S": { "type": "string", "enum": ["a", "b"] } },
    });
    let right = json!({ "n": 9, "s": "a", "l": ["x", null] });
    assert_eq!(faults(&schema, &right), Vec::<String>::new());
    for wrong in [
        json!({}),
        json!([]),
        json!({ "n": 10 }),
        json!({ "n": 0 }),
        json!({ "n": 1.5 }),
        json!({ "n": 1, "s": "c" }),
        json!({ "n": 1, "l": ["x", 1] }),
        json!({ "n": 1, "other": true }),
    ] {
        assert_eq!(faults(&schema, &wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn exec_prints_its_document_however_the_program_ends() {
    let name = "exec_prints_its_document_however_the_program_ends";
    if !schemas(name) || !sandboxes(name, "strict") {
        return;
    }
    for (options, script, kind) in [
        (vec![], "echo out; echo err >&2; exit 3", "exited"),
        (vec![], "kill -SEGV $$", "signaled"),
        (vec!["--timeout", "200ms"], "sleep 1000", "timed_out"),
        (vec!["--output-kb", "1"], "printf '%4096d\\377' 1", "exited"),
        (
            vec!["--pids", "4"],
            "for i in 1 2 3 4 5 6; do sleep 1000 & done 2>/dev/null; exit 0",
            "exited",
        ),
    ] {
        let head = ["exec", "--json", "--policy", "strict"];
        let args = [&head, options.as_slice(), &["--", "sh", "-c", script]].concat();
        let document = keeps("exec", &args);
        assert_eq!(document["termination"]["kind"], kind, "{document:#}");
    }
}

#[test]
fn shell_prints_the_same_document() {
    let name = "shell_prints_the_same_document";
    if !schemas(name) || !sandboxes(name, "basic") {
        return;
    }
    let document = keeps(
        "exec",
        &["shell", "--json", "-c", "echo $0; exit 4", "--", "x"],
    );
    assert_eq!(document["stdout"], "x\n");
    assert_eq!(document["exit_code"], 4);
}

#[test]
fn the_verbs_that_look_print_their_documents() {
    if !schemas("the_verbs_that_look_print_their_documents") {
        return;
    }
    keeps("backends", &["backends", "--json"]);
    keeps("completions", &["completions", "bash", "--json"]);
    keeps("man", &["man", "exec", "--json"]);
    keeps("score", &["score", "--json"]);
    keeps("gc", &["gc", "--json"]);
    keeps("gc", &["gc", "--dry-run", "--json"]);
    keeps("doctor", &["doctor", "--json"]);
}

#[test]
fn the_verbs_about_policies_print_their_documents() {
    if !schemas("the_verbs_about_policies_print_their_documents") {
        return;
    }
    keeps("policy-check", &["policy", "check", "minimal", "--json"]);
    let wrong = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wrong-policies");
    for file in [
        "many-mistakes.toml",
        "extends-a-wrong-file.toml",
        "utf-16.toml",
    ] {
        let file = format!("{wrong}/{file}");
        keeps("policy-check", &["policy", "check", &file, "--json"]);
    }
    keeps(
        "policy-diff",
        &["policy", "diff", "strict", "minimal", "--json"],
    );
    for backend in ["process", "noop"] {
        let explain = ["policy", "explain", "--backend", backend];
        keeps(
            "policy-explain",
            &[&explain[..], &["strict", "--json"]].concat(),
        );
    }
}

#[test]
fn score_here_prints_its_document() {
    let name = "score_here_prints_its_document";
    if schemas(name) && sandboxes(name, "basic") {
        keeps("score-here", &["score", "--here", "--json"]);
    }
}

#[test]
fn verify_prints_its_document() {
    let name = "verify_prints_its_document";
    if schemas(name) && sandboxes(name, "strict") {
        let found = keeps("verify", &["verify", "--policy", "strict", "--json"]);
        assert_eq!(found["holds"], true);
        assert_eq!(found["measured"], found["claimed"]);
    }
}

#[test]
fn every_error_is_the_same_document_with_the_code_that_kavach_exits_with() {
    let name = "every_error_is_the_same_document_with_the_code_that_kavach_exits_with";
    if !schemas(name) || !sandboxes(name, "basic") {
        return;
    }
    let exec = |rest: &[&'static str]| [&["exec", "--json"], rest].concat();
    for (args, code, exit_code) in [
        (exec(&["--", "/no/such"]), "KV-COMMAND-NOT-FOUND", 127),
        (
            exec(&["--", "/etc/passwd"]),
            "KV-COMMAND-NOT-EXECUTABLE",
            126,
        ),
        (
            exec(&["--backend", "oci", "--", "true"]),
            "KV-BACKEND-UNAVAILABLE",
            125,
        ),
        (exec(&["--no-such", "--", "true"]), "KV-USAGE", 125),
        (exec(&["--timeout", "x", "--", "true"]), "KV-USAGE", 125),
        (vec!["backends", "--json", "x"], "KV-USAGE", 125),
        (
            vec!["score", "--json", "--policy", "strct"],
            "KV-UNKNOWN-PRESET",
            125,
        ),
        (
            vec!["score", "--here", "--json", "--backend", "sev"],
            "KV-BACKEND-UNAVAILABLE",
            125,
        ),
        (
            vec!["policy", "check", "--json", "./none.toml"],
            "KV-PATH-MISSING",
            125,
        ),
        (vec!["verify", "--json", "--cwd", "/"], "KV-USAGE", 125),
        (vec!["doctor", "--json", "--x"], "KV-USAGE", 125),
        (vec!["man", "--json", "exce"], "KV-USAGE", 125),
        (vec!["completions", "--json", "tcsh"], "KV-USAGE", 125),
        // One document on one stream.
        (
            exec(&["--workspace", "/usr", "--changes", "-", "--", "true"]),
            "KV-USAGE",
            125,
        ),
        (vec!["gc", "--json", "--x"], "KV-USAGE", 125),
    ] {
        let error = &keeps("error", &args)["error"];
        assert_eq!(error["code"], code, "{args:?}");
        assert_eq!(error["exit_code"], exit_code, "{args:?}");
        assert_eq!(run(&args).status.code(), Some(exit_code), "{args:?}");
    }
}
