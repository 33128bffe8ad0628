//! `kavach verify`, on the real binary and real sandboxes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::Output;

use common::{Dir, json, run, sandboxes, text};

/// The lines of a table below the line that begins so.
fn rows<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| !line.starts_with(head));
    lines.skip(1).take_while(|line| !line.is_empty()).collect()
}

fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn verify_prints_the_measured_score_and_every_probe() {
    let name = "verify_prints_the_measured_score_and_every_probe";
    if !sandboxes(name, "strict") {
        return;
    }
    let args = ["verify", "--policy", "strict"];
    let printed = said(&run(args));
    let document = json(&run([&args[..], &["--json"]].concat()));
    let score = document["measured"]["score"].as_u64().unwrap();
    assert!(printed.starts_with(&format!("process with strict: {score} (standard) measured")));
    let count = |key: &str| document[key].as_array().unwrap().len();
    assert_eq!(rows(&printed, "CONTROL").len(), count("controls"));
    assert_eq!(rows(&printed, "OUTCOME").len(), count("probes"));
    assert!(count("probes") > 70, "{printed}");
    for probe in document["probes"].as_array().unwrap() {
        assert_ne!(probe["outcome"], "effect", "{probe}");
        assert_eq!(probe["expected"], true, "{probe}");
    }
}

#[test]
fn what_a_policy_file_gives_up_is_lost_and_the_line_says_why() {
    let name = "what_a_policy_file_gives_up_is_lost_and_the_line_says_why";
    if !sandboxes(name, "strict") {
        return;
    }
    let dir = Dir::new("verify");
    let policy = "version = 1\nextends = \"strict\"\nlandlock = false\n";
    let file = dir.file("open.toml", policy.as_bytes());
    let file = file.as_str();
    let score = |args: &[&str]| {
        let document = json(&run([args, &["--json"]].concat()));
        document["measured"]["score"].as_u64().unwrap()
    };
    let strict = ["verify", "--policy", "strict"];
    let open = ["verify", "--policy", file];
    assert_eq!(score(&strict), score(&open) + 2);
    let printed = said(&run(open));
    let rows = rows(&printed, "CONTROL");
    let landlock = rows.iter().find(|row| row.starts_with("landlock")).unwrap();
    let words: Vec<&str> = landlock.split_whitespace().collect();
    assert_eq!(
        words.join(" "),
        "landlock absent not claimed not asked for; 1 of 1 probe went through"
    );
}

#[test]
fn under_noop_everything_goes_through_and_the_score_is_0() {
    let name = "under_noop_everything_goes_through_and_the_score_is_0";
    if !sandboxes(name, "minimal") {
        return;
    }
    let printed = said(&run(["verify", "--backend", "noop", "--policy", "minimal"]));
    assert!(printed.starts_with("noop with minimal: 0 (minimal) measured, 0 (minimal) claimed\n"));
    let call = |row: &&&str| row.contains("ptrace(2)");
    let rows = rows(&printed, "OUTCOME");
    assert!(
        rows.iter().find(call).unwrap().starts_with("EFFECT"),
        "{printed}"
    );
}
