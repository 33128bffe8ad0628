//! What reaches the user's terminal, on a real pseudo-terminal.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use common::{kavach, run, sandboxes, text};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Both ends of a new terminal.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags_noctty()
        .open(name.to_str().unwrap())
        .unwrap();
    (ours.into(), theirs)
}

trait NoCtty {
    fn custom_flags_noctty(&mut self) -> &mut Self;
}

impl NoCtty for OpenOptions {
    fn custom_flags_noctty(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt as _;
        self.custom_flags(OpenptFlags::NOCTTY.bits().cast_signed())
    }
}

/// Everything that was written to a terminal whose other end is closed by now.
fn seen(mut ours: File) -> String {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    // A terminal without another end answers EIO instead of an end of file.
    while let Ok(n @ 1..) = ours.read(&mut chunk) {
        all.extend_from_slice(&chunk[..n]);
    }
    text(&all)
}

const HOSTILE: &str = r"printf '\033]52;c;aGk=\007\033[2J\033[31mred\033[0m\302\233c\n'";

#[test]
fn a_terminal_gets_colours_and_no_other_sequence() {
    if !sandboxes("a_terminal_gets_colours_and_no_other_sequence", "basic") {
        return;
    }
    let (ours, theirs) = terminal();
    let mut child = kavach(["exec", "--", "sh", "-c", HOSTILE])
        .stdout(theirs)
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(
        seen(ours),
        "␛]52;c;aGk=␇␛[2J\x1b[31mred\x1b[0m<U+009B>c\r\n"
    );
}

#[test]
fn standard_error_on_a_terminal_is_guarded_too() {
    if !sandboxes("standard_error_on_a_terminal_is_guarded_too", "basic") {
        return;
    }
    let (ours, theirs) = terminal();
    let script = format!("{HOSTILE} >&2");
    let mut child = kavach(["exec", "--", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(theirs)
        .spawn()
        .unwrap();
    child.wait().unwrap();
    assert!(seen(ours).starts_with("␛]52;c;aGk=␇"));
}

#[test]
fn a_pipe_gets_every_byte_as_it_is() {
    if !sandboxes("a_pipe_gets_every_byte_as_it_is", "basic") {
        return;
    }
    let done = run(["exec", "--", "sh", "-c", HOSTILE]);
    assert_eq!(
        text(&done.stdout),
        "\x1b]52;c;aGk=\x07\x1b[2J\x1b[31mred\x1b[0m\u{9b}c\n"
    );
}

#[test]
fn a_program_reads_what_is_typed_at_a_terminal() {
    if !sandboxes("a_program_reads_what_is_typed_at_a_terminal", "basic") {
        return;
    }
    let (mut ours, theirs) = terminal();
    let child = kavach(["exec", "--", "sh", "-c", "read line; echo got $line"])
        .stdin(theirs)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    ours.write_all(b"typed\n").unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(text(&done.stdout), "got typed\n");
}

#[test]
fn errors_have_colours_on_a_terminal_unless_unwanted_and_never_the_names_in_them() {
    let show = |no_color: bool| {
        let (ours, theirs) = terminal();
        let mut command = kavach(["exec", "--backend", "\x1b[31mx", "--", "true"]);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let status = command.stderr(theirs).status().unwrap();
        assert_eq!(status.code(), Some(125));
        drop(command);
        seen(ours)
    };
    let coloured = show(false);
    assert!(coloured.starts_with("\x1b[1;31merror:\x1b[0m unknown backend `\\u{1b}[31mx`"));
    assert!(!show(true).contains('\x1b'));
    let piped = run(["exec", "--backend", "\x1b[31mx", "--", "true"]);
    assert!(!text(&piped.stderr).contains('\x1b'));
}
