//! Limits of kavach's own process that would end it without a word.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::{Command, Output};

use common::{Dir, json, sandboxes, text};

/// Runs kavach under what the shell's `ulimit` sets.
fn under(limit: &str, rest: &str) -> Output {
    let script = format!("ulimit {limit} && exec \"$0\" {rest}");
    Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_kavach")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
}

fn says(done: &Output, expected: &str) {
    assert_eq!(
        (text(&done.stderr).as_str(), done.status.code()),
        (expected, Some(125))
    );
    assert_eq!(done.stdout, b"");
}

#[test]
fn a_small_stack_is_named_by_every_verb() {
    for stack in ["32", "128"] {
        for rest in ["exec -- true", "doctor", "score", "--help"] {
            says(
                &under(&format!("-s {stack}"), rest),
                &format!(
                    "error: the limit of stack size (`ulimit -s`) is too low: {stack} KiB\n\
                     hint: raise it to 512 KiB or more\n"
                ),
            );
        }
    }
    let done = under("-s 32", "exec --json -- true");
    assert_eq!(json(&done)["error"]["code"], "KV-HOST-LIMIT");
}

#[test]
fn a_stack_of_the_stated_size_is_enough() {
    if !sandboxes("a_stack_of_the_stated_size_is_enough", "strict") {
        return;
    }
    for rest in ["exec --policy strict -- true", "exec --help", "man"] {
        let done = under("-s 512", rest);
        assert_eq!(
            (done.status.code(), text(&done.stderr)),
            (Some(0), String::new()),
            "{rest}"
        );
    }
}

#[test]
fn too_few_open_files_are_named_at_whatever_step_they_are_too_few() {
    if !sandboxes(
        "too_few_open_files_are_named_at_whatever_step_they_are_too_few",
        "strict",
    ) {
        return;
    }
    // From the runtime over the agent to the last mount: the first that works ends it.
    let mut refused = 0;
    for files in 5.. {
        let done = under(&format!("-n {files}"), "exec --policy strict -- true");
        if done.status.code() == Some(0) {
            break;
        }
        says(
            &done,
            &format!(
                "error: the limit of open files (`ulimit -n`) is too low: {files}\n\
                 hint: raise it, for instance to 1024\n"
            ),
        );
        refused += 1;
    }
    assert!(refused > 10, "{refused} limits were too low");
}

#[test]
fn a_limit_of_file_size_below_the_agent_is_named() {
    says(
        &under("-f 0", "exec -- true"),
        "error: the limit of file size (`ulimit -f`) is too low: 0 bytes\n\
         hint: raise it, for instance to 1024 KiB\n",
    );
}

#[test]
fn output_that_grows_past_the_limit_of_file_size_is_an_error() {
    if !sandboxes(
        "output_that_grows_past_the_limit_of_file_size_is_an_error",
        "basic",
    ) {
        return;
    }
    let dir = Dir::new("file-size");
    let file = dir.file("out", b"");
    let done = under("-f 64", &format!("exec -- yes > {file}"));
    says(
        &done,
        "error: cannot write to standard output: File too large (os error 27)\n",
    );
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 64 * 1024);
    // Other verbs too: the page is longer than nothing.
    let done = under("-f 0", &format!("man > {file}"));
    assert_eq!(done.status.code(), Some(125));
}

#[test]
fn the_guest_is_not_made_deaf_to_the_signal() {
    if !sandboxes("the_guest_is_not_made_deaf_to_the_signal", "basic") {
        return;
    }
    let done = under("-f 64", "exec -- sh -c 'head -c 100000 /dev/zero > /tmp/x'");
    // 128 + SIGXFSZ of the program that wrote.
    assert_eq!(done.status.code(), Some(153), "{done:?}");
}
