//! What a group has used and which of its limits were hit.
//!
//! A file that this kernel does not have gives `None`, never a zero.

use super::files::ControlFiles;
#[cfg(test)]
use super::tree::walk;
use super::tree::{Dir, find};
use super::{Controller, Version};

/// Clock ticks per second of `cpuacct.stat`: USER_HZ, 100 on every port of
/// Linux that kavach runs on.
const TICKS_PER_SECOND: u64 = 100;

/// What a group has used since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Highest memory use in bytes, page cache included.
    pub(crate) memory_peak_bytes: Option<u64>,
    /// CPU time in user mode, microseconds.
    pub(crate) cpu_user_us: Option<u64>,
    /// CPU time in the kernel, microseconds.
    pub(crate) cpu_system_us: Option<u64>,
    /// All CPU time, microseconds; not always the sum of the two above, which
    /// the kernel samples.
    pub(crate) cpu_total_us: Option<u64>,
    /// Most tasks at once (`pids.peak`, Linux 6.1).
    pub(crate) pids_peak: Option<u64>,
    /// Bytes read from block devices (version 2 with the io controller).
    pub(crate) io_read_bytes: Option<u64>,
    /// Bytes written to block devices (version 2 with the io controller).
    pub(crate) io_write_bytes: Option<u64>,
}

/// Limits that were hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// Processes killed for want of memory.
    pub(crate) oom_kills: Option<u64>,
    /// Times the memory limit was hit, most of them survived by reclaim. A
    /// lower bound on version 1 with swap denied: Linux 6.18 (seen) counts
    /// failures of `memory.limit_in_bytes` only, and it is
    /// `memory.memsw.limit_in_bytes` that fails first.
    pub(crate) memory_limit_hits: Option<u64>,
    /// Forks refused.
    pub(crate) pids_limit_hits: Option<u64>,
    /// Periods in which the CPU quota ran out.
    pub(crate) nr_throttled: Option<u64>,
    /// Time spent throttled, microseconds, summed over CPUs.
    pub(crate) throttled_us: Option<u64>,
}

impl Events {
    /// What happened since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        let delta = |now: Option<u64>, then: Option<u64>| {
            now.map(|now| now.saturating_sub(then.unwrap_or(0)))
        };
        Self {
            oom_kills: delta(self.oom_kills, earlier.oom_kills),
            memory_limit_hits: delta(self.memory_limit_hits, earlier.memory_limit_hits),
            pids_limit_hits: delta(self.pids_limit_hits, earlier.pids_limit_hits),
            nr_throttled: delta(self.nr_throttled, earlier.nr_throttled),
            throttled_us: delta(self.throttled_us, earlier.throttled_us),
        }
    }

    /// Who was killed for want of memory has hit the limit, whether or not
    /// this kernel counted it.
    pub(super) fn with_oom_as_hit(self) -> Self {
        let memory_limit_hits = self.memory_limit_hits.max(self.oom_kills);
        Self {
            memory_limit_hits,
            ..self
        }
    }
}

/// Reads one file of the directory that stands for a controller.
struct Reader<'a> {
    io: &'a dyn ControlFiles,
    dir: &'a Dir,
}

impl<'a> Reader<'a> {
    fn of(io: &'a dyn ControlFiles, dirs: &'a [Dir], controller: Controller) -> Option<Self> {
        find(dirs, controller).map(|dir| Self { io, dir })
    }

