//! What cannot be kept is refused before anything runs, with the field; what is only preferred
//! is recorded and costs its points.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use kavach::{Command, Control, ControlState, KavachError, Requirement, SandboxPolicy};

use crate::harness::{Setting, Suite};
use crate::world::{ISOLATING, TempDir, World, builder, config, refusal};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("refused");
    suite.each("a_misspelt_profile", &ISOLATING, profile);
    suite.each("a_missing_read_path", &ISOLATING, missing_path);
    suite.each("a_socket_as_read_path", &ISOLATING, socket_path);
    suite.each("a_read_path_through_a_link", &ISOLATING, linked_path);
    suite.each("impossible_limits", &ISOLATING, impossible);
    suite.each(
        "arguments_that_cannot_be_passed",
        &["noop", "basic", "strict"],
        arguments,
    );
    suite.each(
        "a_command_that_is_not_there",
        &["noop", "basic", "strict"],
        commands,
    );
    suite.each("a_cgroup_that_cannot_be_had", &["basic"], no_cgroup);
    suite.each(
        "a_preferred_limit_is_a_recorded_loss",
        &["basic"],
        preferred,
    );
}

fn field(error: &KavachError) -> &str {
    match error {
        KavachError::InvalidConfig { field, .. } | KavachError::PathMissing { field, .. } => field,
        other => panic!("{other:?}"),
    }
}

fn profile(s: Setting) {
    let error = refusal(config(s.policy).policy_seccomp("stirct"));
    assert_eq!(error.code(), "KV-UNKNOWN-PROFILE");
    assert_eq!(
        error.hint().unwrap(),
        "did you mean `strict`? known: basic, strict"
    );
}

fn missing_path(s: Setting) {
    let error = refusal(config(s.policy).read("/nonexistent/path"));
    assert_eq!(
        (error.code(), field(&error)),
        ("KV-PATH-MISSING", "filesystem.read[1]")
    );
    assert!(error.to_string().contains("/nonexistent/path"), "{error}");
}

fn socket_path(s: Setting) {
    let host = TempDir::new();
    let path = host.0.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = refusal(config(s.policy).read(&path));
    assert_eq!(field(&error), "filesystem.read[1]");
}

/// A policy may insist on paths that lead where their names say; by default, links are followed.
/// Two policies merged do: by its name, the one's path lies below the other's.
fn linked_path(s: Setting) {
    let host = TempDir::new();
    let (open, closed) = (host.0.join("open"), host.0.join("closed"));
    for directory in [&open, &closed] {
        std::fs::create_dir(directory).unwrap();
    }
    std::fs::write(closed.join("f"), "secret").unwrap();
    let link = open.join("link");
    std::os::unix::fs::symlink(&closed, &link).unwrap();

    let showing = |path: &std::path::Path| {
        let mut policy = SandboxPolicy::from_preset(s.policy).unwrap();
        policy.filesystem.read = vec![path.to_path_buf()];
        policy
    };
    let read = Command::new("cat").arg(link.join("f"));
    let follows = World::new(builder().policy(showing(&link)));
    assert_eq!(follows.said(read.clone()), "secret");
    let outer = World::new(builder().policy(showing(&open)));
    assert!(!outer.run(read).success(), "the link leads nowhere inside");

    let merged = showing(&open).merge(&showing(&link));
    assert_eq!(merged.filesystem.read, [link]);
    let error = refusal(builder().policy(merged));
    assert_eq!(field(&error), "filesystem.read[0]");
    assert!(error.to_string().contains("symbolic link"), "{error}");
}

