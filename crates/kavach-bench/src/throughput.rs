//! How many in a second, with several at work at a time.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kavach::SandboxConfig;

use crate::guest;
use crate::server::Server;

/// Lives one after the other for this long; how many.
pub(crate) fn lives(config: &SandboxConfig, program: &Path, time: Duration) -> Result<u64> {
    let runtime = guest::runtime()?;
    repeat(time, || {
        runtime
            .block_on(guest::life(config.clone(), program))
            .map(drop)
    })
}

fn repeat(time: Duration, mut work: impl FnMut() -> Result<()>) -> Result<u64> {
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < time {
        work()?;
        done += 1;
    }
    Ok(done)
}

/// Each of so many threads of this process does its work over and over: together, per second.
pub(crate) fn threads(
    workers: usize,
    time: Duration,
    work: impl Fn() -> Result<()> + Sync,
) -> Result<f64> {
    let start = Instant::now();
    let done = thread::scope(|scope| {
        let started: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| repeat(time, &work)))
            .collect();
        let mut sum = 0;
        for worker in started {
            sum += worker.join().ok().context("a worker panicked")??;
        }
        anyhow::Ok(sum)
    })?;
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

/// The same with kavach in each of so many threads, every one with a runtime of its own.
pub(crate) fn kavach_threads(
    workers: usize,
    time: Duration,
    config: &SandboxConfig,
    program: &Path,
) -> Result<f64> {
    let start = Instant::now();
    let done = thread::scope(|scope| {
        let started: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| lives(config, program, time)))
            .collect();
        let mut sum = 0;
        for worker in started {
            sum += worker.join().ok().context("a worker panicked")??;
        }
        anyhow::Ok(sum)
    })?;
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

/// The same with a host process each, and so a supervisor thread each.
pub(crate) fn kavach_processes(workers: usize, time: Duration, guests: &Path) -> Result<f64> {
    let mut servers = (0..workers)
        .map(|_| Server::start(0, guests))
        .collect::<Result<Vec<_>>>()?;
    for server in &mut servers {
        // The first one starts threads and fills caches.
        server.time("life")?;
    }
    let start = Instant::now();
    for server in &mut servers {
        server.ask(&format!("lives {}", time.as_millis()))?;
    }
    let mut done = 0;
    for server in &mut servers {
        done += server.answer()?;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}