    fn text(&self, file: &str) -> Option<String> {
        self.io.read(&self.dir.path.join(file)).ok()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    fn key(&self, file: &str, key: &str) -> Option<u64> {
        keyed(&self.text(file)?, key)
    }
}

/// The value of `key` in a flat keyed file.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// Sum of `key` over the devices of `io.stat` (`8:0 rbytes=1 wbytes=2 …`).
pub(super) fn sum_nested(text: &str, key: &str) -> u64 {
    let value = |field: &str| match field.split_once('=') {
        Some((name, value)) if name == key => value.parse::<u64>().ok(),
        _ => None,
    };
    text.split_ascii_whitespace()
        .filter_map(value)
        .fold(0, u64::saturating_add)
}

/// Usage of the group with the directories `dirs`.
pub(super) fn usage(io: &dyn ControlFiles, dirs: &[Dir]) -> Usage {
    let mut usage = Usage {
        memory_peak_bytes: memory_peak(io, dirs),
        pids_peak: pids_peak(io, dirs),
        ..Usage::default()
    };
    if let Some(cpu) = Reader::of(io, dirs, Controller::Cpuacct) {
        match cpu.dir.version {
            Version::V1 => {
                let ticks = |key| {
                    cpu.key("cpuacct.stat", key)
                        .map(|n| n.saturating_mul(1_000_000 / TICKS_PER_SECOND))
                };
                let micros = |file| cpu.number(file).map(|ns: u64| ns / 1000);
                usage.cpu_total_us = micros("cpuacct.usage");
                usage.cpu_user_us = micros("cpuacct.usage_user").or_else(|| ticks("user"));
                usage.cpu_system_us = micros("cpuacct.usage_sys").or_else(|| ticks("system"));
            }
            Version::V2 => {
                usage.cpu_total_us = cpu.key("cpu.stat", "usage_usec");
                usage.cpu_user_us = cpu.key("cpu.stat", "user_usec");
                usage.cpu_system_us = cpu.key("cpu.stat", "system_usec");
            }
        }
    }
    let unified = dirs.iter().find(|dir| dir.version == Version::V2);
    if let Some(text) = unified.and_then(|dir| Reader { io, dir }.text("io.stat")) {
        usage.io_read_bytes = Some(sum_nested(&text, "rbytes"));
        usage.io_write_bytes = Some(sum_nested(&text, "wbytes"));
    }
    usage
}

/// Most bytes at once in the group with the directories `dirs`.
pub(super) fn memory_peak(io: &dyn ControlFiles, dirs: &[Dir]) -> Option<u64> {
    let memory = Reader::of(io, dirs, Controller::Memory)?;
    memory.number(match memory.dir.version {
        Version::V1 => "memory.max_usage_in_bytes",
        Version::V2 => "memory.peak",
    })
}

/// Most tasks at once in the group with the directories `dirs`.
pub(super) fn pids_peak(io: &dyn ControlFiles, dirs: &[Dir]) -> Option<u64> {
    Reader::of(io, dirs, Controller::Pids)?.number("pids.peak")
}

/// Counters of the guest group, which holds the limits; without `oom_kills`.
pub(super) fn limit_events(io: &dyn ControlFiles, guest: &[Dir]) -> Events {
    let mut events = Events::default();
    if let Some(memory) = Reader::of(io, guest, Controller::Memory) {
        events.memory_limit_hits = match memory.dir.version {
            // With memory and memory+swap capped at the same value the kernel
            // charges, and fails, the second one first (older kernels count it).
            Version::V1 => memory.number("memory.failcnt").map(|hits: u64| {
                hits.saturating_add(memory.number("memory.memsw.failcnt").unwrap_or(0))
            }),
            Version::V2 => memory.key("memory.events", "max"),
        };
    }
    events.pids_limit_hits = fork_failures(io, guest);
    if let Some(cpu) = Reader::of(io, guest, Controller::Cpu) {
        events.nr_throttled = cpu.key("cpu.stat", "nr_throttled");
        events.throttled_us = match cpu.dir.version {
            Version::V1 => cpu.key("cpu.stat", "throttled_time").map(|ns| ns / 1000),
            Version::V2 => cpu.key("cpu.stat", "throttled_usec"),
        };
    }
    events
}

/// Refused forks counted in exactly these directories. Version 1, and version
/// 2 before Linux 6.11, count them where the fork was tried (the leaf); newer
/// version 2 kernels where the limit is (the guest group).
pub(super) fn fork_failures(io: &dyn ControlFiles, dirs: &[Dir]) -> Option<u64> {
    Reader::of(io, dirs, Controller::Pids)?.key("pids.events", "max")
}

/// Processes killed for want of memory in one leaf. Version 1 counts only in
/// the victim's own group, so this is gone once the leaf is removed.
pub(super) fn oom_kills(io: &dyn ControlFiles, leaf: &[Dir]) -> Option<u64> {
    let memory = Reader::of(io, leaf, Controller::Memory)?;
    match memory.dir.version {
        Version::V1 => memory.key("memory.oom_control", "oom_kill"),
        Version::V2 => memory.key("memory.events", "oom_kill"),
    }
}

/// Events of the guest group with all leaves that still exist.
#[cfg(test)]
pub(super) fn group_events(io: &dyn ControlFiles, guest: &[Dir]) -> Events {
    let mut events = limit_events(io, guest);
    events.oom_kills = oom_kills(io, guest);
    let sum = |controller: Controller, count: &dyn Fn(&[Dir]) -> Option<u64>| {
        let dir = find(guest, controller)?;
        let leaves = walk(&dir.path);
        let count = |path| {
            count(&[Dir {
                path,
                ..dir.clone()
            }])
        };
        Some(
            leaves
                .into_iter()
                .filter_map(count)
                .fold(0, u64::saturating_add),
        )
    };
    // Version 2 sums up by itself.
    if find(guest, Controller::Memory).is_some_and(|dir| dir.version == Version::V1) {
        events.oom_kills = sum(Controller::Memory, &|dirs| oom_kills(io, dirs));
    }
    if find(guest, Controller::Pids).is_some_and(|dir| dir.version == Version::V1) {
        events.pids_limit_hits = sum(Controller::Pids, &|dirs| fork_failures(io, dirs));
    }
    events.with_oom_as_hit()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_match_whole_words() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\nbad x\n";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "oom"), None);
        assert_eq!(keyed(text, "bad"), None);
    }

    #[test]
    fn io_is_summed_over_devices() {
        let text = "8:0 rbytes=10 wbytes=1 rios=5\n8:16 rbytes=32 wbytes=2\n";
        assert_eq!(
            (sum_nested(text, "rbytes"), sum_nested(text, "wbytes")),
            (42, 3)
        );
        assert_eq!(sum_nested("", "rbytes"), 0);
    }

    #[test]
    fn a_counter_that_exists_only_now_counts_from_zero() {
        let now = Events {
            oom_kills: Some(5),
            nr_throttled: Some(7),
            ..Events::default()
        };
        let then = Events {
            nr_throttled: Some(4),
            throttled_us: Some(1),
            ..Events::default()
        };
        let expected = Events {
            oom_kills: Some(5),
            nr_throttled: Some(3),
            ..Events::default()
        };
        assert_eq!(now.since(then), expected);
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "[a-z0-9:= \n]*", key in "[a-z]{0,3}") {
            let _ = keyed(&text, &key);
            let _ = sum_nested(&text, &key);
        }
    }
}
