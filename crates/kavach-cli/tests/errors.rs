//! Every wrong invocation as its user sees it: one snapshot, so that a change shows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write as _;
use std::fs::File;

use common::{Dir, json, kavach, run};

const TRUE: [&str; 2] = ["--", "true"];

#[test]
fn wrong_invocations_say_what_is_wrong_and_what_to_try() {
    let dir = Dir::new("errors");
    let policy = |name: &str, text: &str| {
        let text = format!("version = 1\n{text}");
        dir.file(name, text.as_bytes());
    };
    policy("unknown-key.toml", "[limits]\n  memroy_mb = 5\n");
    policy(
        "unknown-profile.toml",
        "[syscall_filter]\nprofile = \"strct\"\n",
    );
    policy("impossible.toml", "[limits]\npids = 0\n");
    policy("type.toml", "[limits]\nmemory_mb = \"much\"\n");
    policy("nul.toml", "[filesystem]\nread = [\"/srv/a\\u0000b\"]\n");
    policy(
        "missing-path.toml",
        "[filesystem]\nread = [\"/no/such/path\"]\n",
    );
    policy("approximate.toml", "accept_approximate = [\"network\"]\n");
    policy("escape.toml", "\"\\u001b[2J\" = 1\n");
    dir.file("syntax.toml", b"version = \n");
    dir.file("version.toml", b"version = 99\n");
    dir.file(
        "unknown-key.json",
        b"{\"version\": 1,\n \"netwrok\": \"off\"}",
    );
    dir.file("latin1.toml", b"name = \"\xe9\"\n");
    // Sparse: it takes no room.
    File::create(dir.0.join("large.toml"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    std::fs::create_dir(dir.0.join("dir.toml")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.0.join("fifo.toml"),
        fifo,
        0o600.into(),
        0,
    )
    .unwrap();

    let exec = |args: &[&'static str]| [&["exec"], args, &TRUE].concat();
    let cases: Vec<Vec<&str>> = vec![
        vec!["--polcy"],
        vec!["exce", "--", "true"],
        vec!["exec"],
        vec!["exec", "true"],
        vec!["exec", "--"],
        exec(&["--polcy", "strict"]),
        exec(&["--policy", "strct"]),
        exec(&["--policy", "paranoid"]),
        exec(&["--policy", ""]),
        exec(&["--policy", "./absent.toml"]),
        exec(&["--policy", "unknown-key.toml"]),
        exec(&["--policy", "unknown-key.json"]),
        exec(&["--policy", "unknown-profile.toml"]),
        exec(&["--policy", "impossible.toml"]),
        exec(&["--policy", "type.toml"]),
        exec(&["--policy", "nul.toml"]),
        exec(&["--policy", "missing-path.toml"]),
        exec(&["--policy", "approximate.toml"]),
        exec(&["--policy", "escape.toml"]),
        exec(&["--policy", "syntax.toml"]),
        exec(&["--policy", "version.toml"]),
        exec(&["--policy", "latin1.toml"]),
        exec(&["--policy", "large.toml"]),
        exec(&["--policy", "dir.toml"]),
        exec(&["--policy", "fifo.toml"]),
        exec(&["--backend", "proces"]),
        exec(&["--backend", "docker"]),
        exec(&["--backend", "firecracker"]),
        exec(&["--backend", "noop", "--policy", "strict"]),
        exec(&["--timeout", "ten"]),
        exec(&["--timeout", "-1"]),
        exec(&["--timeout", "-1s"]),
        exec(&["--timeout", "--json"]),
        exec(&["--timeout", "400000h"]),
        exec(&["--memory-mb", "0"]),
        exec(&["--memory-mb", "99999999999999"]),
        exec(&["--memory-mb", "1G"]),
        exec(&["--memory-mb", "-5"]),
        exec(&["--pids", "0"]),
        exec(&["--cpus", "0"]),
        exec(&["--cpus", "nan"]),
        exec(&["--output-kb", "0"]),
        exec(&["--env", "NOVALUE"]),
        exec(&["--env", "=x"]),
        exec(&["--secret", "KEY=sk-12345"]),
        exec(&["--secret", "KEY=env:NOT_SET_ANYWHERE"]),
        exec(&["--secret", "KEY=file:/no/such/file"]),
        exec(&["--secret", "KEY=file:fifo.toml"]),
        exec(&["--read", "/no/such/path"]),
        exec(&["--read", "../no/such/path"]),
        exec(&["--read", "/"]),
        exec(&["--read", "/etc", "--read", "/no/such/path"]),
        exec(&["--policy", "missing-path.toml", "--read", "/etc"]),
        exec(&["--policy", "impossible.toml", "--memory-mb", "64"]),
        exec(&["--cwd", "relative"]),
        exec(&["--cwd", "/tmp/../x"]),
        exec(&["--cwd", "/no/such/directory"]),
        exec(&["--agent-id", "a\nb"]),
        vec!["shell", "-c"],
        vec!["policy", "check", "unknown-key.toml"],
        vec!["policy", "show", "strct"],
        vec!["score", "--backend", "gvisr"],
        vec!["score", "--here", "--backend", "gvisor"],
        vec!["gc", "--force"],
        vec!["policy"],
        vec!["completions"],
        vec!["completions", "tcsh"],
        vec!["man", "exce"],
        vec!["man", "policy", "shwo"],
        vec!["man", "exec", "--dir", "x"],
        vec!["man", "--dir", "/proc/none"],
    ];
    let mut shown = String::new();
    for args in cases {
        let done = kavach(&args).current_dir(&dir.0).output().unwrap();
        assert_eq!(done.status.code(), Some(125), "{args:?}: {done:?}");
        assert_eq!(done.stdout, b"", "{args:?}");
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.starts_with("error: "), "{args:?}: {said}");
        assert!(!said.contains('\x1b'), "{args:?}: {said:?}");
        write!(
            shown,
            "$ kavach {}\n{said}\n",
            args.join(" ").replace('\n', "\\n")
        )
        .unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn errors_are_json_where_json_is_wanted() {
    for (args, code) in [
        (
            vec!["exec", "--json", "--backend", "oci", "--", "true"],
            "KV-BACKEND-UNAVAILABLE",
        ),
        (
            vec!["exec", "--json", "--timeout", "x", "--", "true"],
            "KV-USAGE",
        ),
        (
            vec!["exec", "--json", "--no-such", "--", "true"],
            "KV-USAGE",
        ),
        (
            vec!["policy", "check", "--json", "./none.toml"],
            "KV-PATH-MISSING",
        ),
        (
            vec!["score", "--json", "--policy", "strct"],
            "KV-UNKNOWN-PRESET",
        ),
    ] {
        let done = run(&args);
        assert_eq!(done.status.code(), Some(125), "{args:?}");
        let error = &json(&done)["error"];
        assert_eq!(error["code"], code, "{args:?}");
        assert!(
            error["message"].is_string() && error["hint"].is_string(),
            "{error}"
        );
    }
    // Behind `--` it is the program's.
    let done = run(["exec", "--timeout", "x", "--", "true", "--json"]);
    assert!(done.stdout.is_empty() && !done.stderr.is_empty());
}
