//! The verbs that look, on the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::Stdio;

use common::{Dir, children_named, json, kavach, kill, line, run, sandboxes, signal, skip, text};
use rustix::process::Signal;

#[test]
fn backends_lists_all_eight_with_what_is_true_of_each() {
    let document = json(&run(["backends", "--json"]));
    let rows = document["backends"].as_array().unwrap();
    let bases: Vec<u64> = rows
        .iter()
        .map(|row| row["base_score"].as_u64().unwrap())
        .collect();
    assert_eq!(bases, [0, 50, 55, 65, 70, 80, 82, 90]);
    for row in rows {
        let backend = row["backend"].as_str().unwrap();
        // What it says is what happens.
        let tried = run([
            "exec",
            "--backend",
            backend,
            "--policy",
            "minimal",
            "--",
            "true",
        ]);
        let works = tried.status.code() == Some(0);
        assert_eq!(row["usable"], works, "{backend}: {:?}", text(&tried.stderr));
        assert_eq!(row["status"] == "usable", works, "{backend}");
    }
    let table = text(&run(["backends"]).stdout);
    assert_eq!(table.lines().count(), 9, "{table}");
}

#[test]
fn score_prints_the_scale() {
    let table = text(&run(["score"]).stdout);
    insta::assert_snapshot!(table, @r"
    BACKEND      BASE  minimal        basic          strict
    noop         0     0 (minimal)    0 (minimal)    0 (minimal)
    process      50    40 (basic)     57 (standard)  63 (standard)
    oci          55    50 (standard)  62 (standard)  68 (standard)
    wasm         65    65 (standard)  69 (standard)  69 (standard)
    gvisor       70    70 (hardened)  77 (hardened)  83 (hardened)
    sgx          80    80 (hardened)  84 (hardened)  84 (hardened)
    sev          82    82 (hardened)  84 (hardened)  84 (hardened)
    firecracker  90    90 (fortress)  97 (fortress)  100 (fortress)
    ");
    let one = run([
        "score",
        "--json",
        "--backend",
        "process",
        "--policy",
        "strict",
    ]);
    assert_eq!(json(&one)["scores"][0]["strength"]["score"], 63);
}

#[test]
fn score_here_has_a_row_with_evidence_for_the_filter() {
    if !sandboxes(
        "score_here_has_a_row_with_evidence_for_the_filter",
        "strict",
    ) {
        return;
    }
    let here = json(&run(["score", "--here", "--policy", "strict", "--json"]));
    assert_eq!(here["scale"]["score"], 63);
    let rows = here["report"].as_array().unwrap();
    let filter = rows
        .iter()
        .find(|row| row["control"] == "syscall_filter")
        .unwrap();
    assert_eq!(filter["state"], "enforced");
    assert!(filter["evidence"].as_str().unwrap().contains("Seccomp: 2"));
}

#[test]
fn doctor_says_whether_strict_works() {
    let works = run(["exec", "--policy", "strict", "--", "true"])
        .status
        .success();
    let done = run(["doctor", "--json"]);
    assert_eq!(done.status.code(), Some(i32::from(!works)));
    let document = json(&done);
    assert_eq!(document["healthy"], works);
    assert_eq!(document["presets"].as_array().unwrap().len(), 3);
    for part in ["host", "binaries"] {
        for check in document[part].as_array().unwrap() {
            assert_eq!(
                check["status"] == "missing",
                check["fix"].is_string(),
                "{check}"
            );
        }
    }
    let shown = run(["doctor"]);
    assert_eq!(shown.status.code(), done.status.code());
    assert!(text(&shown.stdout).contains("cgroup memory"));
}

#[test]
fn a_shown_policy_can_be_read_back() {
    let dir = Dir::new("policy");
    for preset in ["minimal", "basic", "strict"] {
        let toml = run(["policy", "show", preset]).stdout;
        let json = run(["policy", "show", preset, "--json"]).stdout;
        let from_toml = dir.file("p.toml", &toml);
        let from_json = dir.file("p.json", &json);
        assert_eq!(run(["policy", "show", &from_toml]).stdout, toml);
        assert_eq!(run(["policy", "show", &from_json]).stdout, toml);
        assert_eq!(run(["policy", "check", &from_toml]).status.code(), Some(0));
    }
}

#[test]
fn help_and_version_are_results_and_survive_a_closed_pipe() {
    for args in [vec!["--help"], vec!["exec", "--help"], vec!["--version"]] {
        let done = run(&args);
        assert_eq!(
            (done.status.code(), done.stderr.len()),
            (Some(0), 0),
            "{args:?}"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = kavach(&args).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(0), "{args:?}");
    }
}

/// `--flag`, `-c`, and the like, as help has them at the beginning of a line.
fn flags(help: &str) -> Vec<String> {
    let flags = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '-')?;
        let flag = line.get(..end)?;
        flag.starts_with('-').then(|| flag.to_owned())
    });
    flags.filter(|flag| flag != "-h" && flag != "-V").collect()
}

