//! Commands with a terminal: what they see, what reaches them, and how they end.

use std::time::Duration;

use kavach::policy::{OnOutput, SandboxPolicy};
use kavach::{Command, PtySize, SandboxState, Termination};

use crate::harness::{Setting, Suite, Who, fixture, program};
use crate::world::{ISOLATING, World, act, builder, eventually, mark, marked};

/// Policies, and the control.
const ALL: [&str; 4] = ["noop", "minimal", "basic", "strict"];
const SIZE: PtySize = PtySize::new(33, 101);

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("terminals");
    suite.each("it_is_the_commands_own", &ALL, own);
    suite.each("without_asking_there_is_none", &ALL, none);
    suite.each("output_and_errors_are_one_stream", &ALL, one_stream);
    suite.each("input_is_typed_to_its_end", &ALL, typed);
    suite.each("more_output_than_is_kept_is_cut", &ALL, cut);
    suite.each("too_much_output_ends_it_where_asked", &ISOLATING, ends_it);
    suite.each("the_time_limit_holds", &ALL, time_limit);
    suite.each("keys_are_signals", &ALL, keys);
    suite.each("a_resize_is_seen", &ALL, resized);
    suite.each("a_storm_of_resizes_ends_with_the_last", &ALL, storm);
    suite.each("a_terminal_without_handles_hangs_up", &ALL, hangs_up);
    suite.each("a_full_terminal_does_not_hold_up_a_kill", &ALL, full);
    suite.each("a_background_job_does_not_hold_up_the_end", &ALL, behind);
    suite.each("a_program_may_close_its_terminal_first", &ALL, closes);
    suite.each("the_stream_lasts_as_long_as_somebody_writes", &ALL, lasts);
    suite.each("settings_of_one_do_not_reach_the_next", &ALL, fresh);
    suite.each("commands_share_a_trust_domain", &ALL, shared);
    suite.each_needing(
        "control_typing_for_itself",
        &["noop", "minimal"],
        legacy_tiocsti,
        |s| {
            sti(s, "x\r\nEFFECT\r\n");
        },
    );
    suite.each("typing_for_itself", &ISOLATING, |s| {
        sti(s, "errno EPERM\r\n");
    });
    suite.each("control_many_terminals", &["noop"], |s| {
        let world = World::of(s.policy);
        let mut child = world.spawn(interactive(act("terminal", &["many", "100"])));
        world.expect(&mut child, "100 EFFECT");
    });
    suite.each("many_terminals_are_bounded", &ISOLATING, bounded);
    suite.each("a_ptmx_that_is_none_is_refused", &["basic"], fake);
    suite.each_needing(
        "script_makes_a_terminal",
        &ALL,
        |_| program("/usr/bin/script"),
        script,
    );
    // Under `strict` it has no socket to speak over.
    suite.each_needing(
        "tmux_makes_terminals",
        &["basic"],
        |_| program("/usr/bin/tmux"),
        tmux,
    );
    suite.each("line_editing_of_python", &ALL, python);
    suite.subject_for("terminals", &[Who::Root, Who::Delegated]);
    suite.each("a_pause_holds_the_keys", &ALL[1..], pause);
}

fn interactive(command: Command) -> Command {
    command.pty(SIZE).stdin_piped()
}

fn own(s: Setting) {
    let world = World::of(s.policy);
    let about = |command: Command| world.run(command).stdout;
    let expected = "named 012 leads foreground own 33x101 tty:opens open:012\r\n";
    assert_eq!(about(act("terminal", &["about"]).pty(SIZE)), expected);
    // Two at once are two.
    let mut first = world.spawn(interactive(Command::shell("tty; read x")));
    let mut second = world.spawn(interactive(Command::shell("tty; read x")));
    assert_ne!(
        world.expect(&mut first, "\n"),
        world.expect(&mut second, "\n")
    );
    // They go with their commands.
    for child in [&mut first, &mut second] {
        world.write(child, b"\n");
        assert!(world.wait(child).success());
    }
    drop((first, second));
    assert_eq!(about(act("terminal", &["about"]).pty(SIZE)), expected);
}

fn none(s: Setting) {
    let about = World::of(s.policy).run(act("terminal", &["about"])).stdout;
    assert!(about.starts_with("nameless  leads background "), "{about}");
    assert!(about.ends_with(" 0x0 tty:ENXIO open:012\n"), "{about}");
}

