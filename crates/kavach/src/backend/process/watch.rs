//! The approximate limits of a sandbox: what the supervisor sums up and kills for, where no
//! control group holds it.
//!
//! Memory is the sum of proportional set sizes over the processes of the sandbox's pid namespace
//! and of what its tmpfs mounts hold; a mapped tmpfs file counts twice, never less than once. The
//! filter denies memory that is mapped nowhere and in no file (memfds, System V segments). What the
//! kernel holds on a guest's behalf (pipes, socket buffers) is not seen, nor what was shared, written
//! and unmapped; page tables are. Between two looks a guest can exceed the limit by what it can touch in
//! that time. That is why such a limit is called approximate.

use std::fs;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Pid;

use crate::agent::Agent;
use crate::control::Control;
use crate::plan::{LimitMechanism, LimitsPlan};
use crate::result::{LimitEvent, Termination};

/// How often memory is summed where no cgroup holds it.
const SUM_INTERVAL: Duration = Duration::from_millis(10);
/// How often a sandbox without processes is looked at.
const IDLE_INTERVAL: Duration = Duration::from_millis(50);
/// How often counters of a cgroup are read.
const COUNTER_INTERVAL: Duration = Duration::from_millis(20);
/// More processes than this are not summed one by one any more: the limit on processes is below.
const MOST_PROCESSES: usize = 1 << 16;

/// What to look at.
#[derive(Debug)]
pub(super) struct Watch {
    agent: Pid,
    /// Directories on the sandbox's tmpfs mounts.
    tmpfs: Vec<OwnedFd>,
    /// Directories with a quota of their own, by their paths without the first `/`.
    scratch: Vec<(&'static str, OwnedFd)>,
    /// The upper directory of a workspace that has a quota.
    workspace: Option<OwnedFd>,
    memory_bytes: Option<u64>,
    pids: Option<u32>,
    cpu_limit_us: Option<u64>,
    interval: Option<Duration>,
    pids_full: AtomicBool,
    /// Commands that look for themselves.
    active: AtomicUsize,
}

/// What a guest can fill.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Directories on the tmpfs mounts that count to the memory, where no control group does it.
    pub(super) counted: Vec<OwnedFd>,
    /// The sandbox's own writable directories that have a quota, by their paths without the
    /// first `/`.
    pub(super) scratch: Vec<(&'static str, OwnedFd)>,
    /// The upper directory of a workspace that has a quota.
    pub(super) workspace: Option<OwnedFd>,
}

/// A watch in use by a command: as long as there is one, the sandbox is looked at on its behalf.
#[derive(Debug)]
pub(super) struct Active(Arc<Watch>);

impl Deref for Active {
    type Target = Watch;
    fn deref(&self) -> &Watch {
        &self.0
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Watch {
    pub(super) fn new(limits: &LimitsPlan, agent: Pid, room: Room) -> Self {
        let approximate = |m: LimitMechanism| m == LimitMechanism::Approximate;
        let by_cgroup = |m: LimitMechanism| matches!(m, LimitMechanism::Cgroup(_));
        let memory = limits.memory_bytes;
        let memory_bytes = memory.filter(|l| approximate(l.mechanism)).map(|l| l.limit);
        let pids = limits
            .pids
            .filter(|l| approximate(l.mechanism))
            .map(|l| l.limit);
        let cpu_limit_us = limits
            .cpu_time_ms
            .filter(|l| by_cgroup(l.mechanism))
            .map(|l| l.limit.saturating_mul(1000));
        let counted = cpu_limit_us.is_some() || memory.is_some_and(|l| by_cgroup(l.mechanism));
        let interval = if memory_bytes.is_some() || pids.is_some() {
            Some(SUM_INTERVAL)
        } else if counted {
            Some(COUNTER_INTERVAL)
        } else {
            None
        };
        Self {
            agent,
            tmpfs: room.counted,
            scratch: room.scratch,
            workspace: room.workspace,
            memory_bytes,
            pids,
            cpu_limit_us,
            interval,
            pids_full: AtomicBool::new(false),
            active: AtomicUsize::new(0),
        }
    }

    /// For a command that begins.
    pub(super) fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::AcqRel);
        Active(self.clone())
    }

    /// Looks after what commands leave in the background: between commands a sandbox that exceeds
    /// an approximate limit is ended as a whole. On the supervisor thread.
    pub(super) fn guard_background(self: Arc<Self>, agent: Arc<Agent>) {
        if self.memory_bytes.is_none() && self.pids.is_none() {
            return;
        }
        let watch = Arc::downgrade(&self);
        let weak_agent = Arc::downgrade(&agent);
        tokio::spawn(async move {
            let mut pause = IDLE_INTERVAL;
            loop {
                tokio::time::sleep(pause).await;
                let (Some(watch), Some(agent)) = (watch.upgrade(), weak_agent.upgrade()) else {
                    return;
                };
                if watch.active.load(Ordering::Acquire) == 0
                    && let Some(limit) = watch.breach()
                {
                    tracing::warn!(%limit, "ending a sandbox for what runs in its background");
                    agent.kill().await;
                    return;
                }
                // Nothing in the background now means nothing until the next command ends.
                let idle = watch.guests().is_empty();
                pause = if idle { IDLE_INTERVAL } else { SUM_INTERVAL };
            }
        });
    }

