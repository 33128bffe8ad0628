//! Output without end, streams that are closed, held or handed on.

use kavach::policy::{OnOutput, SandboxPolicy};
use kavach::{Command, Termination};

use crate::harness::{Setting, Suite, fixture};
use crate::world::{
    ISOLATING, World, act, builder, config, eventually, forget_peak, mark, marked, peak_memory,
};

/// Policies, and the control.
const ALL: [&str; 3] = ["noop", "basic", "strict"];
/// 10 GB, in MiB.
const TEN_GB: &str = "9537";
/// What the host's process may grow by: two streams of 1 MiB, their text, and buffers.
const MARGIN: u64 = 32 << 20;

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("streams");
    for flood in ["flood_out", "flood_err", "flood_both"] {
        suite.each(&format!("ten_gigabytes_by_{flood}"), &ISOLATING, move |s| {
            floods(s, flood)
        });
    }
    suite.each("control_a_larger_limit_keeps_more", &["basic"], larger);
    suite.each("a_very_long_line_is_cut", &ALL, long_line);
    suite.each("binary_output_arrives_as_it_is", &ALL, binary);
    suite.each("too_much_output_ends_it_where_asked", &ISOLATING, kill);
    suite.each("a_guest_that_closes_its_streams_times_out", &ALL, closes);
    suite.each("output_closed_at_once_is_no_error", &ALL, closes_output);
    suite.each(
        "an_input_held_open_does_not_delay_the_end",
        &ALL,
        held_input,
    );
    suite.each(
        "streams_handed_to_a_daemon_do_not_delay_the_end",
        &ALL,
        handed,
    );
}

/// 10 GB over one stream, or half of it over each: dropped past the limit, and flagged.
fn floods(s: Setting, flood: &str) {
    let both = flood == "flood_both";
    let amount = if both { "4769" } else { TEN_GB };
    let world = World::of(s.policy);
    world.said("true");
    forget_peak();
    let before = peak_memory();
    let result = world.run(act("resources", &[flood, amount]));
    let grown = peak_memory() - before;
    assert_eq!(
        result.termination,
        Termination::Exited(0),
        "the guest is not disturbed"
    );
    assert_eq!(result.stdout_truncated, flood != "flood_err");
    assert_eq!(result.stderr_truncated, flood != "flood_out");
    let kept = |truncated: bool| if truncated { 1 << 20 } else { 0 };
    assert_eq!(result.stdout_bytes().len(), kept(result.stdout_truncated));
    assert_eq!(result.stderr_bytes().len(), kept(result.stderr_truncated));
    assert!(grown < MARGIN, "this process grew by {} MiB", grown >> 20);
}

/// What is measured does rise with what is kept.
fn larger(s: Setting) {
    let world = World::new(config(s.policy).output_limit_kb(128 << 10));
    world.said("true");
    forget_peak();
    let before = peak_memory();
    let result = world.run(act("resources", &["flood_out", "128"]));
    assert!(!result.stdout_truncated);
    assert_eq!(result.stdout_bytes().len(), 128 << 20);
    assert!(peak_memory() - before > MARGIN);
}

fn long_line(s: Setting) {
    let result = World::of(s.policy).run(Command::shell("head -c 20000000 /dev/zero | tr '\\0' x"));
    assert!(result.success() && result.stdout_truncated);
    assert_eq!(result.stdout, "x".repeat(1 << 20));
}

fn binary(s: Setting) {
    let all: Vec<u8> = (0..=255).collect();
    let result = World::of(s.policy).run(Command::new("cat").stdin_bytes(all.clone()));
    assert_eq!(result.stdout_bytes(), all);
    assert!(
        result.stdout.contains('\u{fffd}'),
        "the text marks what is not UTF-8"
    );
}

fn kill(s: Setting) {
    let mut policy = SandboxPolicy::from_preset(s.policy).unwrap();
    policy.limits.on_output = OnOutput::Kill;
    policy.limits.output_kb = 64;
    let config = builder().policy(policy).read(fixture().join("guests"));
    for flood in ["flood_out", "flood_err"] {
        // A sandbox for each: without cgroups the end of a command is that of its sandbox.
        let world = World::new(config.clone());
        let below = world.said("seq 1 100").len();
        assert_eq!(below, 291, "below the limit nothing happens");
        let result = world.run(act("resources", &[flood, "100000"]));
        assert_eq!(result.termination, Termination::OutputExceeded);
        let captured = result.stdout_bytes().len() + result.stderr_bytes().len();
        assert_eq!(captured, 64 << 10);
    }
}

fn closes(s: Setting) {
    let result = World::of(s.policy).run(act("resources", &["close_stdio"]).timeout_ms(500));
    assert_eq!(result.termination, Termination::TimedOut);
    assert!(result.timed_out);
}

fn closes_output(s: Setting) {
    let world = World::of(s.policy);
    let result = world.run(Command::shell("exec >&- 2>&-; exit 7"));
    assert_eq!((result.exit_code, result.stdout.as_str()), (7, ""));
    // The caller's side: nobody reads.
    let mut child = world.spawn(Command::new("yes"));
    (child.stdout, child.stderr) = (None, None);
    assert_eq!(
        world.wait(&mut child).termination,
        Termination::Signaled(13)
    );
}

fn held_input(s: Setting) {
    let world = World::of(s.policy);
    let mut child = world.spawn(Command::new("true").stdin_piped());
    eventually("it ended although its input is open", || {
        child.try_wait().unwrap().is_some()
    });
    assert!(child.stdin.is_some());
}

fn handed(s: Setting) {
    let world = World::of(s.policy);
    let mark = mark();
    let result = world.run(act("resources", &["daemonise", &mark, "keep"]).timeout_ms(60_000));
    assert_eq!(
        (result.termination, result.stdout.as_str()),
        (Termination::Exited(0), "daemon left\n")
    );
    eventually("the daemon is there", || marked(&mark).len() == 1);
}
