//! What kavach says of itself, as its user sees it: one snapshot each, so that a change shows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{run, text};

#[test]
fn kavach_alone_greets_and_is_a_usage_error() {
    let none: [&str; 0] = [];
    let done = run(none);
    // A script whose arguments were lost must not go on as if something had run.
    assert_eq!(done.status.code(), Some(125));
    assert_eq!(done.stdout, b"");
    insta::assert_snapshot!(text(&done.stderr));
}

/// Both helps of a verb, the long and the short.
fn help(words: &[&str]) -> String {
    let mut shown = String::new();
    for flag in ["--help", "-h"] {
        let args = [words, &[flag]].concat();
        let done = run(&args);
        assert_eq!(
            (done.status.code(), done.stderr.as_slice()),
            (Some(0), &b""[..])
        );
        let help = text(&done.stdout);
        for line in help.lines() {
            // Examples are lines to copy: they are not broken.
            let example = line.starts_with("  kavach ") || line.starts_with("  # ");
            assert!(example || line.chars().count() <= 100, "{line}");
        }
        shown.push_str(&format!("$ kavach {}\n{help}\n", args.join(" ")));
    }
    shown
}

#[test]
fn the_help_of_kavach() {
    insta::assert_snapshot!(help(&[]));
    assert_eq!(run(["help"]).stdout, run(["--help"]).stdout);
}

#[test]
fn the_help_of_exec() {
    insta::assert_snapshot!(help(&["exec"]));
    assert_eq!(run(["help", "exec"]).stdout, run(["exec", "--help"]).stdout);
}

#[test]
fn the_help_of_the_other_verbs() {
    let verbs: [&[&str]; 8] = [
        &["backends"],
        &["score"],
        &["verify"],
        &["doctor"],
        &["policy"],
        &["gc"],
        &["completions"],
        &["man"],
    ];
    insta::assert_snapshot!(verbs.map(help).join("\n"));
}