#[test]
fn the_manual_has_every_verb_and_flag() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    let Ok(manual) = std::fs::read_to_string(path) else {
        skip(
            "the_manual_has_every_verb_and_flag",
            "docs/cli.md is not in the package",
        );
        return;
    };
    for verb in [
        "exec",
        "shell",
        "backends",
        "score",
        "doctor",
        "gc",
        "completions",
        "man",
    ] {
        assert!(manual.contains(&format!("\n## {verb}\n")), "{verb}");
        let help = text(&run([verb, "--help"]).stdout);
        let flags = flags(&help);
        assert!(!flags.is_empty(), "{help}");
        for flag in flags {
            assert!(manual.contains(&flag), "{verb} {flag}");
        }
    }
    for verb in ["show", "check", "explain", "diff", "schema"] {
        let place = manual.find(&format!("`kavach policy {verb}")).expect(verb);
        let told = manual[place..].split("\n\n").next().unwrap();
        let flags = flags(&text(&run(["policy", verb, "--help"]).stdout));
        // Told once, for every verb.
        for flag in flags
            .iter()
            .filter(|flag| !["-q", "--quiet"].contains(&flag.as_str()))
        {
            assert!(told.contains(flag), "{verb} {flag}");
        }
    }
}

#[test]
fn gc_removes_what_a_killed_host_without_its_reaper_left() {
    const NAME: &str = "gc_removes_what_a_killed_host_without_its_reaper_left";
    if !sandboxes(NAME, "basic") {
        return;
    }
    let mut host = kavach(["exec", "--agent-id", "gc-test", "--", "sh", "-c"])
        .arg("echo ready; exec sleep 1000")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(line(&mut host), "ready");
    let pid = host.id();
    let reapers = children_named(pid, "kavach-reaper");
    if reapers.is_empty() {
        host.kill().unwrap();
        host.wait().unwrap();
        skip(
            NAME,
            "no control group can be made here, so that none is left",
        );
        return;
    }
    let found = |document: &serde_json::Value, list: &str| {
        let entries = document[list].as_array().unwrap().clone();
        entries.into_iter().any(|entry| {
            let leftover = entry.get("leftover").unwrap_or(&entry);
            leftover["host_pid"] == pid
        })
    };
    let dry = || json(&run(["gc", "--dry-run", "--json"]));
    assert!(
        !found(&dry(), "found"),
        "a live host's groups are not left over"
    );
    for reaper in reapers {
        kill(reaper, Signal::KILL);
    }
    signal(&host, Signal::KILL);
    host.wait().unwrap();

    let before = dry();
    assert!(found(&before, "found"), "{before}");
    let done = run(["gc", "--json"]);
    let report = json(&done);
    assert!(found(&report, "removed"), "{report}");
    assert!(!found(&dry(), "found"));
}
