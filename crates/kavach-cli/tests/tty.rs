//! Programs on a terminal: editors, pagers, job control, and a user's terminal that is as it was
//! whatever ended them. As root and as an ordinary user, under every preset.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::dialogue::{Dialogue, Setting, settings};
use common::{Dir, sandboxes};
use rustix::process::Signal;

/// The settings of a test, or none where nothing can be tested here.
fn each(test: &str) -> impl Iterator<Item = Setting> {
    sandboxes(test, "strict")
        .then(|| settings(test))
        .into_iter()
        .flatten()
}

fn shell(setting: Setting) -> Dialogue {
    let mut inside = setting.kavach("shell", ["--", "--norc", "--noprofile", "--noediting"]);
    inside.say("PS1='in'side'> '\n");
    inside.prompt = "inside> ".into();
    inside.expect("inside> ");
    inside
}

/// Says its size at the start and at every change, and what is typed.
const SIZES: &str = r"
import os, select, signal
changed, change = os.pipe()
os.set_blocking(change, False)
signal.set_wakeup_fd(change)
signal.signal(signal.SIGWINCH, lambda *_: None)
def tell(): print('size', *reversed(os.get_terminal_size()), flush=True)
print('\033[?1049h\033[?25l', end='')
tell()
while True:
    for ready in select.select([0, changed], [], [])[0]:
        said = os.read(ready, 100)
        if ready == 0: print('got', said.decode().strip(), flush=True)
        else: tell()
";

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
