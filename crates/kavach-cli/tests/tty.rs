//! Programs on a terminal: editors, pagers, shells with job control; what reaches the user's
//! terminal, and from where. As root and as an ordinary user, under every preset.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::process::Command;

use common::Dir;
use common::dialogue::{Dialogue, SIZES, Setting, each};

fn shell(setting: Setting) -> Dialogue {
    let mut inside = setting.kavach("shell", ["--", "--norc", "--noprofile", "--noediting"]);
    inside.say("PS1='in'side'> '\n");
    inside.prompt = "inside> ".into();
    inside.expect("inside> ");
    inside
}

#[test]
fn a_program_has_a_terminal_where_the_user_has_one() {
    const NAME: &str = "a_program_has_a_terminal_where_the_user_has_one";
    for setting in each(NAME) {
        let script = "tty; stty size; echo $TERM; test -t 2 && echo err; exit 3";
        let inside = setting.kavach("exec", ["--", "sh", "-c", script]);
        let (code, said) = inside.end();
        assert!(said.starts_with("/dev/pts/"), "{said}");
        assert!(
            said.ends_with("24 80\r\nxterm-256color\r\nerr\r\n"),
            "{said}"
        );
        assert_eq!(code, Some(3));
    }
}

#[test]
fn it_has_none_where_input_or_output_is_redirected_or_it_is_unwanted() {
    const NAME: &str = "it_has_none_where_input_or_output_is_redirected_or_it_is_unwanted";
    let what = "for n in 0 1 2; do test -t $n && echo -n $n; done; echo .";
    for setting in each(NAME) {
        let mut host = setting.host_shell();
        let mut said = |line: &str| {
            let line = line.replace("WHAT", &format!("-- sh -c '{what}'"));
            host.run(&line.replace(
                "KAVACH",
                &format!("$KAVACH exec --policy {}", setting.policy),
            ))
        };
        for (line, terminals) in [
            ("KAVACH WHAT", "012"),
            ("KAVACH WHAT </dev/null", ""),
            ("KAVACH WHAT | cat", ""),
            ("KAVACH -T WHAT", ""),
            ("KAVACH -T -t WHAT", "012"),
            ("KAVACH -t WHAT </dev/null | cat", "012"),
            // Redirected errors go where they were sent; the rest is a terminal.
            ("KAVACH WHAT 2>/dev/null", "01"),
        ] {
            let said = said(line);
            assert!(
                said.contains(&format!("\n{terminals}.\r")),
                "{line}: {said:?}"
            );
        }
        let apart = said("KAVACH -- sh -c 'echo errors >&2; echo more' 2>&1 >/dev/tty | rev");
        assert!(
            apart.contains("srorre") && apart.contains("more"),
            "{apart}"
        );
    }
}

#[test]
fn a_shell_has_job_control() {
    for setting in each("a_shell_has_job_control") {
        let mut inside = shell(setting);
        inside.say("cat\n");
        inside.expect("cat\r\n");
        inside.say("one\n");
        inside.expect("one\r\none\r\n");
        inside.say("\x1a");
        inside.expect("Stopped");
        inside.expect("inside> ");
        assert!(inside.run("jobs").contains("Stopped"));
        inside.say("fg\n");
        inside.expect("cat\r\n");
        inside.say("two\n");
        inside.expect("two\r\ntwo\r\n");
        inside.say("\x03");
        inside.expect("inside> ");
        assert!(inside.run("echo status $?").contains("status 130"));
        inside.say("sh -c 'echo u''p; exec sleep 1000'\n");
        inside.expect("up\r\n");
        inside.say("\x1a");
        inside.expect("Stopped");
        inside.expect("inside> ");
        assert!(inside.run("bg; jobs").contains("Running"));
        inside.run("kill %1; wait");
        inside.say("exit 7\n");
        assert_eq!(inside.end().0, Some(7));
    }
}

#[test]
fn an_editor_edits() {
    for setting in each("an_editor_edits") {
        let mut inside = shell(setting);
        inside.run("cd $(mktemp -d)");
        inside.say("vi -u NONE note\n");
        inside.expect("[New");
        inside.say("ifirst line\rsecond line\x1b");
        inside.say("ggOabove\x1b:wq\r");
        inside.expect("written");
        inside.expect("inside> ");
        assert!(
            inside
                .run("cat note")
                .contains("above\r\nfirst line\r\nsecond line\r\n")
        );
        inside.run("rm -r $PWD");
        inside.say("exit\n");
        assert_eq!(inside.end().0, Some(0));
    }
}

#[test]
fn a_pager_pages() {
    for setting in each("a_pager_pages") {
        let mut inside = setting.kavach("exec", ["--", "sh", "-c", "seq 1 500 | less -X"]);
        inside.expect("\n23\r\n");
        inside.say("G");
        inside.expect("500");
        inside.say("/^4.7$\r");
        inside.expect("497");
        inside.say("1G/^137$\r");
        inside.expect("137");
        inside.say("q");
        assert_eq!(inside.end().0, Some(0));
    }
}

