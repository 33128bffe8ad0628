//! The ready policies under policies/: each runs its job, and refuses what a hostile guest tries.
//!
//! The positive control of an attack is the same guest where it is allowed: under `noop`, or, for
//! a limit, under the same policy with a higher one.

use std::net::TcpListener;
use std::path::PathBuf;

use kavach::{Command, Control, ExecResult, SandboxPolicy, Termination};

use crate::harness::{Setting, Suite, Who, fixture, program, ready_policies, toolchain};
use crate::world::{Victim, World, act, builder, config, policy};

const AGENT: &str = "agent-shell";
const PYTHON: &str = "python-tool";
const COMPILER: &str = "compiler-job";
const CONVERTER: &str = "document-converter";
const READY: [&str; 4] = [AGENT, PYTHON, COMPILER, CONVERTER];
const CONTROL: [&str; 1] = ["noop"];

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("ready");
    jobs(suite);
    let each = |suite: &mut Suite, name: &str, body: fn(Setting)| {
        suite.each_needing(name, &READY, ready_policies, body);
    };
    each(suite, "what_it_asks_for_holds", holds);
    each(suite, "the_hosts_files_are_out_of_view", files);
    suite.each("control_the_hosts_files_are_in_view", &CONTROL, |s| {
        let world = World::of(s.policy);
        assert_eq!(world.said(cat_canary()), "canary-tmp");
        assert_eq!(
            world.run("cat /etc/shadow").success(),
            s.who.is_root(),
            "the guest is the caller"
        );
    });
    each(suite, "the_network_is_out_of_reach", |s| network(s, false));
    suite.each("control_the_network_is_in_reach", &CONTROL, |s| {
        network(s, true);
    });
    each(suite, "host_processes_are_unkillable", |s| {
        let mut victim = Victim::new();
        let kill = act("process", &["kill", &victim.pid()]);
        assert_eq!(World::of(s.policy).said(kill), "errno ESRCH");
        assert!(victim.is_alive());
    });
    suite.each("control_a_host_process_is_killed", &CONTROL, |s| {
        let mut victim = Victim::new();
        let kill = act("process", &["kill", &victim.pid()]);
        assert_eq!(World::of(s.policy).said(kill), "EFFECT");
        assert!(!victim.0.wait().unwrap().success());
    });
    each(suite, "no_setuid_file_is_made", |s| {
        let plant = act("setuid", &["chmod", "4755", "/tmp"]);
        assert_eq!(World::of(s.policy).said(plant), "errno EPERM");
    });
    suite.each("control_a_setuid_file_is_made", &CONTROL, |s| {
        let host = crate::world::TempDir::new();
        let plant = act("setuid", &["chmod", "4755", host.0.to_str().unwrap()]);
        assert_eq!(World::of(s.policy).said(plant), "EFFECT");
    });
    // Their controls stand in `doors.rs`.
    for door in ["unshare_newuser", "keyctl_session", "tiocsti"] {
        let name = format!("{door}_is_refused");
        suite.each_needing(&name, &READY, ready_policies, move |s| {
            assert_eq!(
                World::of(s.policy).said(act("kernel", &[door])),
                "errno EPERM"
            );
        });
    }
    each(suite, "forks_are_held_at_its_limit", forks);
    suite.each("control_as_many_forks_go_through", &CONTROL, |s| {
        let said = World::of(s.policy).said(act("resources", &["forks", "300"]));
        assert_eq!(said, "300 EFFECT");
    });
    each(suite, "memory_past_its_limit_ends_it", |s| memory(s, 0));
    each(suite, "control_memory_below_a_higher_limit", |s| {
        memory(s, 256)
    });
    each(suite, "scratch_files_are_full_at_its_quota", |s| {
        scratch(s, 0)
    });
    each(suite, "control_scratch_files_below_a_higher_quota", |s| {
        scratch(s, 64);
    });
    each(suite, "output_past_its_limit_is_not_kept", output);
    let timed = [PYTHON, COMPILER, CONVERTER];
    suite.each_needing(
        "cpu_time_past_its_limit_ends_it",
        &timed,
        ready_policies,
        |s| {
            // The same limit, lower: nobody waits ten minutes for it.
            let world = changed(s, |policy| policy.limits.cpu_time_ms = Some(1000));
            // For ever: on a busy host a second of CPU time takes long.
            let result = world.run(spin(&["4"]));
            assert_eq!(result.termination, Termination::CpuExceeded);
        },
    );
    suite.each_needing(
        "control_cpu_time_below_its_limit",
        &timed,
        ready_policies,
        |s| {
            let result = World::of(s.policy).run(spin(&["4", "3"]));
            assert_eq!(result.termination, Termination::Exited(0));
        },
    );
}

