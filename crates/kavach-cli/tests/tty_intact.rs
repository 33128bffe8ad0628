//! The user's terminal is as it was, whatever ended the program or kavach, and whenever it is
//! somebody else's. As root and as an ordinary user, under every preset.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use common::Dir;
use common::dialogue::{SIZES, each};
use common::lease::Hanging;
use rustix::process::Signal;

/// What a program on a screen of its own has set, and how it is undone.
const SET: &str = r"printf '\033[?1049h\033[?25l\033[?1000h\033[31mready'; stty raw -echo; ";
const UNDONE: &str = "\x1b[?25h\x1b[?1000l\x1b[0m\x1b[?1049l";

#[test]
fn the_terminal_is_intact_after_a_kill_of_the_guest() {
    for setting in each("the_terminal_is_intact_after_a_kill_of_the_guest") {
        let script = format!("{SET} kill -9 $$");
        let (code, said) = setting.kavach("exec", ["--", "sh", "-c", &script]).end();
        assert_eq!(code, Some(137));
        assert!(said.ends_with(UNDONE), "{said:?}");
    }
}

#[test]
fn the_terminal_is_intact_after_a_kill_of_a_real_editor() {
    for setting in each("the_terminal_is_intact_after_a_kill_of_a_real_editor") {
        let script = "cd $(mktemp -d); (until test -e up; do sleep 0.01; done; \
                      pkill -9 -x vi; pkill -9 -x vim; pkill -9 -x vim.basic; \
                      pkill -9 -x vim.tiny) & \
                      vi -u NONE -c 'call writefile([], \"up\")' note; \
                      status=$?; rm -r $PWD; echo status $status";
        let inside = setting.kavach("exec", ["--", "bash", "-c", script]);
        let (code, said) = inside.end();
        assert!(said.contains("status 137"), "{said:?}");
        assert!(
            said.contains("\x1b[?1049h") && said.ends_with("\x1b[?1049l"),
            "{said:?}"
        );
        assert_eq!(code, Some(0));
    }
}

#[test]
fn the_terminal_is_intact_after_a_kill_of_the_agent() {
    for setting in each("the_terminal_is_intact_after_a_kill_of_the_agent") {
        let script = format!("{SET} sleep 1000");
        let mut inside = setting.kavach("exec", ["--", "sh", "-c", &script]);
        inside.expect("ready");
        let agents = common::children_named(inside.pid(), "kavach-agent");
        assert_eq!(agents.len(), 1);
        common::kill(agents[0], Signal::KILL);
        let (code, said) = inside.end();
        assert_eq!(code, Some(125));
        let at = said.find(UNDONE).unwrap();
        assert!(said[at..].contains("the agent died"), "{said:?}");
    }
}

#[test]
fn the_terminal_is_intact_after_a_signal_to_kavach() {
    let signals = [
        (Signal::TERM, 143),
        (Signal::HUP, 129),
        (Signal::QUIT, 131),
        (Signal::INT, 130),
    ];
    for setting in each("the_terminal_is_intact_after_a_signal_to_kavach") {
        for (signal, code) in signals {
            let script = format!("{SET} exec sleep 1000");
            let mut inside = setting.kavach("exec", ["--", "sh", "-c", &script]);
            inside.expect("ready");
            common::signal(inside.child(), signal);
            let (ended, said) = inside.end();
            assert_eq!(ended, Some(code), "{signal:?}");
            assert!(said.ends_with(UNDONE), "{signal:?} {said:?}");
        }
    }
}

#[test]
fn ctrl_c_ends_a_launch_that_hangs_and_the_terminal_is_intact() {
    let name = "ctrl_c_ends_a_launch_that_hangs_and_the_terminal_is_intact";
    if let Some(missing) = Hanging::missing() {
        common::skip(name, &missing);
        return;
    }
    for setting in each(name) {
        let mut hanging = Hanging::new("ctrl-c");
        let args = ["--read", &hanging.directory, "--", &hanging.program];
        let mut inside = setting.kavach("exec", args);
        hanging.hangs();
        // Nobody reads keys yet: the terminal itself makes the signal.
        inside.say("\x03");
        let (code, said) = inside.end();
        assert_eq!((code, said.contains("ran")), (Some(130), false), "{said:?}");
        hanging.release();
    }
}

#[test]
fn the_terminal_is_intact_after_a_limit_and_says_which() {
    for setting in each("the_terminal_is_intact_after_a_limit_and_says_which") {
        let script = format!("{SET} sleep 1000");
        let args = ["--timeout", "300ms", "--", "sh", "-c", &script];
        let (code, said) = setting.kavach("exec", args).end();
        assert_eq!(code, Some(124));
        let at = said.find(UNDONE).unwrap();
        assert!(
            said[at..].contains("the program was ended: timed out after 300 ms"),
            "{said:?}"
        );
        assert!(said.ends_with("\r\n"), "the note ends its line: {said:?}");
    }
}

#[test]
fn the_terminal_is_intact_after_an_error() {
    for setting in each("the_terminal_is_intact_after_an_error") {
        let (code, said) = setting.kavach("exec", ["--", "no-such-program"]).end();
        assert_eq!(code, Some(127));
        assert!(said.contains("command not found"), "{said:?}");
    }
}