    pub(super) const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    pub(super) const fn cpu_limit_us(&self) -> Option<u64> {
        self.cpu_limit_us
    }

    /// A limit that the sum over the sandbox exceeds.
    pub(super) fn breach(&self) -> Option<Termination> {
        if self.memory_bytes.is_none() && self.pids.is_none() {
            return None;
        }
        let guests = self.guests();
        if let Some(most) = self.pids {
            let tasks: usize = guests.iter().map(|pid| count_tasks(*pid)).sum();
            if tasks >= most as usize {
                self.pids_full.store(true, Ordering::Relaxed);
            }
        }
        let in_files: u64 = self.tmpfs.iter().map(used_bytes).sum();
        let most = self.memory_bytes?.saturating_sub(in_files);
        // The sum of resident sizes counts shared pages for everyone who maps them: cheap to
        // read, never too small.
        if guests
            .iter()
            .filter_map(|pid| resident_bytes(*pid))
            .sum::<u64>()
            <= most
        {
            return None;
        }
        let sum: u64 = guests
            .iter()
            .map(|pid| {
                proportional_bytes(*pid)
                    .or_else(|| resident_bytes(*pid))
                    .unwrap_or(0)
            })
            .sum();
        (sum > most).then_some(Termination::OutOfMemory)
    }

    /// Limits that were hit and survived, of which no control group tells.
    pub(super) fn events(&self) -> Vec<LimitEvent> {
        let mut list = Vec::new();
        if self.pids_full.load(Ordering::Relaxed) {
            let detail = "the number of processes reached its limit";
            list.push(LimitEvent::new(Control::Pids, 1, detail));
        }
        // Looked at after the command: what was refused and has room again is not seen.
        if self.workspace.as_ref().is_some_and(is_full) {
            let detail = "the workspace's quota is used up";
            list.push(LimitEvent::new(Control::Disk, 1, detail));
        }
        for (path, _) in self.scratch.iter().filter(|(_, tmpfs)| is_full(tmpfs)) {
            let detail = format!("the quota of /{path} is used up");
            list.push(LimitEvent::new(Control::Disk, 1, detail));
        }
        list
    }

    /// The processes of the sandbox, from the kernel: children of children of its first process.
    /// An orphan is the first process's child, so none is missed.
    fn guests(&self) -> Vec<i32> {
        let mut found = Vec::new();
        let mut open = vec![self.agent.as_raw_nonzero().get()];
        while let Some(pid) = open.pop() {
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
                continue;
            };
            for thread in threads.filter_map(Result::ok) {
                let children = fs::read_to_string(thread.path().join("children"));
                let children = children.unwrap_or_default();
                for child in children
                    .split_ascii_whitespace()
                    .filter_map(|c| c.parse().ok())
                {
                    if found.len() < MOST_PROCESSES {
                        found.push(child);
                        open.push(child);
                    }
                }
            }
        }
        found
    }
}

fn used_bytes(tmpfs: &OwnedFd) -> u64 {
    rustix::fs::fstatvfs(tmpfs).map_or(0, |s| {
        s.f_blocks
            .saturating_sub(s.f_bfree)
            .saturating_mul(s.f_frsize)
    })
}

/// Whether not one more page, or not one more file, finds room.
fn is_full(tmpfs: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(tmpfs).is_ok_and(|s| s.f_bfree == 0 || s.f_ffree == 0)
}

fn count_tasks(pid: i32) -> usize {
    // The number of links of the directory is two more than its entries (proc_pid_task(5)).
    fs::metadata(format!("/proc/{pid}/task")).map_or(0, |m| m.nlink().saturating_sub(2) as usize)
}

/// Resident memory and the page tables that describe it: a guest can fill gigabytes of tables
/// with next to nothing resident.
fn resident_bytes(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    with_page_tables(&status, "VmRSS:", &status)
}

/// The memory that `field` of `text` tells, in bytes, and the page tables of `status`.
pub(super) fn with_page_tables(text: &str, field: &str, status: &str) -> Option<u64> {
    let tables = status_kb(status, "VmPTE:").unwrap_or(0);
    let sum = status_kb(text, field)?.saturating_add(tables);
    Some(sum.saturating_mul(1024))
}

fn status_kb(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches(" kB").trim().parse().ok()
}

fn proportional_bytes(pid: i32) -> Option<u64> {
    // Not readable once the guest has made itself undumpable: the caller takes the larger number.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    with_page_tables(&rollup, "Pss:", &status)
}
