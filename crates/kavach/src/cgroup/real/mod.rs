//! Against the kernel of this machine.
//!
//! They need root and every controller, in hierarchies of version 1 or in the
//! unified one. One that cannot run is listed as skipped with what is missing
//! (docs/development/testing.md). What only one version can show is not asked of
//! the other.

mod collect;
mod guest;
mod user;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::error::CgroupError;
use super::gc::base_dirs;
use super::group::SandboxGroup;
use super::kill::KillOutcome;
use super::leaf::Leaf;
use super::limits::Limits;
use super::name::Owner;
use super::probe::{CgroupSupport, probe};
use super::{Controller, Version};
use crate::skips::available;

/// Longest wait for something that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// What this machine offers, or `None` after a loud skip.
fn host() -> Option<CgroupSupport> {
    let support = probe();
    let missing: Vec<_> = Controller::ALL
        .into_iter()
        .filter_map(|controller| {
            let reason = support.get(controller).as_ref().err()?;
            Some(format!("the cgroup controller {controller}: {reason}"))
        })
        .collect();
    available(&missing).then_some(support)
}

/// The version that holds every controller here; a host that mixes them has
/// those of version 1.
fn version(support: &CgroupSupport) -> Version {
    support.memory.as_ref().unwrap().version
}

/// Waits until `done`, or fails saying what for.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// A group that is removed whatever the test does.
struct Scratch {
    group: SandboxGroup,
    name: String,
    bases: Vec<PathBuf>,
}

impl Scratch {
    fn new(support: &CgroupSupport, limits: &Limits) -> Self {
        static SEQ: AtomicU64 = AtomicU64::new(0);
        let owner = Owner::current(SEQ.fetch_add(1, Ordering::Relaxed), "test").unwrap();
        Self::named(support, limits, &owner)
    }

    fn named(support: &CgroupSupport, limits: &Limits, owner: &Owner) -> Self {
        let name = owner.to_string();
        let group = SandboxGroup::create(support, &name, limits).unwrap();
        let bases = base_dirs(support)
            .into_iter()
            .map(|(base, _)| base)
            .collect();
        Self { group, name, bases }
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let dirs = self.bases.iter().map(|base| base.join(&self.name));
        dirs.filter(|dir| dir.exists()).collect()
    }

    /// Kills and removes, as the supervisor does, and checks that it is gone.
    fn end(&self) {
        until("the group to be empty", || {
            matches!(self.group.kill_all().unwrap(), KillOutcome::Gone)
        });
        until("the group to be removed", || match self.group.remove() {
            Ok(()) => true,
            Err(CgroupError::Busy { .. }) => false,
            Err(error) => panic!("{error}"),
        });
        assert_eq!(self.dirs(), <[PathBuf; 0]>::default());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let start = Instant::now();
        while !self.dirs().is_empty() && start.elapsed() < PATIENCE {
            let _ = self.group.kill_all();
            let _ = self.group.remove();
        }
    }
}

/// A shell that waits for its input before it runs the script; killed on drop.
struct Shell(Child);

impl Shell {
    fn new(script: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Joins the leaf through its descriptors, then starts the script.
    fn start_in(script: &str, leaf: &Leaf) -> Self {
        let shell = Self::new(script);
        for fd in leaf.join_fds().unwrap() {
            fs::File::from(fd)
                .write_all(shell.0.id().to_string().as_bytes())
                .unwrap();
        }
        assert_eq!(leaf.pids().unwrap(), [shell.pid()]);
        shell.go()
    }

    fn go(mut self) -> Self {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        self
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A guest that never rests.
const SPIN: &str = "while :; do :; done";
