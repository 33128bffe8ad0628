//! A running command of the process backend.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::instance::{end_agent, kill_leaf, remove_leaf, thaw_leaf};
use super::watch::Active;
use crate::agent::{Agent, AgentGuest};
use crate::backend::{Act, Guest, GuestEnd};
use crate::cgroup::kill::KillOutcome;
use crate::cgroup::leaf::Leaf;
use crate::cgroup::stats as cgroup;
use crate::control::Control;
use crate::error::Result;
use crate::result::{LimitEvent, Termination, Usage};

/// A command, the control group it is alone in, and the watch over the sandbox.
#[derive(Debug)]
pub(super) struct ProcessGuest {
    guest: AgentGuest,
    agent: Arc<Agent>,
    leaf: Option<Arc<Leaf>>,
    watch: Active,
    /// The counters of the leaf after the command's end, once they were asked for.
    at_end: OnceLock<(cgroup::Usage, cgroup::Events)>,
}

impl ProcessGuest {
    pub(super) const fn new(
        guest: AgentGuest,
        agent: Arc<Agent>,
        leaf: Option<Arc<Leaf>>,
        watch: Active,
    ) -> Self {
        Self {
            guest,
            agent,
            leaf,
            watch,
            at_end: OnceLock::new(),
        }
    }

    fn counters(&self) -> Option<(cgroup::Usage, cgroup::Events)> {
        let known = self.at_end.get().copied();
        known.or_else(|| self.leaf.as_deref().map(Leaf::counters))
    }
}

impl Guest for ProcessGuest {
    fn wait(&self) -> Act<'_, Result<GuestEnd>> {
        Box::pin(self.guest.wait())
    }

    fn signal(&self, signal: i32) -> Act<'_, Result<()>> {
        Box::pin(self.guest.signal(signal))
    }

    fn kill(&self) -> Act<'_, Result<()>> {
        Box::pin(async move {
            match self.leaf.clone() {
                Some(leaf) => {
                    let killed = kill_leaf(leaf.clone()).await;
                    if matches!(killed, Ok(KillOutcome::PendingThaw)) {
                        // Paused: each has its SIGKILL and runs no further instruction.
                        return Ok(());
                    }
                    // Something of it lives (no descriptors left to kill it with, say), or it was
                    // not in its leaf: it must not outlive its limit. The end of the sandbox needs
                    // nothing that is not held.
                    let patience = Duration::from_millis(500);
                    let ended = tokio::time::timeout(patience, self.guest.wait()).await;
                    if ended.is_err() || !matches!(killed, Ok(KillOutcome::Gone)) {
                        tracing::warn!(?killed, "a command survived its kill: ending the sandbox");
                        end_agent(&self.agent, move || thaw_leaf(Some(&leaf))).await;
                    }
                    Ok(())
                }
                // Without a group of its own the command cannot be told from the rest.
                None => {
                    self.agent.kill().await;
                    Ok(())
                }
            }
        })
    }

    fn watch_interval(&self) -> Option<Duration> {
        self.watch.interval()
    }

    fn breach(&self, running: bool) -> Option<Termination> {
        let counters = self.counters();
        if let (false, Some(counters)) = (running, counters) {
            self.at_end.get_or_init(|| counters);
        }
        let in_leaf = counters.and_then(|(usage, events)| {
            if events.oom_kills.is_some_and(|n| n > 0) {
                // Half a command is of no use to anybody: as with memory.oom.group, one kill for
                // want of memory ends it.
                Some(Termination::OutOfMemory)
            } else if self
                .watch
                .cpu_limit_us()
                .zip(usage.cpu_total_us)
                .is_some_and(|(most, n)| n >= most)
            {
                Some(Termination::CpuExceeded)
            } else {
                None
            }
        });
        in_leaf.or_else(|| if running { self.watch.breach() } else { None })
    }

    fn usage(&self) -> Usage {
        let mut usage = self.guest.usage();
        if let Some((of_group, _)) = self.counters() {
            let micros = |us: Option<u64>| us.map(Duration::from_micros);
            usage.memory_peak_bytes = of_group.memory_peak_bytes.or(usage.memory_peak_bytes);
            usage.cpu_user = micros(of_group.cpu_user_us).or(usage.cpu_user);
            usage.cpu_system = micros(of_group.cpu_system_us).or(usage.cpu_system);
            usage.pids_peak = of_group.pids_peak;
            usage.io_read_bytes = of_group.io_read_bytes;
            usage.io_written_bytes = of_group.io_write_bytes;
        }
        usage
    }

    fn limit_events(&self) -> Vec<LimitEvent> {
        let mut list = self.watch.events();
        let Some((_, events)) = self.counters() else {
            return list;
        };
        let mut add = |control, count: Option<u64>, detail: &str| {
            if let Some(count) = count.filter(|n| *n > 0) {
                list.push(LimitEvent::new(control, count, detail));
            }
        };
        add(
            Control::Memory,
            events.memory_limit_hits,
            "the memory limit was reached",
        );
        add(Control::Pids, events.pids_limit_hits, "a fork was refused");
        add(
            Control::Cpu,
            events.nr_throttled,
            "periods in which the CPU quota ran out",
        );
        list
    }

    fn release(&self) -> Act<'_, ()> {
        Box::pin(async move {
            if let Some(leaf) = self.leaf.clone() {
                remove_leaf(leaf).await;
            }
        })
    }
}
