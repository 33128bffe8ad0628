//! Signals without a pause, clocks that jump, hooks that panic: nothing of it changes what a life
//! is.

use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kavach::{
    AuditEvent, AuditHook, Command, Decision, Sandbox, SandboxConfig, SandboxState, Termination,
    Workspace,
};
use libtest_mimic::Trial;

use crate::common::{is_root, number};
use crate::life::{Around, config, life, renew, runtime, workspace};
use crate::place::{self, Who};
use crate::tally::Tally;

pub(crate) fn trials() -> Vec<Trial> {
    let shim = place::Around::Shim;
    let shifted = place::Around::Namespace(&["--time", "--monotonic", "100000000"]);
    let mut all = place::trials("signals", &Who::BOTH, shim("signals"), place::compiler);
    all.extend(place::trials(
        "wall_clock",
        &Who::BOTH,
        shim("clock"),
        place::compiler,
    ));
    all.extend(place::trials("other_clock", &Who::BOTH, shifted, no_time));
    let nothing = place::Around::Nothing;
    all.extend(place::trials("hooks", &Who::BOTH, nothing, place::nothing));
    all.push(crate::common::test("clocks_are_monotonic", clocks));
    all
}

fn no_time(_: Who) -> Option<String> {
    if !is_root() {
        return Some("root, to make a time namespace".to_owned());
    }
    let there = Path::new("/proc/self/ns/time").exists();
    (!there).then(|| "time namespaces (Linux 5.6)".to_owned())
}

/// As many lives as were asked for, each like the first.
fn lives(name: &str, few: u64, mut more: impl FnMut(&mut Tally, u64)) {
    let work = workspace();
    let runtime = runtime();
    let mut tally = Tally::new(name);
    let expected = life(&runtime, config("strict", &work)).unwrap();
    renew(&work);
    let mut before = Around::now();
    for round in 0..number("KAVACH_ROUNDS").unwrap_or(few) {
        let at = format!("round {round}");
        match life(&runtime, config("strict", &work)) {
            Ok(seen) if seen == expected => tally.round("ok"),
            // What the wall clock decides is whether the host changed a file since, and a file
            // that it may have changed is left alone.
            Ok(seen)
                if name == "wall clock"
                    && seen.applied == "old\n"
                    && seen.refused.iter().all(|r| r.contains("host")) =>
            {
                tally.round("refused");
            }
            Ok(seen) => {
                tally.round("wrong");
                tally.wrong(format!("{at}: {}", seen.unlike(&expected)));
            }
            Err(e) => {
                tally.round("wrong");
                tally.wrong(format!("{at}: {}: {e}", e.code()));
            }
        }
        renew(&work);
        more(&mut tally, round);
        tally.settled(&mut before, &at);
        if tally.is_hopeless() {
            break;
        }
    }
    tally.end();
}

pub(crate) fn signals() {
    lives("signals", 20, |_, _| {});
}

pub(crate) fn wall_clock() {
    // That the clock jumps at all.
    let look = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
    };
    let looks: Vec<_> = (0..20).map(|_| look().as_secs()).collect();
    assert!(
        looks.windows(2).any(|two| two[1] + 1000 < two[0]),
        "{looks:?}"
    );
    let runtime = runtime();
    lives("wall clock", 10, |tally, round| {
        limits(&runtime, tally, round)
    });
}

pub(crate) fn other_clock() {
    let runtime = runtime();
    lives("other clock", 5, |tally, round| {
        limits(&runtime, tally, round)
    });
}

/// A limit of time ends what does not end, and nothing else.
fn limits(runtime: &tokio::runtime::Runtime, tally: &mut Tally, round: u64) {
    runtime.block_on(async {
        let config = SandboxConfig::builder().build();
        let mut sandbox = Sandbox::create(config).await.unwrap();
        sandbox.transition(SandboxState::Running).unwrap();
        // In this order: without control groups the limit ends the sandbox.
        let in_time = Command::new("sleep").arg("0.05").timeout_ms(100_000);
        let too_long = Command::new("sleep").arg("1000").timeout_ms(30);
        for (command, expected) in [
            (in_time, Termination::Exited(0)),
            (too_long, Termination::TimedOut),
        ] {
            let end = sandbox.exec(command).await.unwrap();
            if end.termination != expected {
                tally.wrong(format!(
                    "round {round}: {}, not {expected}",
                    end.termination
                ));
            }
        }
        sandbox.destroy().await.unwrap();
    });
}

/// The wall clock stamps events and tells what the host changed in a workspace; everything that
/// waits or limits uses clocks that nobody can set.
fn clocks() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut users = Vec::new();
    visit(&src, &mut |path, text| {
        let name = path.strip_prefix(&src).unwrap().display().to_string();
        if text.contains("SystemTime") && !name.contains("tests") {
            users.push(name.clone());
        }
        for other in ["CLOCK_REALTIME", "ClockId::Realtime", "UtcDateTime"] {
            assert!(!text.contains(other), "{name}: {other}");
        }
    });
    users.sort();
    assert_eq!(
        users,
        ["audit.rs", "workspace/baseline.rs", "workspace/entry.rs"]
    );
}

fn visit(dir: &Path, see: &mut impl FnMut(&PathBuf, &str)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, see);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            see(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Panics at one call, counted over all.
struct Panicking {
    calls: AtomicU64,
    at: u64,
}

impl Panicking {
    fn count(&self) {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(call != self.at, "a test's panic in a hook");
    }
}

impl AuditHook for Panicking {
    fn name(&self) -> &str {
        "panicking"
    }

    fn before(&self, _: &AuditEvent) -> Decision {
        self.count();
        Decision::Allow
    }

    fn after(&self, _: &AuditEvent) {
        self.count();
    }
}

/// A hook that panics at its first call, its second, and so on through a life.
pub(crate) fn hooks() {
    panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.contains("a test's panic in a hook") {
            eprintln!("{text}");
        }
    }));
    let work = workspace();
    let runtime = runtime();
    let expected = life(&runtime, config("strict", &work)).unwrap();
    renew(&work);
    let mut before = Around::now();
    let mut tally = Tally::new("hooks");
    for round in 0..number("KAVACH_ROUNDS").map_or(1, |rounds| rounds.div_ceil(20)) {
        for at in 1.. {
            let hook = Arc::new(Panicking {
                calls: AtomicU64::new(0),
                at,
            });
            let config = SandboxConfig::builder()
                .policy(kavach::SandboxPolicy::strict())
                .workspace(Workspace::new(&work))
                .hook(hook.clone())
                .build();
            let result = life(&runtime, config);
            let at = format!("round {round}, call {at}");
            match &result {
                Ok(seen) if *seen != expected => {
                    tally.wrong(format!("{at}: {}", seen.unlike(&expected)));
                }
                _ => tally.life(&result, &["KV-HOOK-PANICKED"], &at),
            }
            renew(&work);
            tally.settled(&mut before, &at);
            if hook.calls.load(Ordering::SeqCst) < hook.at || tally.is_hopeless() {
                break;
            }
        }
    }
    assert!(tally.count("KV-HOOK-PANICKED") > 3, "{tally:?}");
    tally.end();
}