fn one_stream(s: Setting) {
    let world = World::of(s.policy);
    let both = || Command::shell("echo out; echo err >&2; exit 4").pty(SIZE);
    let result = world.run(both());
    assert_eq!(result.stdout, "out\r\nerr\r\n");
    assert_eq!(result.stderr, "");
    assert_eq!(result.termination, Termination::Exited(4));
    let apart = world.run(both().stderr_apart());
    assert_eq!((&*apart.stdout, &*apart.stderr), ("out\r\n", "err\n"));
}

fn typed(s: Setting) {
    let world = World::of(s.policy);
    let run = |command: &str, input: &str| {
        let command = Command::shell(format!("stty -echo; {command}"));
        let result = world.run(command.pty(SIZE).stdin_bytes(input).timeout_ms(60_000));
        assert!(result.success(), "{}", result.termination);
        result.stdout.replace("\r\n", "\n")
    };
    // Typed before the echo is off, it may be echoed: only what the command says counts.
    assert!(run("x=$(cat); echo \"[$x]\"", "one\ntwo\n").ends_with("[one\ntwo]\n"));
    assert!(run("x=$(cat); echo \"[$x]\"", "in mid-line").ends_with("[in mid-line]\n"));
    assert!(run("x=$(cat); echo \"[$x]\"", "").ends_with("[]\n"));
    // More than the kernel holds between the two ends.
    assert!(run("wc -c", &"a line\n".repeat(50_000)).ends_with("350000\n"));
}

fn cut(s: Setting) {
    let world = World::of(s.policy);
    let result = world.run(Command::shell("head -c 20000000 /dev/zero | tr '\\0' x").pty(SIZE));
    assert!(result.success() && result.stdout_truncated);
    assert_eq!(result.stdout, "x".repeat(1 << 20));
}

fn ends_it(s: Setting) {
    let mut policy = SandboxPolicy::from_preset(s.policy).unwrap();
    policy.limits.on_output = OnOutput::Kill;
    policy.limits.output_kb = 64;
    let world = World::new(builder().policy(policy).read(fixture().join("guests")));
    let result = world.run(act("terminal", &["flood", "deaf"]).pty(SIZE));
    assert_eq!(result.termination, Termination::OutputExceeded);
    assert_eq!(result.stdout_bytes().len(), 64 << 10);
}

fn time_limit(s: Setting) {
    for how in [&["flood", "deaf"], &["flood", "stopped"]] {
        let command = act("terminal", how).pty(SIZE).timeout_ms(300);
        let result = World::of(s.policy).run(command);
        assert_eq!(result.termination, Termination::TimedOut, "{how:?}");
    }
}

fn keys(s: Setting) {
    const SIGINT: i32 = 2;
    const SIGQUIT: i32 = 3;
    let world = World::of(s.policy);
    for (key, signal) in [(b"\x03", SIGINT), (b"\x1c", SIGQUIT)] {
        let mut child = world.spawn(interactive(Command::shell("echo up; exec sleep 1000")));
        world.expect(&mut child, "up\r\n");
        world.write(&mut child, key);
        let result = world.wait(&mut child);
        assert_eq!(result.termination, Termination::Signaled(signal));
    }
}

/// Says its size at the start and at every change.
fn sizes() -> Command {
    let script = "import os, signal as s; s.pthread_sigmask(s.SIG_BLOCK, [s.SIGWINCH])\n\
                  while True: print('size', *reversed(os.get_terminal_size()), flush=True); \
                  s.sigwait([s.SIGWINCH])";
    interactive(Command::new("/usr/bin/python3").args(["-c", script]))
}

fn resized(s: Setting) {
    let world = World::of(s.policy);
    let mut child = world.spawn(sizes());
    world.expect(&mut child, "size 33 101\r\n");
    for (rows, cols) in [(1, 1), (65_535, 65_535), (24, 80)] {
        child.resize(PtySize::new(rows, cols)).unwrap();
        world.expect(&mut child, &format!("size {rows} {cols}\r\n"));
    }
    let without = world.spawn("sleep 1000");
    let refused = without.resize(SIZE).unwrap_err();
    assert_eq!(refused.code(), "KV-INVALID-CONFIG");
}

fn storm(s: Setting) {
    let world = World::of(s.policy);
    let mut child = world.spawn(sizes());
    world.expect(&mut child, "size 33 101\r\n");
    for round in 0..20_000 {
        child.resize(PtySize::new(round, round)).unwrap();
    }
    child.resize(PtySize::new(12, 34)).unwrap();
    world.expect(&mut child, "size 12 34\r\n");
}