fn impossible(s: Setting) {
    type Change = fn(&mut SandboxPolicy);
    let cases: [(&str, Change); 8] = [
        ("limits.memory_mb", |p| p.limits.memory_mb = Some(0)),
        ("limits.memory_mb", |p| p.limits.memory_mb = Some(u64::MAX)),
        ("limits.pids", |p| p.limits.pids = Some(0)),
        ("limits.cpus", |p| p.limits.cpus = Some(0.0)),
        ("limits.cpus", |p| p.limits.cpus = Some(f64::NAN)),
        ("limits.cpu_time_ms", |p| p.limits.cpu_time_ms = Some(0)),
        ("limits.output_kb", |p| p.limits.output_kb = u64::MAX),
        ("filesystem.tmp_mb", |p| p.filesystem.tmp_mb = 0),
    ];
    for (name, change) in cases {
        let mut policy = SandboxPolicy::from_preset(s.policy).unwrap();
        change(&mut policy);
        let error = refusal(builder().policy(policy));
        assert_eq!(field(&error), name);
        assert!(error.hint().is_some(), "{error}");
    }
}

fn arguments(s: Setting) {
    let world = World::of(s.policy);
    let cases = [
        (
            Command::new("echo").args(vec!["x".repeat(100_000); 21]),
            "argv",
        ),
        (Command::new("echo").arg("x".repeat(2 << 20)), "argv[1]"),
        (Command::new("echo").arg("a\0b"), "argv[1]"),
        (Command::new("e\0cho"), "argv[0]"),
        (Command::new(""), "command"),
        (Command::new("echo").env("A", "b\0c"), "env.A"),
        (Command::new("echo").env("A=B", "c"), "env"),
        (Command::new("echo").cwd("relative"), "cwd"),
    ];
    for (command, name) in cases {
        assert_eq!(
            field(&world.try_run(&command).unwrap_err()),
            name,
            "{command:?}"
        );
    }
    let long = "x".repeat(100_000);
    let result = world.run(Command::new("echo").args(["-n", &long, "\u{1b}[31m\n"]));
    assert_eq!(
        result.stdout,
        format!("{long} \u{1b}[31m\n"),
        "arguments go through untouched"
    );
    let bytes = OsString::from_vec(vec![0xff, 0xfe]);
    let result = world.run(Command::new("printf").arg("%s").arg(bytes));
    assert_eq!(result.stdout_bytes(), [0xff, 0xfe]);
}

fn commands(s: Setting) {
    let world = World::of(s.policy);
    for (command, code) in [
        ("no-such-program", "KV-COMMAND-NOT-FOUND"),
        ("/no/such/program", "KV-COMMAND-NOT-FOUND"),
        ("/usr", "KV-COMMAND-NOT-EXECUTABLE"),
        (
            "/usr/share/dict/../../lib/os-release",
            "KV-COMMAND-NOT-EXECUTABLE",
        ),
        ("echo 'unbalanced", "KV-COMMAND-SYNTAX"),
    ] {
        let error = world.try_run(command).unwrap_err();
        assert_eq!(error.code(), code, "{command}: {error}");
    }
    assert_eq!(world.said("echo on"), "on", "the sandbox is none the worse");
}

/// `basic` accepts no approximate mechanism: where no cgroup can be had, its limit is refused.
fn no_cgroup(s: Setting) {
    let config = config(s.policy).memory_mb(64);
    if s.who.is_root() {
        assert_eq!(World::new(config).said("echo held"), "held");
        return;
    }
    let error = refusal(config);
    let KavachError::ControlUnavailable { control, fix, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*control, Control::Memory);
    assert!(!fix.is_empty());
}

fn preferred(s: Setting) {
    let strength = |policy: SandboxPolicy| {
        let world = World::new(builder().policy(policy));
        let state = world.sandbox.report().state(Control::Memory);
        (world.sandbox.strength().value(), state)
    };
    let mut policy = SandboxPolicy::basic();
    policy.limits.memory_mb = Some(64);
    policy.limits.pids = Some(64);
    for control in [Control::Memory, Control::Pids] {
        policy.requirements.insert(control, Requirement::Preferred);
    }
    let (score, state) = strength(policy);
    let (full, lost) = if s.who.is_root() {
        (59, ControlState::Enforced)
    } else {
        (58, ControlState::Approximate)
    };
    assert_eq!((score, state), (full, lost));
}
