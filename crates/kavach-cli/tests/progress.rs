//! The line about long work: there for a person at a terminal, gone before anything else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::dialogue::Dialogue;
use common::lease::Hanging;
use common::{kavach, sandboxes, skip};

const LINE: &str = "kavach: starting the program (1 s)";
const ERASED: &str = "\r\x1b[K";

/// Whether a program whose start hangs can be had here; if not, the test is listed as skipped.
fn possible(test: &str) -> bool {
    if let Some(missing) = Hanging::missing() {
        skip(test, &missing);
        return false;
    }
    sandboxes(test, "basic")
}

/// kavach on a terminal, with a program whose start hangs.
fn start(hanging: &mut Hanging, options: &[&str], env: &[(&str, &str)]) -> Dialogue {
    let head = [&["exec", "--read", &hanging.directory], options].concat();
    let command = kavach([&head, &["--", &hanging.program][..]].concat());
    let dialogue = Dialogue::with(&command, |command| {
        command.envs(env.iter().copied());
    });
    hanging.hangs();
    dialogue
}

#[test]
fn it_is_shown_after_a_second_and_gone_before_the_program_speaks() {
    if !possible("it_is_shown_after_a_second_and_gone_before_the_program_speaks") {
        return;
    }
    // With a terminal for the program, and without.
    for options in [&[][..], &["-T"]] {
        let mut hanging = Hanging::new("progress");
        let mut inside = start(&mut hanging, options, &[("NO_COLOR", "1")]);
        let shown = inside.expect(LINE);
        let only = shown.matches('\x1b').count() == shown.matches(ERASED).count();
        assert!(only, "no colour: {shown:?}");
        hanging.release();
        let (code, rest) = inside.end();
        assert_eq!(code, Some(0));
        let (line, program) = rest.rsplit_once(ERASED).unwrap();
        assert!(!line.contains("ran"), "{rest:?}");
        assert_eq!(program, "ran\r\n", "{options:?}");
    }
}

#[test]
fn it_is_for_nobody_else() {
    if !possible("it_is_for_nobody_else") {
        return;
    }
    let quiet: [(&[&str], &[_]); 2] = [(&["--quiet"], &[]), (&["--json"], &[])];
    let elsewhere: [(&[&str], &[_]); 2] = [(&[], &[("TERM", "dumb")]), (&[], &[("CI", "true")])];
    let cases = [quiet, elsewhere].concat();
    let mut silent: Vec<(Hanging, Dialogue)> = cases
        .iter()
        .map(|(options, env)| {
            let mut hanging = Hanging::new("silent");
            let dialogue = start(&mut hanging, options, env);
            (hanging, dialogue)
        })
        .collect();
    // They have hung for longer than this one, which shows its line.
    let mut control = Hanging::new("control");
    let mut shown = start(&mut control, &[], &[]);
    shown.expect(LINE);
    for ((mut hanging, dialogue), case) in silent.drain(..).zip(cases) {
        hanging.release();
        let (code, said) = dialogue.end();
        assert_eq!(code, Some(0), "{case:?}");
        assert!(!said.contains("starting"), "{case:?}: {said:?}");
        assert!(said.contains("ran"), "{case:?}: {said:?}");
    }
    control.release();
    assert_eq!(shown.end().0, Some(0));
}

#[test]
fn errors_redirected_to_a_file_hold_no_line() {
    if !possible("errors_redirected_to_a_file_hold_no_line") {
        return;
    }
    let dir = common::Dir::new("redirected");
    let errors = dir.file("errors", b"");
    let mut hanging = Hanging::new("redirected-launch");
    let args = ["exec", "--read", &hanging.directory, "--", &hanging.program];
    let command = kavach(args);
    let silent = Dialogue::with(&command, |command| {
        command.stderr(std::fs::File::create(&errors).unwrap());
    });
    hanging.hangs();
    let mut control = Hanging::new("redirected-control");
    let mut shown = start(&mut control, &[], &[]);
    shown.expect(LINE);
    hanging.release();
    let (code, said) = silent.end();
    assert_eq!((code, said.as_str()), (Some(0), "ran\r\n"));
    assert_eq!(std::fs::read_to_string(&errors).unwrap(), "");
    control.release();
    assert_eq!(shown.end().0, Some(0));
}
