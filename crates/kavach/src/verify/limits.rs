//! The probes of limits: each goes a little past the sandbox's own limit, never where there is
//! none, and never where that little is much.
//!
//! Nothing of it is tried outside: there it would load the host. Those that end what runs, and
//! on some hosts the sandbox with it, get a sandbox each.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use kavach_proto::probe::verb;

use super::Claims;
use super::answer::{Answer, SIGKILL, SIGXCPU};
use super::battery::Battery;
use super::means::{Means, Reading};
use crate::control::Control;
use crate::host::available_memory;
use crate::plan::{MountStep, Resource};
use crate::result::{ExecResult, Termination};

const MIB: u64 = 1 << 20;
/// How much more than the limit is asked for, where it can be counted.
const PAST: u64 = 8;
/// Limits above these are not tried.
const MOST_FILES: u64 = 1 << 20;
const MOST_PIDS: u64 = 4096;
const MOST_QUOTA: u64 = 1 << 30;
const MOST_MEMORY: u64 = 2 << 30;
const MOST_OUTPUT: u64 = 64 * MIB;
const MOST_CPU_TIME_MS: u64 = 2000;
const MOST_WALL_TIME_MS: u64 = 2000;
/// What a command is given instead of a longer limit on the wall clock.
const SHORT_MS: u64 = 250;
/// No probe is meant to take as long.
const PATIENCE_MS: u64 = 60_000;

/// A probe with a sandbox of its own.
#[derive(Debug, Clone)]
pub(super) struct Lone {
    pub(super) control: Control,
    pub(super) what: String,
    pub(super) arguments: Vec<OsString>,
    /// The command's own limit on the wall clock, where it does not have the sandbox's.
    pub(super) timeout: Option<Duration>,
    end: End,
}

/// Which end says that the limit held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    OutOfMemory,
    /// At most as many bytes were kept.
    Output(u64),
    TimedOut,
    CpuExceeded,
}

impl Lone {
    /// Reads the end of the command, and what it said.
    pub(super) fn read(&self, result: &ExecResult, answer: Option<Answer>) -> (Reading, String) {
        let end = result.termination;
        let ended = || format!("ended: {end}");
        match (self.end, end) {
            (End::OutOfMemory, Termination::OutOfMemory)
            | (End::TimedOut, Termination::TimedOut)
            | (End::CpuExceeded, Termination::CpuExceeded)
            | (End::Output(_), Termination::OutputExceeded) => (Reading::Refused, ended()),
            // The kernel took the process that used the memory and left the one that waited.
            (End::OutOfMemory, Termination::Exited(_))
                if answer == Some(Answer::Killed(SIGKILL))
                    && result
                        .limit_events
                        .iter()
                        .any(|e| e.control == Control::Memory) =>
            {
                (Reading::Refused, "killed: out of memory".into())
            }
            // The kernel's limit of each process was quicker than the supervisor's sum.
            (End::CpuExceeded, Termination::Exited(_))
                if answer == Some(Answer::Killed(SIGXCPU)) =>
            {
                (Reading::Refused, Answer::Killed(SIGXCPU).text())
            }
            (End::Output(most), Termination::Exited(_)) => {
                let kept = result.stdout_bytes().len() as u64;
                let reading = match (result.stdout_truncated, kept <= most) {
                    (true, true) => Reading::Refused,
                    (_, false) => Reading::Effect,
                    // It did not write as much.
                    (false, true) => Reading::Nothing,
                };
                (reading, format!("{kept} bytes were kept"))
            }
            (_, Termination::Exited(_)) => match answer {
                Some(Answer::Done) => (Reading::Effect, "done".into()),
                Some(other) => (Reading::Nothing, other.text()),
                None => (Reading::Nothing, "no answer".into()),
            },
            _ => (Reading::Nothing, ended()),
        }
    }
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{bytes} bytes")
    }
}

fn words(verb: &[u8], arguments: &[String]) -> Vec<OsString> {
    let verb = OsStr::from_bytes(verb).to_owned();
    std::iter::once(verb)
        .chain(arguments.iter().map(OsString::from))
        .collect()
}

