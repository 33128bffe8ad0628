//! One run as one user: every row, every number, every jail's controls.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kavach::control::ControlState;
use kavach::{Control, Sandbox, SandboxPool};

use crate::guest::{self, Without};
use crate::jails::{Filter, Peer};
use crate::record::{Jail, Record};
use crate::server::Server;
use crate::turns::Turns;
use crate::{MeasureArgs, controls, crowd, machine, micro, throughput};

const PRESETS: [(&str, &str); 3] = [
    ("kavach_minimal", "minimal"),
    ("kavach_basic", "basic"),
    ("kavach_strict", "strict"),
];
/// Sandboxes that the measured pool keeps ready.
const POOL: usize = 4;

/// Measures and writes.
pub(crate) fn run(args: &MeasureArgs) -> Result<()> {
    let mut record = Record {
        who: user()?,
        rounds: args.rounds,
        machine: machine::describe(&args.commit),
        rows: Vec::new(),
        numbers: Vec::new(),
        jails: Vec::new(),
        skipped: Vec::new(),
    };
    eprintln!("bench: as {}: rows in turns", record.who);
    rows(args, &mut record)?;
    eprintln!("bench: as {}: pure parts, throughput", record.who);
    micro::measure(&mut record, args.rounds)?;
    rates(args, &mut record)?;
    eprintln!("bench: as {}: {} alive", record.who, args.crowd);
    for preset in ["strict", "minimal"] {
        if let Err(e) = crowd::measure(&mut record, preset, args.crowd, &args.guests) {
            let e = format!("{e:#}");
            record
                .skipped
                .push(format!("{preset}: {} alive: {e}", args.crowd));
        }
    }
    eprintln!("bench: as {}: what each jail enforces", record.who);
    jails(args, &mut record)?;
    for missing in &record.skipped {
        eprintln!("SKIP: {missing}");
    }
    let text = serde_json::to_string_pretty(&record)?;
    std::fs::write(&args.out, text).with_context(|| args.out.display().to_string())
}