/// A directory for notes, inside: of the host where it is in view.
fn notes(world: &World) -> String {
    world.sh("mktemp -d")
}

fn hangs_up(s: Setting) {
    let world = World::of(s.policy);
    let dir = notes(&world);
    let script = format!(
        "trap 'echo hup > {dir}/note; mv {dir}/note {dir}/told; exit' HUP; echo up; \
         while :; do sleep 0.01; done"
    );
    let mut child = world.spawn(interactive(Command::shell(script)));
    world.expect(&mut child, "up\r\n");
    drop(child);
    let wait =
        format!("until test -e {dir}/told; do sleep 0.01; done; cat {dir}/told; rm -r {dir}");
    assert_eq!(world.said(Command::shell(wait).timeout_ms(60_000)), "hup");
}

/// Nobody reads: the terminal is full, and the guest stands in a write.
fn full(s: Setting) {
    for grace in [Duration::ZERO, Duration::from_millis(20)] {
        let (world, mark) = (World::of(s.policy), mark());
        let flood = act("terminal", &["flood", "deaf", "hold", &mark]);
        let mut child = world.spawn(interactive(flood));
        // It never sleeps otherwise.
        eventually("it stands in a write", || {
            let pids = marked(&mark);
            pids.iter().any(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                stat.is_ok_and(|stat| stat.contains(") S "))
            })
        });
        let result = world.kill(&mut child, grace);
        assert_eq!(result.termination, Termination::Killed);
        assert_eq!(marked(&mark), [0; 0]);
    }
}

fn behind(s: Setting) {
    let world = World::of(s.policy);
    let command = act("terminal", &["flood_behind"])
        .pty(SIZE)
        .timeout_ms(60_000);
    let result = world.run(command);
    assert_eq!(result.termination, Termination::Exited(0));
    assert!(result.stdout.contains("left\r\n") || result.stdout_truncated);
    let mark = mark();
    let hold = act("resources", &["daemonise", &mark, "keep"]);
    let result = world.run(hold.pty(SIZE).timeout_ms(60_000));
    assert_eq!(result.stdout, "daemon left\r\n");
    eventually("the daemon is there", || marked(&mark).len() == 1);
}

fn closes(s: Setting) {
    let world = World::of(s.policy);
    let script = "exec <&- >&- 2>&-; sleep 0.05; exit 6";
    let result = world.run(Command::shell(script).pty(SIZE));
    assert_eq!(result.termination, Termination::Exited(6));
    let mut child = world.spawn(interactive(Command::shell(script)));
    assert_eq!(world.read(&mut child), "");
    assert_eq!(world.wait(&mut child).termination, Termination::Exited(6));
}

fn lasts(s: Setting) {
    let world = World::of(s.policy);
    let dir = notes(&world);
    let script = format!(
        "trap '' HUP; (until test -e {dir}/go; do sleep 0.01; done; echo late) & echo early"
    );
    let mut child = world.spawn(interactive(Command::shell(script)));
    world.expect(&mut child, "early\r\n");
    eventually("its first process has ended", || {
        child.try_wait().unwrap().is_some()
    });
    world.sh(&format!("touch {dir}/go"));
    world.expect(&mut child, "late\r\n");
    assert_eq!(
        world.read(&mut child),
        "",
        "the end, after the last writer's"
    );
    world.sh(&format!("rm -r {dir}"));
}

fn fresh(s: Setting) {
    let world = World::of(s.policy);
    let settings = || world.said(Command::new("stty").arg("-g").pty(SIZE));
    let before = settings();
    let spoilt = world.run(act("terminal", &["spoil"]).pty(SIZE));
    assert_eq!(spoilt.termination, Termination::Signaled(9));
    assert_eq!(spoilt.stdout, "spoilt\n");
    assert_eq!(settings(), before);
}

/// Said in the threat model: what runs in one sandbox is not kept apart.
fn shared(s: Setting) {
    let world = World::of(s.policy);
    let mut child = world.spawn(interactive(Command::shell("tty; read x")));
    let name = world.expect(&mut child, "\r\n");
    world.sh(&format!("echo from another > {}", name.trim_end()));
    world.expect(&mut child, "from another\r\n");
}

/// Whether it could type for itself, and read that.
fn sti(s: Setting, expected: &str) {
    let world = World::of(s.policy);
    let mut child = world.spawn(interactive(act("terminal", &["sti"])));
    world.expect(&mut child, expected);
    assert!(world.wait(&mut child).success());
}

