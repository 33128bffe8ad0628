//! What a sandbox costs, step by step, beside a plain child process and bubblewrap in the same
//! run: `bench [ROUNDS] [PROGRAM]` (default: 100, /bin/true).
//!
//! The rows take turns, so that a busy moment of the machine hits all of them alike; medians are
//! printed. bubblewrap builds a smaller jail: no syscall filter, Landlock or limits.
#![allow(
    clippy::print_stdout,
    reason = "a program that reports on standard output"
)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kavach::{Sandbox, SandboxConfig, SandboxPolicy, SandboxState};

const WARM_UP: usize = 5;
const PRESETS: [&str; 3] = ["minimal", "basic", "strict"];

/// The steps of one life.
#[derive(Default)]
struct Times {
    create: Vec<Duration>,
    exec: Vec<Duration>,
    destroy: Vec<Duration>,
    total: Vec<Duration>,
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let rounds: usize = match args.next() {
        Some(text) => text.parse().context("the number of rounds")?,
        None => 100,
    };
    let program = args.next().unwrap_or_else(|| "/bin/true".into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    let mut lives: [Times; 3] = Default::default();
    let (mut spawn, mut bwrap) = (Vec::new(), Vec::new());
    for round in 0..rounds + WARM_UP {
        let keep = round >= WARM_UP;
        for (preset, times) in PRESETS.iter().zip(&mut lives) {
            let mut discarded = Times::default();
            let into = if keep { times } else { &mut discarded };
            runtime.block_on(life(preset, &program, into))?;
        }
        let took = child(&mut Command::new(&program))?;
        let took_bwrap = child(Command::new("bwrap").args([
            "--unshare-all",
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            &program,
        ]));
        if keep {
            spawn.push(took);
            // Without bubblewrap its row is left out.
            bwrap.extend(took_bwrap);
        }
    }

    let spawn = median(&mut spawn);
    let bwrap = (!bwrap.is_empty()).then(|| median(&mut bwrap));
    println!("medians of {rounds} rounds of {program}, in milliseconds");
    println!(
        "{:<18}{:>9}{:>9}{:>9}{:>9}{:>12}{:>9}",
        "", "create", "exec", "destroy", "total", "x child", "x bwrap"
    );
    for (preset, times) in PRESETS.iter().zip(&mut lives) {
        let steps = [&mut times.create, &mut times.exec, &mut times.destroy].map(|t| median(t));
        print!("{:<18}", format!("kavach {preset}"));
        for step in steps {
            print!("{:>9.2}", ms(step));
        }
        row_end(median(&mut times.total), spawn, bwrap);
    }
    print!("{:<45}", "child process");
    row_end(spawn, spawn, bwrap);
    match bwrap {
        Some(time) => {
            print!("{:<45}", "bwrap --unshare-all");
            row_end(time, spawn, bwrap);
        }
        None => println!("bwrap: not there, or it failed"),
    }
    Ok(())
}

async fn life(preset: &str, program: &str, times: &mut Times) -> anyhow::Result<()> {
    let config = SandboxConfig::builder()
        .policy(SandboxPolicy::from_preset(preset)?)
        .build();
    let start = Instant::now();
    let mut sandbox = Sandbox::create(config).await.context("create")?;
    let created = Instant::now();
    sandbox.transition(SandboxState::Running)?;
    let result = sandbox.exec(program).await.context("exec")?;
    let ended = Instant::now();
    sandbox.destroy().await.context("destroy")?;
    let destroyed = Instant::now();
    ensure!(result.success(), "{program}: {result:?}");
    times.create.push(created - start);
    times.exec.push(ended - created);
    times.destroy.push(destroyed - ended);
    times.total.push(destroyed - start);
    Ok(())
}

/// std starts it with posix_spawn(3), which has vfork semantics.
fn child(command: &mut Command) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let took = start.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn row_end(total: Duration, spawn: Duration, bwrap: Option<Duration>) {
    let bwrap = bwrap.map_or("-".into(), |b| format!("{:.2}", ms(total) / ms(b)));
    println!(
        "{:>9.2}{:>12.2}{:>9}",
        ms(total),
        ms(total) / ms(spawn),
        bwrap
    );
}
