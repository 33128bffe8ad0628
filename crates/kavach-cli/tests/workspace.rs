//! `--workspace` with `--apply` and `--changes` on the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Output;

use common::dialogue::each;
use common::schema::{faults, schema};
use common::{Dir, json, kavach, sandboxes, text};
use serde_json::Value;

/// Runs a script in the directory as workspace.
fn exec(dir: &Dir, options: &[&str], script: &str) -> Output {
    let workspace = ["exec", "--policy", "strict", "--workspace", "."];
    let args = [&workspace, options, &["--", "sh", "-c", script]].concat();
    kavach(args).current_dir(&dir.0).output().unwrap()
}

fn project(name: &str) -> Dir {
    let dir = Dir::new(name);
    dir.file("file", b"one\n");
    dir
}

fn read(dir: &Dir, name: &str) -> String {
    fs::read_to_string(dir.0.join(name)).unwrap_or_default()
}

#[test]
fn changes_are_applied_where_the_program_succeeds() {
    let name = "changes_are_applied_where_the_program_succeeds";
    if !sandboxes(name, "strict") {
        return;
    }
    let dir = project(name);
    let script = "echo two >> file; mkdir new; echo x > new/x";
    let done = exec(&dir, &[], script);
    assert_eq!(
        (done.status.code(), text(&done.stderr)),
        (Some(0), String::new())
    );
    assert_eq!(read(&dir, "file"), "one\n");
    let done = exec(&dir, &["--apply"], script);
    assert_eq!(
        (done.status.code(), text(&done.stderr)),
        (Some(0), String::new())
    );
    assert_eq!(read(&dir, "file"), "one\ntwo\n");
    assert_eq!(read(&dir, "new/x"), "x\n");
}

#[test]
fn a_program_that_fails_changes_nothing_unless_always() {
    let name = "a_program_that_fails_changes_nothing_unless_always";
    if !sandboxes(name, "strict") {
        return;
    }
    let dir = project(name);
    let script = "echo two >> file; exit 3";
    let done = exec(&dir, &["--apply"], script);
    assert_eq!(done.status.code(), Some(3));
    assert_eq!(
        text(&done.stderr),
        "kavach: not applied: 1 changed: the program exited with status 3; --apply=always applies \
         all the same\n"
    );
    assert_eq!(read(&dir, "file"), "one\n");
    let done = exec(&dir, &["--apply=always"], script);
    assert_eq!(
        (done.status.code(), text(&done.stderr)),
        (Some(3), String::new())
    );
    assert_eq!(read(&dir, "file"), "one\ntwo\n");
}

#[test]
fn what_is_refused_is_named_and_fails() {
    let name = "what_is_refused_is_named_and_fails";
    if !sandboxes(name, "strict") {
        return;
    }
    let dir = project(name);
    let script = "echo two >> file; ln -s /etc/passwd link; mkdir -p .git/hooks
                  echo x > .git/hooks/pre-push; echo x > \"$(printf 'odd\\033[2J')\"
                  ln -s .. \"$(printf 'up\\nnotice: all is well')\"";
    let done = exec(&dir, &["--apply"], script);
    assert_eq!(done.status.code(), Some(125));
    assert_eq!(
        text(&done.stderr),
        "kavach: not applied: .git/hooks: a git hook; it is applied only if allowed by name\n\
         kavach: not applied: .git/hooks/pre-push: a git hook; it is applied only if allowed by \
         name\n\
         kavach: not applied: link: a symbolic link to an absolute path, /etc/passwd\n\
         kavach: not applied: up\\x0anotice: all is well: a symbolic link that can lead out of \
         the workspace, ..\n\
         kavach: applied 3 of 7 changes\n"
    );
    assert_eq!(read(&dir, "file"), "one\ntwo\n");
    // The program's own failure is the more important news.
    let done = exec(&dir, &["--apply=always"], "ln -s /etc l; exit 7");
    assert_eq!(done.status.code(), Some(7));
    let options = ["--apply", "--apply-allow", ".git/hooks"];
    let done = exec(&dir, &options, "mkdir .git/hooks; echo x > .git/hooks/a");
    assert_eq!(
        (done.status.code(), text(&done.stderr)),
        (Some(0), String::new())
    );
    assert_eq!(read(&dir, ".git/hooks/a"), "x\n");
}

/// Compares a document with its schema.
#[track_caller]
fn keeps(name: &str, document: &Value) {
    let Some(schema) = schema(name) else {
        // Not in the package.
        return;
    };
    assert_eq!(
        faults(&schema, document),
        Vec::<String>::new(),
        "{document:#}"
    );
}