#[test]
fn a_change_of_size_goes_through() {
    for setting in each("a_change_of_size_goes_through") {
        let mut inside = setting.kavach("exec", ["--", "/usr/bin/python3", "-c", SIZES]);
        inside.expect("size 24 80\r\n");
        for (rows, cols) in [(50, 132), (10, 20), (24, 80)] {
            inside.resize(rows, cols);
            inside.expect(&format!("size {rows} {cols}\r\n"));
        }
        inside.say("\x03");
        assert_eq!(inside.end().0, Some(130));
    }
}

#[test]
fn ctrl_z_does_not_stop_a_program_that_nobody_could_resume() {
    for setting in each("ctrl_z_does_not_stop_a_program_that_nobody_could_resume") {
        let mut inside = setting.kavach("exec", ["--", "sh", "-c", "echo ready; exec cat"]);
        inside.expect("ready\r\n");
        inside.say("one\n");
        inside.expect("one\r\none\r\n");
        inside.say("\x1atwo\n");
        inside.expect("two\r\ntwo\r\n");
        inside.say("\x04");
        assert_eq!(inside.end().0, Some(0));
    }
}

#[test]
fn a_background_job_waits_for_the_terminal() {
    for setting in each("a_background_job_waits_for_the_terminal") {
        let mut host = setting.host_shell();
        host.say(&format!(
            "$KAVACH exec --policy {} -- cat &\n",
            setting.policy
        ));
        host.expect("[1]");
        host.say("until jobs | grep Stopped; do sleep 0.01; done; echo s''topped\n");
        host.expect("stopped\r\n");
        host.say("fg\n");
        host.say("here\n");
        host.expect("here\r\nhere\r\n");
        host.say("\x04");
        host.expect("host> ");
        host.say("exit\n");
        host.end();
    }
}

#[test]
fn what_reaches_past_the_screen_is_left_out() {
    let hostile =
        r"printf 'a\033]52;c;aGk=\007b\033[2J\033]0;t\007\033[21t\033[31mc\033[0m\302\233d'";
    for setting in each("what_reaches_past_the_screen_is_left_out") {
        let filtered = setting.kavach("exec", ["--", "sh", "-c", hostile]);
        assert_eq!(filtered.end().1, "ab\x1b[2J\x1b[31mc\x1b[0md");
        let args = ["--unfiltered-terminal", "--", "sh", "-c", hostile];
        assert_eq!(
            setting.kavach("exec", args).end().1,
            "a\x1b]52;c;aGk=\x07b\x1b[2J\x1b]0;t\x07\x1b[21t\x1b[31mc\x1b[0m\u{9b}d"
        );
    }
}

#[test]
fn a_terminal_that_is_asked_for_in_a_pipeline_works_too() {
    for setting in each("a_terminal_that_is_asked_for_in_a_pipeline_works_too") {
        let mut host = setting.host_shell();
        let kavach = format!("$KAVACH exec --policy {} -t --", setting.policy);
        // The end of a file is typed, also in the middle of a line.
        let said = host.run(&format!(
            "printf 'one\\ntwo' | {kavach} sh -c 'x=$(cat); echo \"[$x]\"' | tr -d '\\r'"
        ));
        assert!(said.contains("[one\r\ntwo]\r\n"), "{said:?}");
        // A reader that goes away hangs the terminal up.
        let said = host.run(&format!("{kavach} yes | head -1; echo ${{PIPESTATUS[0]}}"));
        assert!(
            said.contains("\ny\r") && said.contains("129\r\n"),
            "{said:?}"
        );
        host.say("exit\n");
        host.end();
    }
}

#[test]
fn the_guest_has_no_way_to_the_users_terminal() {
    let dir = Dir::new("sti");
    let source = dir.file("sti.c", include_bytes!("guests/sti.c"));
    let program = dir.0.join("sti");
    let built = Command::new("cc")
        .arg("-o")
        .arg(&program)
        .arg(source)
        .status();
    assert!(built.unwrap().success());
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.to_str().unwrap();
    for setting in each("the_guest_has_no_way_to_the_users_terminal") {
        // On a terminal of its own the attack works, where the kernel still lets it.
        let mut host = setting.host_shell();
        let legacy = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
        if legacy.is_ok_and(|it| it.trim() == "1") {
            assert!(
                host.run(&format!("{program} /dev/tty; read x; echo :$x"))
                    .contains(":typed")
            );
        }
        // The user's terminal by name: under `minimal` it is in view, and is the user's.
        let name = host.run("tty");
        let name = name
            .lines()
            .find(|line| line.starts_with("/dev/pts"))
            .unwrap()
            .to_owned();
        let read = match setting.policy {
            "minimal" => String::new(),
            _ => format!("--read {}", dir.0.display()),
        };
        let kavach = format!("$KAVACH exec --policy {} {read} --", setting.policy);
        let said = host.run(&format!(
            "{kavach} {program} {name}; read -t 0.2 x; echo :$x."
        ));
        assert!(said.contains(":."), "{said:?}");
        assert!(!said.contains("typed"), "{said:?}");
        host.say("exit\n");
        host.end();
    }
}