fn jobs(suite: &mut Suite) {
    let needing =
        |path: &'static str| move |who: Who| ready_policies(who).or_else(|| program(path));
    suite.each_needing(
        "works_on_a_repository",
        &[AGENT],
        needing("/usr/bin/git"),
        shell,
    );
    suite.each_needing("computes_and_prints", &[PYTHON], ready_policies, python);
    suite.each_needing(
        "makes_a_program",
        &[COMPILER],
        needing("/usr/bin/make"),
        make,
    );
    let needs = |who| ready_policies(who).or_else(|| toolchain(who));
    suite.each_needing("builds_a_crate", &[COMPILER], needs, cargo);
    suite.with_toolchain(2);
    suite.each_needing("converts_a_document", &[CONVERTER], ready_policies, convert);
}

/// The policy with a change, and the guests in view.
fn changed(s: Setting, change: impl FnOnce(&mut SandboxPolicy)) -> World {
    let mut policy = policy(s.policy);
    change(&mut policy);
    let builder = builder().policy(policy);
    World::new(builder.read(fixture().join("guests")))
}

/// One conversation: what a command leaves, the next one finds.
fn shell(s: Setting) {
    let world = World::of(s.policy);
    world.sh(
        "set -e; git init -q project; cd project; git config user.name a; git config user.email a@b
         printf 'def add(a, b):\\n    return a - b\\n' > calc.py
         printf 'import unittest, calc\\nclass T(unittest.TestCase):\\n    \
         def test(self): self.assertEqual(calc.add(2, 3), 5)\\n' > test_calc.py
         git add .; git commit -qm 'first'",
    );
    let failed = world.run(Command::shell("cd project && python3 -m unittest -q"));
    assert_eq!(failed.exit_code, 1, "{}", failed.stderr);
    world.sh("cd project; sed -i 's/a - b/a + b/' calc.py; python3 -m unittest -q; git commit -qam 'mend'");
    assert_eq!(world.sh("cd project; git log --format=%s"), "mend\nfirst");
    assert_eq!(
        world.sh("cd project; git diff HEAD~1 | grep '^[+-] ' | sort | tr -s ' '"),
        "+ return a + b\n- return a - b"
    );
    assert_eq!(
        world.sh("seq 1 1000 | awk '{ s += $1 } END { print s }' | tee sum; wc -l < sum"),
        "500500\n1"
    );
    // A server of its own in the background lives on between commands.
    world.sh("(while sleep 0.1; do echo x >> beats; done) > /dev/null 2>&1 &");
    world.sh("until test -s beats; do sleep 0.05; done");
}

fn python(s: Setting) {
    let world = World::of(s.policy);
    let script = "
import csv, json, statistics, sys
from concurrent.futures import ThreadPoolExecutor
rows = list(csv.DictReader(sys.stdin))
values = [float(row['value']) for row in rows]
with ThreadPoolExecutor(8) as pool:
    squares = list(pool.map(lambda v: v * v, values))
with open('/tmp/out.json', 'w') as f:
    json.dump({'mean': statistics.mean(values), 'squares': sum(squares)}, f)
print(open('/tmp/out.json').read())
";
    let python = Command::new("python3").args(["-c", script]);
    let said = world.said(python.stdin_bytes("name,value\na,1\nb,2\nc,3\n"));
    assert_eq!(said, "{\"mean\": 2.0, \"squares\": 14.0}");
}