fn user() -> Result<String> {
    let output = Command::new("id").arg("-un").output().context("id")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn rows(args: &MeasureArgs, record: &mut Record) -> Result<()> {
    let runtime = guest::runtime()?;
    let (guests, program) = (args.guests.as_path(), guest::true_in(&args.guests));
    let filter = Filter::strict(&std::env::temp_dir())?;
    let warm = |preset: &str| -> Result<Sandbox> {
        let config = guest::config(guest::policy(preset, guests, Without::Nothing)?);
        runtime.block_on(guest::running(config))
    };
    let (warm_strict, warm_minimal) = (warm("strict")?, warm("minimal")?);
    let strict = guest::config(guest::policy("strict", guests, Without::Nothing)?);
    let pool = runtime.block_on(SandboxPool::new(strict.clone(), POOL))?;
    let mut small = Server::start(0, guests)?;
    let mut large = Server::start(args.ballast_mib, guests)?;
    let (mut small_plain, mut large_plain) = (
        Server::start(0, guests)?,
        Server::start(args.ballast_mib, guests)?,
    );

    let mut turns = Turns::default();
    turns.add("vfork", "posix_spawn of a static `true`", || {
        guest::child(&mut Command::new(&program)).map(total)
    });
    turns.add("fork", "fork and exec of the same", || {
        guest::forked(&program).map(total)
    });
    turns.add(
        "captured",
        "posix_spawn, its output read over pipes",
        || guest::captured(&program).map(total),
    );
    turns.add("vfork_bin", "posix_spawn of /bin/true (dynamic)", || {
        guest::child(&mut Command::new("/bin/true")).map(total)
    });
    for (id, preset) in PRESETS {
        let config = guest::config(guest::policy(preset, guests, Without::Nothing)?);
        let (runtime, program) = (&runtime, &program);
        turns.add(id, format!("kavach {preset}"), move || {
            runtime.block_on(guest::life(config.clone(), program))
        });
    }
    turns.add("kavach_strict_bin", "kavach strict, /bin/true", || {
        runtime.block_on(guest::life(strict.clone(), Path::new("/bin/true")))
    });
    for peer in Peer::ALL {
        let filter = &filter;
        turns.add(peer.id(), peer.label(), move || {
            peer.run(guests, filter).map(total)
        });
    }
    turns.add(
        "warm_strict",
        "kavach strict, exec in a running one",
        || {
            runtime
                .block_on(guest::exec(&warm_strict, &program))
                .map(total)
        },
    );
    turns.add(
        "warm_minimal",
        "kavach minimal, exec in a running one",
        || {
            runtime
                .block_on(guest::exec(&warm_minimal, &program))
                .map(total)
        },
    );
    turns.add("claim", "claim from a pool of strict ones", || {
        claim(&runtime, &pool).map(total)
    });
    turns.add("cli", "kavach exec --policy strict (whole process)", || {
        let mut command = Command::new(&args.kavach);
        command.args(["exec", "--policy", "strict", "--read"]);
        command.arg(guests).arg("--").arg(&program);
        guest::child(&mut command).map(total)
    });
    let big = format!("from a host of {} MiB", args.ballast_mib);
    turns.add("host_small", "kavach strict, from a small host", || {
        small.time("life").map(total)
    });
    turns.add("host_large", format!("kavach strict, {big}"), || {
        large.time("life").map(total)
    });
    turns.add("fork_small", "fork and exec, from a small host", || {
        small_plain.time("fork").map(total)
    });
    turns.add("fork_large", format!("fork and exec, {big}"), || {
        large_plain.time("fork").map(total)
    });
    for (id, without, label) in [
        ("less_filter", Without::Filter, "strict without the filter"),
        (
            "less_landlock",
            Without::Landlock,
            "strict without Landlock",
        ),
        (
            "less_network",
            Without::NetworkNamespace,
            "strict with the host's network",
        ),
        ("less_limits", Without::Limits, "strict without limits"),
        ("less_view", Without::View, "strict with the host's files"),
        (
            "less_user",
            Without::UserNamespace,
            "strict without a user namespace",
        ),
        (
            "less_all",
            Without::AllButPid,
            "namespaces alone, with the host's files and network",
        ),
    ] {
        let config = guest::config(guest::policy("strict", guests, without)?);
        let (runtime, program) = (&runtime, &program);
        turns.add(id, label, move || {
            runtime.block_on(guest::life(config.clone(), program))
        });
    }
    let (rows, skipped) = turns.run(args.rounds);
    record.rows = rows;
    record.skipped.extend(skipped);
    Ok(())
}

fn total(took: Duration) -> Vec<(&'static str, Duration)> {
    vec![("total", took)]
}

/// Nothing is timed but the claim: the pool is full before, and full again after.
fn claim(runtime: &tokio::runtime::Runtime, pool: &SandboxPool) -> Result<Duration> {
    full(pool)?;
    let start = Instant::now();
    let claimed = runtime.block_on(pool.claim("bench"))?;
    let took = start.elapsed();
    let mut sandbox = claimed.into_sandbox();
    runtime.block_on(sandbox.destroy())?;
    full(pool)?;
    Ok(took)
}

fn full(pool: &SandboxPool) -> Result<()> {
    let start = Instant::now();
    while pool.stats().ready < POOL {
        ensure!(
            start.elapsed() < Duration::from_secs(30),
            "the pool does not fill: {:?}",
            pool.stats()
        );
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn rates(args: &MeasureArgs, record: &mut Record) -> Result<()> {
    let time = Duration::from_secs_f64(args.seconds);
    let (guests, program) = (args.guests.as_path(), guest::true_in(&args.guests));
    let strict = guest::config(guest::policy("strict", guests, Without::Nothing)?);
    let filter = Filter::strict(&std::env::temp_dir())?;
    for workers in [1, 2, 4] {
        let mut add = |id: &str, label: &str, rate: Result<f64>| {
            let label = format!("{label}, {workers} at a time");
            match rate {
                Ok(rate) => record.add(&format!("rate_{id}_{workers}"), &label, rate, "/s"),
                Err(e) => record.skipped.push(format!("{label}: {e:#}")),
            }
        };
        let rate = throughput::threads(workers, time, || {
            guest::child(&mut Command::new(&program)).map(drop)
        });
        add("vfork", "posix_spawn", rate);
        let rate = throughput::kavach_threads(workers, time, &strict, &program);
        add("kavach", "kavach strict, one host process", rate);
        if workers > 1 {
            let rate = throughput::kavach_processes(workers, time, guests);
            add("processes", "kavach strict, a host process each", rate);
        }
        for peer in Peer::ALL {
            let rate = throughput::threads(workers, time, || peer.run(guests, &filter).map(drop));
            add(peer.id(), peer.label(), rate);
        }
    }
    Ok(())
}

fn jails(args: &MeasureArgs, record: &mut Record) -> Result<()> {
    let guests = args.guests.as_path();
    let filter = Filter::strict(&std::env::temp_dir())?;
    let mut add = |label: &str, read: Result<Jail>| match read {
        Ok(jail) => record.jails.push(jail),
        Err(e) => record.skipped.push(format!("what {label} enforces: {e:#}")),
    };
    for preset in ["strict", "basic", "minimal"] {
        let label = format!("kavach {preset}");
        add(&label, kavach_jail(preset, &label, guests));
    }
    for peer in Peer::ALL {
        let read = || {
            let token = controls::token(peer.label())?;
            let _waiting = peer.start(guests, &filter, &token)?;
            controls::read(peer.label(), &token, peer.landlock())
        };
        add(peer.label(), read());
    }
    Ok(())
}

fn kavach_jail(preset: &str, label: &str, guests: &Path) -> Result<Jail> {
    let runtime = guest::runtime()?;
    let config = guest::config(guest::policy(preset, guests, Without::Nothing)?);
    let token = controls::token(label)?;
    runtime.block_on(async {
        let sandbox = guest::running(config).await?;
        let command = kavach::Command::new(guests.join("wait")).arg(&token);
        let mut child = sandbox.spawn(command).await?;
        let landlock = match sandbox.report().state(Control::Landlock) {
            ControlState::Enforced => "asked for (cannot be read back)",
            _ => "no (not asked for)",
        };
        let mut jail = controls::read(label, &token, landlock)?;
        let held: Vec<_> = [Control::Memory, Control::Cpu, Control::Pids]
            .into_iter()
            .filter(|c| sandbox.report().state(*c) == ControlState::Approximate)
            .map(|c| c.to_string())
            .collect();
        if !held.is_empty() {
            jail.controls.push((
                "limits held approximately".into(),
                format!(
                    "{} (summed by the supervisor, rlimit or affinity)",
                    held.join(", ")
                ),
            ));
        }
        // It was ended by the reading.
        child.wait().await?;
        Ok(jail)
    })
}

/// For a profiler: lives, or warm commands, and nothing else.
pub(crate) fn lives(count: usize, preset: &str, guests: &Path, warm: bool) -> Result<()> {
    let runtime = guest::runtime()?;
    let program = guest::true_in(guests);
    let config = guest::config(guest::policy(preset, guests, Without::Nothing)?);
    runtime.block_on(async {
        if warm {
            let sandbox = guest::running(config).await?;
            for _ in 0..count {
                guest::exec(&sandbox, &program).await?;
            }
        } else {
            for _ in 0..count {
                marked_life(config.clone(), &program).await?;
            }
        }
        Ok(())
    })
}

/// A life with a mark in the kernel's trace before, between and after its steps (see
/// scripts/profile.py): a call that nothing else here makes.
async fn marked_life(config: kavach::SandboxConfig, program: &Path) -> Result<()> {
    mark();
    let mut sandbox = guest::running(config).await?;
    mark();
    guest::exec(&sandbox, program).await?;
    mark();
    sandbox.destroy().await?;
    mark();
    Ok(())
}

fn mark() {
    let _ = std::os::unix::process::parent_id();
}