#[test]
fn a_stop_from_outside_gives_the_terminal_back_for_as_long() {
    for setting in each("a_stop_from_outside_gives_the_terminal_back_for_as_long") {
        let mut host = setting.host_shell();
        let before = host.run("stty -g");
        let dir = Dir::new("stop");
        let script = dir.file("sizes.py", SIZES.as_bytes());
        let start = format!(
            "$KAVACH exec --policy {} -- /usr/bin/python3",
            setting.policy
        );
        host.say(&format!("{start} -c \"$(cat {script})\"\n"));
        host.expect("size 24 80\r\n");
        let pid = kavach_of(host.pid());
        common::kill(pid, Signal::TSTP);
        host.expect("\x1b[?25h\x1b[?1049l");
        host.expect("Stopped");
        host.expect("host> ");
        assert_eq!(host.run("stty -g"), before);
        host.resize(30, 100);
        host.say("fg\n");
        host.expect("\x1b[?1049h\x1b[?25l");
        // It is asked to draw anew, and of the right size in the end.
        host.expect("size 30 100\r\n");
        host.say("keys\n");
        host.expect("got keys\r\n");
        // A second time, and by the signal that no process can see.
        common::kill(pid, Signal::STOP);
        host.expect("Stopped");
        host.expect("host> ");
        host.say("fg\n");
        host.expect("size 30 100\r\n");
        host.say("more\n");
        host.expect("got more\r\n");
        host.say("\x03");
        host.expect("host> ");
        assert_eq!(host.run("stty -g"), before);
        host.resize(24, 80);
        host.say("exit\n");
        host.end();
    }
}

#[test]
fn after_a_kill_of_kavach_itself_bash_has_its_terminal_back() {
    for setting in each("after_a_kill_of_kavach_itself_bash_has_its_terminal_back") {
        let mut host = setting.host_shell();
        let before = host.run("stty -g");
        let script = "stty raw -echo; echo rea''dy; exec sleep 1000";
        let start = format!(
            "$KAVACH exec --policy {} -- sh -c \"{script}\"",
            setting.policy
        );
        host.say(&format!("{start}\n"));
        host.expect("ready");
        common::kill(kavach_of(host.pid()), Signal::KILL);
        host.expect("Killed");
        host.expect("host> ");
        assert_eq!(host.run("stty -g"), before);
        host.say("exit\n");
        host.end();
    }
}

#[test]
fn a_terminal_that_goes_away_ends_the_sandbox() {
    for setting in each("a_terminal_that_goes_away_ends_the_sandbox") {
        let script = "trap '' HUP; echo ready; sleep 1000 & wait";
        let mut inside = setting.kavach("exec", ["--", "bash", "-c", script]);
        inside.expect("ready");
        let agents = common::children_named(inside.pid(), "kavach-agent");
        inside.hang_up();
        assert_eq!(inside.wait().code(), Some(129));
        assert!(
            agents
                .iter()
                .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        );
    }
}

/// The kavach among a shell's children.
fn kavach_of(shell: u32) -> i32 {
    let found = common::children_named(shell, "/proc/self/fd/");
    assert_eq!(found.len(), 1);
    found[0]
}

#[test]
fn there_is_a_way_out_of_a_program_that_takes_every_key() {
    for setting in each("there_is_a_way_out_of_a_program_that_takes_every_key") {
        // Nothing is read, so that the program's terminal is full after a while.
        let script = format!("trap '' HUP INT QUIT TERM TSTP; {SET} while :; do sleep 1; done");
        let mut inside = setting.kavach("exec", ["--", "bash", "-c", &script]);
        inside.expect("ready");
        for _ in 0..100 {
            inside.say(&"x\x03".repeat(500));
        }
        inside.say("\x1d\x1d\x1d");
        let (code, said) = inside.end();
        assert_eq!(code, Some(137));
        assert!(said.ends_with(UNDONE), "{said:?}");
    }
}

#[test]
fn the_screen_is_undone_for_a_user_who_does_not_keep_up() {
    for setting in each("the_screen_is_undone_for_a_user_who_does_not_keep_up") {
        let script = format!("{SET} exec yes");
        let args = ["--timeout", "300ms", "--", "sh", "-c", &script];
        let mut inside = setting.kavach("exec", args);
        // Not a byte is read before kavach has ended.
        assert_eq!(inside.wait().code(), Some(124));
        let (_, said) = inside.end();
        let at = said.find(UNDONE).unwrap();
        assert!(
            said[at..].contains("the program was ended"),
            "{:?}",
            &said[at..]
        );
        assert!(!said[at..].contains("y\r\ny"), "{:?}", &said[at..]);
    }
}

#[test]
fn a_user_who_does_not_read_can_end_a_flood() {
    for setting in each("a_user_who_does_not_read_can_end_a_flood") {
        let script = r"trap '' TERM HUP; while :; do printf '%01000d' 0; done";
        let mut inside = setting.kavach("exec", ["--", "bash", "-c", script]);
        inside.expect("000000");
        common::signal(inside.child(), Signal::TERM);
        common::signal(inside.child(), Signal::HUP);
        // Without a reader, what kavach has still to write cannot be written.
        assert_ne!(inside.wait().code(), Some(0));
        assert!(inside.is_intact(), "{}", inside.settings());
    }
}