fn make(s: Setting) {
    let world = World::of(s.policy);
    let said = world.sh("set -e; mkdir build; cd build
         for n in 1 2 3 4 5 6 7 8; do echo \"int f$n(void) { return $n; }\" > f$n.c; done
         { for n in 1 2 3 4 5 6 7 8; do echo \"int f$n(void);\"; done
           echo '#include <stdio.h>'; echo 'int main(void) { printf(\"%d\\n\", '
           echo 'f1()+f2()+f3()+f4()+f5()+f6()+f7()+f8()); return 0; }'; } > main.c
         printf 'OBJ := $(patsubst %%.c,%%.o,$(wildcard *.c))\\n\
         sum: $(OBJ)\\n\\t$(CC) -g -o $@ $^\\n' > Makefile
         make -s -j4; ./sum");
    assert_eq!(said, "36");
}

fn cargo(s: Setting) {
    let sysroot = std::env::var("KAVACH_TEST_RUST").expect("rustc --print sysroot");
    let world = World::new(config(s.policy).read(&sysroot));
    // With a build script: code of others that runs while building.
    let script = format!(
        "set -e; export PATH={sysroot}/bin:$PATH CARGO_HOME=$HOME/.cargo
         cargo new -q --vcs none small; cd small
         echo 'fn main() {{ println!(\"cargo::rustc-env=ANSWER=42\"); }}' > build.rs
         echo 'fn main() {{ println!(\"{{}}\", env!(\"ANSWER\")); }}' > src/main.rs
         cargo build -q --offline; target/debug/small"
    );
    assert_eq!(world.sh(&script), "42");
}

fn convert(s: Setting) {
    let world = World::of(s.policy);
    let text = "word ".repeat(100_000);
    let packed = world.run(Command::new("gzip").stdin_bytes(text.clone()));
    let unpacked = world.run(
        Command::new("gzip")
            .arg("-dc")
            .stdin_bytes(packed.stdout_bytes()),
    );
    assert_eq!((unpacked.exit_code, unpacked.stdout), (0, text));

    let script = "import sys, xml.etree.ElementTree as e; \
                  print(*[n.text for n in e.parse(sys.stdin).iter('p')], sep='\\n')";
    let html = "<html><body><p>one</p><div><p>two</p></div></body></html>";
    let python = Command::new("python3").args(["-c", script]);
    assert_eq!(world.said(python.stdin_bytes(html)), "one\ntwo");
}

/// Every control is as strong as this user can have it, and the score says so.
fn holds(s: Setting) {
    let world = World::of(s.policy);
    let asked = policy(s.policy);
    for row in &world.sandbox.report().rows {
        let whole = s.who.has_cgroups() || !row.control.may_be_approximate();
        assert!(
            row.state.holds() || !whole,
            "{}: {}",
            row.control,
            row.state
        );
    }
    let score = u32::from(world.sandbox.strength().value());
    // Memory with pids, cpu, and cpu_time where it is asked for, each a point.
    let lost = if s.who.has_cgroups() {
        0
    } else {
        2 + u32::from(asked.asks_for(Control::CpuTime))
    };
    assert_eq!(score, 63 - lost);
    // Stricter than the default but for how much may be written, which is for the job.
    let room = [
        "filesystem.tmp_mb",
        "filesystem.tmp_inodes",
        "limits.output_kb",
    ];
    for change in SandboxPolicy::basic().diff(&asked) {
        let more = change.allows.is_some();
        assert!(!more || room.contains(&change.key.as_str()), "{change:?}");
    }
    assert!(asked.warnings().is_empty(), "{:?}", asked.warnings());
}

fn canary() -> PathBuf {
    fixture().join("canary")
}

fn cat_canary() -> Command {
    Command::new("cat").arg(canary())
}

fn files(s: Setting) {
    let world = World::of(s.policy);
    assert!(!world.run(cat_canary()).success());
    let look = "ls -d /etc/shadow /root /home/* /run/*.sock 2>/dev/null; true";
    assert_eq!(world.sh(look), "/home/guest");
    let write = world.run(Command::shell("echo x > /usr/bin/x || echo x > /x"));
    assert!(!write.success(), "the root and the system are read-only");
}

/// Four threads that spin for three seconds.
fn spin(how: &[&str]) -> Command {
    act("resources", &[&["spin"], how].concat()).timeout_ms(60_000)
}

fn network(s: Setting, reached: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let said = World::of(s.policy).said(act("net", &["tcp", "127.0.0.1", &port]));
    assert_eq!(said, if reached { "EFFECT" } else { "errno EPERM" });
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().is_ok(), reached, "what the host has seen");
}

fn forks(s: Setting) {
    let world = World::of(s.policy);
    let most = policy(s.policy).limits.pids.unwrap();
    let result = world.run(act("resources", &["forks", "300", "500"]).timeout_ms(60_000));
    // With the one that forks.
    assert_eq!(
        result.stdout,
        format!("{} EAGAIN\n", most - 1),
        "{}",
        result.stderr
    );
    assert_eq!(world.said("echo well"), "well");
}

/// Takes a little more than the policy's memory, where the limit is this much higher.
fn memory(s: Setting, higher_mb: u64) {
    let limit = policy(s.policy).limits.memory_mb.unwrap();
    let world = changed(s, |policy| {
        policy.limits.memory_mb = Some(limit + higher_mb)
    });
    let eat = (limit + 64).to_string();
    let result = world.run(act("resources", &["eat", &eat]).timeout_ms(60_000));
    let expected = match higher_mb {
        0 => Termination::OutOfMemory,
        _ => Termination::Exited(0),
    };
    assert_eq!(result.termination, expected, "{}", result.stdout);
}

/// Writes a little more than the policy's scratch files, where the quota is this much higher.
fn scratch(s: Setting, higher_mb: u64) {
    let quota = policy(s.policy).filesystem.tmp_mb;
    let world = changed(s, |policy| {
        policy.filesystem.tmp_mb = quota + higher_mb;
        policy.limits.file_size_mb = None;
    });
    let fill = (quota + 16).to_string();
    let said = world.said(act("resources", &["file", "/tmp/f", &fill]));
    match higher_mb {
        0 => assert!(said.ends_with("errno ENOSPC"), "{said}"),
        _ => assert_eq!(said, "EFFECT"),
    }
}

fn output(s: Setting) {
    let limits = policy(s.policy).limits;
    let flood = |world: &World, kb: u64| -> ExecResult {
        let script = format!("head -c {} /dev/zero | tr '\\0' x", kb * 1024);
        world.run(Command::shell(script).timeout_ms(60_000))
    };
    let world = World::of(s.policy);
    let over = flood(&world, limits.output_kb + 1024);
    match limits.on_output {
        kavach::policy::OnOutput::Kill => {
            assert_eq!(over.termination, Termination::OutputExceeded);
        }
        _ => assert!(over.stdout_truncated && over.success()),
    }
    assert!(over.stdout.len() as u64 <= limits.output_kb * 1024);
    let below = flood(&World::of(s.policy), limits.output_kb / 2);
    assert!(below.success() && !below.stdout_truncated);
}