/// The probes that need no sandbox of their own.
pub(super) fn add(battery: &mut Battery, claims: &Claims) {
    let plan = &claims.plan;
    let rlimit = |control, resource| {
        let limit = plan.rlimits.iter().find(|l| l.resource == resource);
        limit.filter(|_| claims.has(control)).map(|l| l.soft)
    };
    if let Some(most) = rlimit(Control::OpenFiles, Resource::OpenFiles) {
        let what = format!("open more than {most} files");
        if most <= MOST_FILES {
            let arguments = [(most + PAST).to_string().into()];
            let means = Means::AtMost(most);
            battery.add(Control::OpenFiles, what, means, verb::FILES, arguments);
        } else {
            battery.skip(Control::OpenFiles, &what, "it would take as many files");
        }
    }
    if let Some(most) = rlimit(Control::FileSize, Resource::FileSize) {
        let what = format!("write past {} of a file", size(most));
        let arguments = [most.to_string().into()];
        battery.add(Control::FileSize, what, Means::Size, verb::SIZE, arguments);
    }
    if let Some(limit) = plan.limits.pids.filter(|_| claims.has(Control::Pids)) {
        let most = u64::from(limit.limit);
        let what = format!("have more than {most} processes");
        if most <= MOST_PIDS {
            let arguments = [(most + PAST).to_string().into()];
            let means = Means::AtMost(most);
            battery.add(Control::Pids, what, means, verb::PROCESSES, arguments);
        } else {
            battery.skip(Control::Pids, &what, "it would take as many processes");
        }
    }
    if claims.has(Control::Disk) {
        disk(battery, claims);
    }
    for (control, what) in lone(claims).1 {
        battery.skip(control, &what.0, what.1);
    }
}

/// The tmpfs mounts that a guest may write to. The kernel refuses a reservation beyond the size
/// before it takes a page (mm/shmem.c, `shmem_fallocate`).
fn disk(battery: &mut Battery, claims: &Claims) {
    let tmpfs = claims
        .plan
        .view
        .mounts
        .iter()
        .filter_map(|step| match step {
            MountStep::Tmpfs {
                target, size_bytes, ..
            } => Some((target, *size_bytes)),
            _ => None,
        });
    for (target, bytes) in tmpfs {
        // The scratch directories are one tmpfs, shown in several places.
        let directory = match target.to_str() {
            Some(crate::plan::STAGING) => "/tmp",
            Some("/dev/shm") => "/dev/shm",
            _ => continue,
        };
        let what = format!("use more than {} of {directory}", size(bytes));
        if bytes > MOST_QUOTA {
            battery.skip(Control::Disk, &what, "it would take as much memory");
            continue;
        }
        let more = (bytes + MIB).to_string();
        let arguments = [directory.into(), more.into()];
        battery.add(Control::Disk, what, Means::Quota, verb::DISK, arguments);
    }
}