#[test]
fn changes_are_listed_as_json() {
    let name = "changes_are_listed_as_json";
    if !sandboxes(name, "strict") {
        return;
    }
    let dir = project(name);
    let script = "echo two >> file; ln -s /etc link; echo out";
    let list = Dir::new("lists");
    let path = list
        .0
        .join("list.json")
        .into_os_string()
        .into_string()
        .unwrap();
    let done = exec(&dir, &["--apply", "--changes", &path], script);
    assert_eq!(
        (done.status.code(), text(&done.stdout)),
        (Some(125), "out\n".into())
    );
    let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    keeps("changes", &document);
    assert_eq!(document["schema"], "kavach.changes/1");
    let workspace = &document["workspace"];
    assert_eq!(workspace["changes"][0]["path"], "file");
    assert_eq!(workspace["changes"][0]["after"]["size"], 8);
    assert_eq!(workspace["applied"]["paths"], serde_json::json!(["file"]));
    assert_eq!(workspace["applied"]["refused"][0]["code"], "absolute_link");

    let done = exec(&dir, &["--changes", "-"], "rm file");
    let document = json(&done);
    keeps("changes", &document);
    assert_eq!(document["workspace"]["changes"][0]["kind"], "deleted");
    assert_eq!(document["workspace"]["applied"], Value::Null);

    let done = exec(&dir, &["--json"], "rm file");
    let document = json(&done);
    keeps("exec", &document);
    assert_eq!(document["workspace"]["changes"][0]["kind"], "deleted");
    assert_eq!(done.stderr, b"");
    let done = exec(&dir, &["--json", "--apply"], "rm file; ln -s /etc l");
    let document = json(&done);
    assert_eq!(
        (done.status.code(), &document["exit_code"]),
        (Some(125), &125.into())
    );
    assert!(!dir.0.join("file").exists());
}

#[test]
fn a_list_is_not_written_through_a_link() {
    let name = "a_list_is_not_written_through_a_link";
    if !sandboxes(name, "strict") {
        return;
    }
    let dir = project(name);
    let outside = Dir::new("outside");
    let victim = outside.file("victim", b"precious");
    symlink(&victim, dir.0.join("list")).unwrap();
    let done = exec(&dir, &["--changes", "list"], "echo ran");
    assert_eq!(
        (done.status.code(), text(&done.stdout)),
        (Some(125), String::new())
    );
    assert!(text(&done.stderr).starts_with("error: --changes: cannot write \"list\""));
    assert_eq!(fs::read(victim).unwrap(), b"precious");
}

#[test]
fn a_shell_script_is_a_program_too() {
    let name = "a_shell_script_is_a_program_too";
    if !sandboxes(name, "strict") {
        return;
    }
    let dir = project(name);
    let shell = |script: &str| {
        let args = [
            "shell",
            "--policy",
            "strict",
            "--workspace",
            ".",
            "--apply",
            "-c",
            script,
        ];
        kavach(args)
            .current_dir(&dir.0)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(shell("echo two >> file; exit 1"), Some(1));
    assert_eq!(read(&dir, "file"), "one\n");
    assert_eq!(shell("echo two >> file"), Some(0));
    assert_eq!(read(&dir, "file"), "one\ntwo\n");
}

/// On a terminal: the code of an interactive shell is that of whatever was typed last.
#[test]
fn an_interactive_session_is_applied_when_it_ends_by_itself() {
    let name = "an_interactive_session_is_applied_when_it_ends_by_itself";
    for setting in each(name).filter(|setting| setting.policy == "strict") {
        let dir = project(name);
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o777)).unwrap();
        let at = dir.0.to_str().unwrap();
        let session = |options: &[&str]| {
            let shell = ["--", "--norc", "--noprofile", "--noediting"];
            let args = [&["--workspace", at], options, &shell].concat();
            let mut inside = setting.kavach("shell", args);
            inside.say("echo x > new; false; exit\n");
            inside.end()
        };
        let (code, said) = session(&[]);
        assert_eq!(code, Some(1));
        assert!(
            said.contains("not applied: 1 added; --apply writes them back"),
            "{said}"
        );
        assert!(!dir.0.join("new").exists());
        let (code, said) = session(&["--apply"]);
        assert_eq!(code, Some(1));
        assert!(said.contains("applied: 1 added"), "{said}");
        assert_eq!(read(&dir, "new"), "x\n");
    }
}
