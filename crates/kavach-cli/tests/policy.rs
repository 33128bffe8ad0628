//! `kavach policy` on the real binary: wrong files and their errors, and what the verbs say.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{Dir, json, kavach, run, sandboxes, text};

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

#[test]
fn a_merge_is_shown_and_can_be_read_back() {
    let dir = Dir::new("merge");
    let one = dir.file(
        "one.toml",
        b"version = 1\nname = \"one\"\n[limits]\nmemory_mb = 100\npids = 50\n",
    );
    let two = dir.file(
        "two.json",
        b"{\"version\": 1, \"name\": \"two\", \"limits\": {\"memory_mb\": 200, \"pids\": 20}}",
    );
    let merged = json(&run(["policy", "show", "--json", &one, &two, "minimal"]));
    assert_eq!(merged["limits"]["memory_mb"], 100);
    assert_eq!(merged["limits"]["pids"], 20);
    assert_eq!(merged["network"], "off", "minimal opens nothing");
    assert_eq!(merged["name"], "one + two + minimal");
    let file = dir.file("merged.json", merged.to_string().as_bytes());
    assert_eq!(json(&run(["policy", "show", "--json", &file])), merged);
}

#[test]
fn exec_runs_under_the_merge_of_its_policies() {
    if !sandboxes("exec_runs_under_the_merge_of_its_policies", "strict") {
        return;
    }
    let dir = Dir::new("exec-merge");
    let files = dir.file("files.toml", b"version = 1\n[limits]\nopen_files = 33\n");
    let limit = |policies: &[&str]| {
        let mut args = vec!["exec"];
        for policy in policies {
            args.extend(["--policy", policy]);
        }
        args.extend(["--", "sh", "-c", "ulimit -n"]);
        text(&run(args).stdout).trim().to_owned()
    };
    assert_eq!(limit(&["strict"]), "1024");
    assert_eq!(limit(&["strict", &files]), "33");
    assert_eq!(limit(&[&files, "strict"]), "33");
}

/// What is planned is what is enforced: the same states, the same points.
#[test]
fn explain_says_of_every_preset_what_a_real_sandbox_has() {
    if !sandboxes(
        "explain_says_of_every_preset_what_a_real_sandbox_has",
        "strict",
    ) {
        return;
    }
    for preset in ["minimal", "basic", "strict"] {
        let explained = json(&run(["policy", "explain", "--json", preset]));
        let here = json(&run(["score", "--here", "--json", "--policy", preset]));
        assert_eq!(explained["strength"], here["strength"], "{preset}");
        assert_eq!(explained["scale"], here["scale"], "{preset}");
        let points = explained["score"].as_array().unwrap().iter();
        let sum: i64 = points.map(|item| item["points"].as_i64().unwrap()).sum();
        assert_eq!(Some(sum), here["strength"]["score"].as_i64(), "{preset}");
        for row in here["report"].as_array().unwrap() {
            let mut rows = explained["controls"].as_array().unwrap().iter();
            let planned = rows.find(|planned| planned["control"] == row["control"]);
            for part in ["state", "requested", "requirement", "mechanism"] {
                assert_eq!(planned.unwrap()[part], row[part], "{preset}: {row}");
            }
        }
    }
}

/// The noop backend has an obstacle for everything: what explain shows does not depend on a host.
#[test]
fn explain_names_everything_that_stands_in_the_way() {
    let done = run(["policy", "explain", "--backend", "noop", "basic"]);
    assert_eq!(done.status.code(), Some(0));
    insta::assert_snapshot!(text(&done.stdout));
}

#[test]
fn diff_names_what_changes_and_exits_with_1_where_it_became_weaker() {
    let dir = Dir::new("diff");
    let mine = dir.file(
        "mine.toml",
        b"version = 1\nname = \"mine\"\nextends = \"strict\"\nnetwork = \"on\"\n\
          [filesystem]\nread = [\"/srv/data\"]\n[limits]\nmemory_mb = 1024\npids = 32\n\
          [requirements]\nlandlock = \"preferred\"\n",
    );
    let weaker = run(["policy", "diff", "strict", &mine]);
    assert_eq!(weaker.status.code(), Some(1));
    insta::assert_snapshot!(text(&weaker.stdout));

    let stricter = run(["policy", "diff", "basic", "strict"]);
    assert_eq!(stricter.status.code(), Some(0));
    assert!(text(&stricter.stdout).starts_with("strict is stricter than basic"));
    let same = run(["policy", "diff", "strict", "strict"]);
    assert_eq!(
        (same.status.code(), text(&same.stdout).as_str()),
        (Some(0), "strict is strict\n")
    );
}

#[test]
fn check_warns_of_what_is_weak_and_of_what_means_nothing() {
    let dir = Dir::new("warnings");
    let weak = "version = 1\nname = \"weak\"\nnetwork = \"on\"\n\
                [syscall_filter]\nprofile = \"none\"\n\
                [filesystem]\nread = [\"/home\", \"/srv/ann/.ssh\", \"/opt\"]\ntmp_mb = 512\n\
                [limits]\nmemory_mb = 512\n\
                [requirements]\nlandlock = \"preferred\"\nuts_namespace = \"off\"\n";
    dir.file("weak.toml", weak.as_bytes());
    let done = kavach(["policy", "check", "weak.toml"])
        .current_dir(&dir.0)
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(0));
    assert!(text(&done.stdout).starts_with("valid: weak ("));
    insta::assert_snapshot!(text(&done.stderr));
}

/// Escape sequences of a hostile file reach no terminal, through no verb. What `show` writes into
/// a file is the policy as it is.
#[test]
fn no_verb_repeats_an_escape_sequence_of_a_file() {
    let dir = Dir::new("escapes");
    let name = dir.file("n.toml", b"version = 1\nname = \"a\\u009b2Jb\\u202ec\"\n");
    let key = dir.file(
        "k.toml",
        b"version = 1\n\"\\u001b[2J\\u009b\" = \"\xc2\x9b\"\n",
    );
    let path = dir.file(
        "p.toml",
        b"version = 1\n[filesystem]\nread = [\"/x\xe2\x80\xae\"]\n",
    );
    for file in [&name, &key, &path] {
        for verb in ["show", "check", "explain"] {
            for json in [false, true] {
                if verb == "show" && !json {
                    continue;
                }
                let mut args = vec!["policy", verb, file.as_str()];
                args.extend(json.then_some("--json"));
                let done = run(args);
                let said = [done.stdout, done.stderr].concat();
                let said = text(&said);
                let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
                assert!(!said.contains(bad), "{verb} {file}: {said:?}");
            }
        }
    }
}