fn legacy_tiocsti(_: Who) -> Option<String> {
    let legacy = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    let off = legacy.is_ok_and(|it| it.trim() == "0");
    off.then(|| "this kernel refuses TIOCSTI to everybody (dev.tty.legacy_tiocsti)".to_owned())
}

fn bounded(s: Setting) {
    let world = World::of(s.policy);
    // With its own that makes 64.
    let mut hoarder = world.spawn(interactive(act("terminal", &["many", "1000"])));
    world.expect(&mut hoarder, "63 errno ENOSPC\r\n");
    let refused = world
        .try_spawn(interactive(Command::new("true")))
        .unwrap_err();
    assert_eq!(refused.code(), "KV-SETUP");
    assert!(
        refused.hint().is_some_and(|hint| hint.contains("64")),
        "{refused}"
    );
    assert!(
        world.run("true").success(),
        "without a terminal all is well"
    );
    // Another sandbox has its own.
    assert!(
        World::of(s.policy)
            .run(Command::new("true").pty(SIZE))
            .success()
    );
    world.write(&mut hoarder, b"\n");
    world.wait(&mut hoarder);
    assert!(world.run(Command::new("true").pty(SIZE)).success());
}

/// An ordinary user's guest owns its /dev: what it puts there is not opened.
fn fake(s: Setting) {
    for kind in [
        "mkfifo /dev/ptmx",
        "ln -s null /dev/ptmx",
        "mkdir /dev/ptmx",
        "true",
    ] {
        let world = World::of(s.policy);
        let changed = world.run(Command::shell(format!("rm /dev/ptmx && {kind}")));
        assert_eq!(changed.success(), !s.who.is_root(), "{kind}");
        let answer = world.try_run(Command::new("true").pty(SIZE));
        if changed.success() {
            assert_eq!(answer.unwrap_err().code(), "KV-SETUP", "{kind}");
        } else {
            assert!(answer.unwrap().success());
        }
        assert!(world.run("true").success());
    }
}

fn script(s: Setting) {
    let world = World::of(s.policy);
    let dir = notes(&world);
    let command = format!("cd {dir}; script -qec 'tty; stty size' log; wc -l < log");
    let said = world.run(Command::shell(command).pty(SIZE).timeout_ms(60_000));
    assert!(said.success(), "{said:?}");
    assert!(
        said.stdout.contains("/dev/pts/") && said.stdout.contains("33 101"),
        "{said:?}"
    );
    world.sh(&format!("rm -r {dir}"));
}

fn tmux(s: Setting) {
    // Nothing of the host's is shown: with a read path, sockets with a name are refused.
    let policy = SandboxPolicy::from_preset(s.policy).unwrap();
    let world = World::new(builder().policy(policy));
    let command = Command::new("/usr/bin/tmux").args(["-f", "/dev/null"]);
    let mut child = world.spawn(interactive(command.env("TERM", "xterm")));
    world.expect(&mut child, "[0] 0:");
    world.write(&mut child, b"exec sh -c 'tty; exec sleep 1000'\n");
    world.expect(&mut child, "/dev/pts/1");
    assert!(world.run("tmux kill-server").success());
    eventually("it has ended", || child.try_wait().unwrap().is_some());
}

fn python(s: Setting) {
    let world = World::of(s.policy);
    let command = Command::new("/usr/bin/python3")
        .arg("-q")
        .env("TERM", "xterm");
    let mut child = world.spawn(interactive(command));
    world.expect(&mut child, ">>> ");
    // A word too much, deleted again by readline's Ctrl-W.
    world.write(&mut child, b"print(6 * 7) oops\x17\r");
    world.expect(&mut child, "\n42\r\n");
    world.write(&mut child, b"exit(5)\r");
    eventually("it has ended", || child.try_wait().unwrap().is_some());
    assert_eq!(world.wait(&mut child).termination, Termination::Exited(5));
}

fn pause(s: Setting) {
    let mut world = World::of(s.policy);
    let mut child = world.spawn(interactive(Command::shell("stty -echo; echo up; exec cat")));
    world.expect(&mut child, "up\r\n");
    world.sandbox.transition(SandboxState::Paused).unwrap();
    world.write(&mut child, b"typed meanwhile\n");
    assert!(world.quiet_for(&mut child, Duration::from_millis(50)));
    world.sandbox.transition(SandboxState::Running).unwrap();
    world.expect(&mut child, "typed meanwhile\r\n");
}
