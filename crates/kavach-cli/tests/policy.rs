//! `kavach policy` on the real binary: wrong files and their errors, and what the verbs say.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{json, kavach, run, text};

const WRONG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wrong-policies");

/// The wrong files, in the order of their names.
fn wrong_files() -> Vec<String> {
    let entries = std::fs::read_dir(WRONG).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Each file is a mistake that people make. What they are told is pinned, as a person sees it.
#[test]
fn every_wrong_file_is_told_what_is_wrong_where_and_what_to_write() {
    let mut shown = String::new();
    let names = wrong_files();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        let check = ["policy", "check", name.as_str()];
        let done = kavach(check).current_dir(WRONG).output().unwrap();
        assert_eq!(done.status.code(), Some(125), "{name}: {done:?}");
        assert_eq!(done.stdout, b"", "{name}");
        let said = text(&done.stderr);
        assert!(said.starts_with("error: "), "{name}: {said}");
        writeln!(shown, "$ kavach policy check {name}\n{said}").unwrap();
    }
    insta::assert_snapshot!(shown);
}

/// The same for programs: the place, the key, and the kind of the mistake.
#[test]
fn every_wrong_file_is_told_to_programs_too() {
    for name in wrong_files() {
        let check = ["policy", "check", "--json", name.as_str()];
        let done = kavach(check).current_dir(WRONG).output().unwrap();
        assert_eq!(done.status.code(), Some(125), "{name}");
        let document = json(&done);
        assert_eq!(document["schema"], "kavach.policy-check/1");
        assert_eq!(document["valid"], false, "{name}");
        assert_eq!(document["error"]["code"], "KV-INVALID-POLICY", "{name}");
        let problems = document["problems"].as_array().unwrap();
        assert!(!problems.is_empty(), "{name}");
        for problem in problems {
            assert_ne!(problem["problem"], "", "{name}: {problem}");
            // Of a file that can be read, every mistake has its line, but for what is not there.
            let placed = problem["line"].is_u64() && problem["column"].is_u64();
            let unplaced = ["unreadable", "version", "contradiction"];
            assert!(
                placed || unplaced.contains(&problem["kind"].as_str().unwrap()),
                "{name}: {problem}"
            );
        }
    }
}

/// What is wrong for `policy check` is wrong for every verb that takes a policy.
#[test]
fn no_verb_takes_a_wrong_file() {
    let file = format!("{WRONG}/misspelt-key.toml");
    for args in [
        vec!["exec", "--policy", &file, "--", "true"],
        vec!["policy", "show", &file],
        vec!["policy", "explain", &file],
        vec!["policy", "diff", "strict", &file],
        vec!["score", "--policy", &file],
        vec!["score", "--policy", "strict", "--policy", &file],
    ] {
        let done = run(&args);
        assert_eq!(done.status.code(), Some(125), "{args:?}");
        assert!(text(&done.stderr).contains("limits.memory_mb"), "{args:?}");
    }
    assert!(Path::new(&file).exists());
}