type Skipped = (Control, (String, &'static str));

/// The probes with a sandbox each, and those that are too large.
pub(super) fn lone(claims: &Claims) -> (Vec<Lone>, Vec<Skipped>) {
    let plan = &claims.plan;
    let (mut probes, mut skipped) = (Vec::new(), Vec::new());
    let patience = Some(Duration::from_millis(PATIENCE_MS));
    let mut add = |control, what, verb: &[u8], argument: u64, timeout, end| {
        probes.push(Lone {
            control,
            what,
            arguments: words(verb, &[argument.to_string()]),
            timeout,
            end,
        });
    };
    if let Some(limit) = plan
        .limits
        .memory_bytes
        .filter(|_| claims.has(Control::Memory))
    {
        let more = limit.limit.saturating_add((limit.limit / 8).max(16 * MIB));
        let what = format!("use {} of memory", size(more));
        let room = available_memory().unwrap_or(0) / 2;
        if more <= room.min(MOST_MEMORY) {
            let verb = verb::MEMORY;
            add(
                Control::Memory,
                what,
                verb,
                more,
                patience,
                End::OutOfMemory,
            );
        } else {
            let why = "it would take too much of the host's memory";
            skipped.push((Control::Memory, (what, why)));
        }
    }
    if claims.has(Control::Output) {
        let most = plan.output_limit_bytes;
        let more = most.saturating_add(64 * 1024);
        let what = format!("have more than {} of output kept", size(most));
        if most <= MOST_OUTPUT {
            let end = End::Output(most);
            add(Control::Output, what, verb::OUTPUT, more, patience, end);
        } else {
            skipped.push((Control::Output, (what, "it would take as much memory")));
        }
    }
    if let Some(ms) = plan.wall_limit_ms.filter(|_| claims.has(Control::WallTime)) {
        let (what, timeout) = if ms <= MOST_WALL_TIME_MS {
            (format!("run longer than {ms} ms"), None)
        } else {
            let short = Some(Duration::from_millis(SHORT_MS));
            let what = format!("run longer than {SHORT_MS} ms, which stand here for {ms}");
            (what, short)
        };
        let end = End::TimedOut;
        add(
            Control::WallTime,
            what,
            verb::SLEEP,
            PATIENCE_MS,
            timeout,
            end,
        );
    }
    let cpu_time = plan.limits.cpu_time_ms;
    if let Some(limit) = cpu_time.filter(|_| claims.has(Control::CpuTime)) {
        let ms = limit.limit;
        let what = format!("use more than {ms} ms of processor time");
        if ms <= MOST_CPU_TIME_MS {
            let (verb, more) = (verb::SPIN, ms + 1500);
            add(
                Control::CpuTime,
                what,
                verb,
                more,
                patience,
                End::CpuExceeded,
            );
        } else {
            let why = "it would take as long";
            skipped.push((Control::CpuTime, (what, why)));
        }
    }
    (probes, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lone(end: End) -> Lone {
        Lone {
            control: Control::Memory,
            what: String::new(),
            arguments: Vec::new(),
            timeout: None,
            end,
        }
    }

    fn ended(termination: Termination, output: &[u8]) -> ExecResult {
        ExecResult::new(termination, output.to_vec(), Vec::new(), Duration::ZERO)
    }

    #[test]
    fn only_the_limits_own_end_says_that_it_held() {
        for (end, its_own) in [
            (End::OutOfMemory, Termination::OutOfMemory),
            (End::TimedOut, Termination::TimedOut),
            (End::CpuExceeded, Termination::CpuExceeded),
        ] {
            let probe = lone(end);
            let read = |end| probe.read(&ended(end, b""), None).0;
            assert_eq!(read(its_own), Reading::Refused);
            assert_eq!(read(Termination::Killed), Reading::Nothing);
            assert_eq!(read(Termination::Signaled(9)), Reading::Nothing);
            let through = ended(Termination::Exited(0), b"0 done 0\n");
            assert_eq!(probe.read(&through, Some(Answer::Done)).0, Reading::Effect);
            assert_eq!(probe.read(&through, None).0, Reading::Nothing);
        }
    }

    #[test]
    fn the_kernels_own_signal_counts_as_the_limit_of_processor_time() {
        let result = ended(Termination::Exited(0), b"");
        let killed = |signal| Some(Answer::Killed(signal));
        let probe = lone(End::CpuExceeded);
        assert_eq!(probe.read(&result, killed(SIGXCPU)).0, Reading::Refused);
        assert_eq!(probe.read(&result, killed(SIGKILL)).0, Reading::Nothing);
    }

    #[test]
    fn a_kill_counts_as_a_memory_limit_only_with_its_event() {
        let probe = lone(End::OutOfMemory);
        let killed = Some(Answer::Killed(SIGKILL));
        let mut result = ended(Termination::Exited(0), b"");
        assert_eq!(probe.read(&result, killed).0, Reading::Nothing);
        let event = crate::result::LimitEvent::new(Control::Memory, 1, "oom_kill 1");
        result.limit_events.push(event);
        assert_eq!(probe.read(&result, killed).0, Reading::Refused);
    }

    #[test]
    fn output_is_bounded_where_it_was_cut_at_the_bound() {
        let probe = lone(End::Output(4));
        let mut result = ended(Termination::Exited(0), b"xxxx");
        assert_eq!(probe.read(&result, None).0, Reading::Nothing);
        result.stdout_truncated = true;
        assert_eq!(probe.read(&result, None).0, Reading::Refused);
        let mut long = ended(Termination::Exited(0), b"xxxxx");
        assert_eq!(probe.read(&long, None).0, Reading::Effect);
        long.stdout_truncated = true;
        assert_eq!(probe.read(&long, None).0, Reading::Effect);
    }
}
