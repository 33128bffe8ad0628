//! Killing everything in a group, whatever it does against it.
//!
//! Version 2 does it in the kernel (`cgroup.kill`, Linux 5.14). Elsewhere the
//! group is frozen first, so that nothing forks between the listing and the
//! signals; on version 1 a SIGKILL waits for the thaw, so each round thaws.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::error::CgroupError;
use super::files::ControlFiles;
use super::tree::{Dir, is_gone, pids, walk};
use super::{Controller, Version};

/// Rounds of killing before giving up: about one second in all.
const ROUNDS: u64 = 100;
/// Longest pause between rounds.
const LONGEST_PAUSE_MS: u64 = 10;
/// Looks at a freezing group before signalling it anyway.
const FREEZE_LOOKS: u32 = 100;
/// Tries to open a freezer before giving up.
const THAW_TRIES: u32 = 20;
/// Processes signalled per listing; each needs a descriptor for a moment.
const CHUNK: usize = 32;

/// How a killing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum KillOutcome {
    /// No process is left.
    Gone,
    /// Every process has a SIGKILL and dies when the group above, which is
    /// frozen, is thawed (version 1).
    PendingThaw,
    /// Processes were left when the rounds ran out: call again.
    Alive {
        /// How many.
        count: usize,
    },
}

/// Kills what is at and below `dirs`, the directories of one group. Blocks for
/// about a second at most. Leaves no freezer of the group closed.
pub(super) fn kill(io: &dyn ControlFiles, dirs: &[Dir]) -> Result<KillOutcome, CgroupError> {
    let freezer = dirs.iter().find(|dir| dir.has(Controller::Freezer));
    for round in 0..ROUNDS {
        if pids(io, dirs)?.is_empty() {
            return Ok(KillOutcome::Gone);
        }
        let by_kernel = kill_in_kernel(io, dirs)?;
        // A process that joined only some hierarchies is not seen by the
        // kernel's kill: after the first round the signals go out too.
        if !by_kernel || round > 0 {
            match freezer {
                Some(dir) if dir.version == Version::V1 => {
                    if parent_freezing(io, dir) {
                        await_frozen(io, dir);
                        signal_all(io, dirs)?;
                        return Ok(KillOutcome::PendingThaw);
                    }
                    kill_frozen(io, dirs, dir)?;
                }
                Some(dir) => {
                    // Without the kernel's kill; a frozen process of version 2
                    // dies without a thaw, but the group may be used again.
                    set(io, &dir.path.join("cgroup.freeze"), "1")?;
                    let signalled = signal_all(io, dirs);
                    set(io, &dir.path.join("cgroup.freeze"), "0").and(signalled)?;
                }
                None => {
                    block_forks(io, dirs);
                    signal_all(io, dirs)?;
                }
            }
        }
        thread::sleep(Duration::from_millis((round + 1).min(LONGEST_PAUSE_MS)));
    }
    let count = pids(io, dirs)?.len();
    Ok(if count == 0 {
        KillOutcome::Gone
    } else {
        KillOutcome::Alive { count }
    })
}

/// Asks version 2 to kill; false where there is none or it is too old.
fn kill_in_kernel(io: &dyn ControlFiles, dirs: &[Dir]) -> Result<bool, CgroupError> {
    let Some(dir) = dirs.iter().find(|dir| dir.version == Version::V2) else {
        return Ok(false);
    };
    let path = dir.path.join("cgroup.kill");
    match io.write(&path, "1") {
        Ok(()) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(source) => Err(CgroupError::Write {
            path,
            value: "1".to_owned(),
            source,
        }),
    }
}

/// Writes a control file, unless its group is gone with all its processes.
fn set(io: &dyn ControlFiles, path: &Path, value: &str) -> Result<(), CgroupError> {
    match io.write(path, value) {
        Err(source) if !is_gone(&source) => Err(CgroupError::Write {
            path: path.to_owned(),
            value: value.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// One round with the version 1 freezer. Thaws whatever happens in between.
fn kill_frozen(io: &dyn ControlFiles, dirs: &[Dir], freezer: &Dir) -> Result<(), CgroupError> {
    let frozen = set(io, &freezer.path.join("freezer.state"), "FROZEN");
    if frozen.is_ok() {
        await_frozen(io, freezer);
    }
    let signalled = signal_all(io, dirs);
    let thawed = thaw_tree(io, freezer);
    frozen.and(signalled).and(thawed)
}

/// Opens the version 1 freezers at and below `dir`. Insists: what stays frozen keeps its SIGKILL
/// waiting, and with it the first process of its pid namespace.
fn thaw_tree(io: &dyn ControlFiles, dir: &Dir) -> Result<(), CgroupError> {
    let mut result = Ok(());
    for path in walk(&dir.path) {
        let file = path.join("freezer.state");
        let mut thawed = set(io, &file, "THAWED");
        for _ in 1..THAW_TRIES {
            if thawed.is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
            thawed = set(io, &file, "THAWED");
        }
        result = result.and(thawed);
    }
    result
}

fn parent_freezing(io: &dyn ControlFiles, dir: &Dir) -> bool {
    io.read(&dir.path.join("freezer.parent_freezing"))
        .is_ok_and(|text| text.trim() == "1")
}

/// Waits, for a bounded time, until nothing in `dir` runs. A task that waits
/// in the kernel may never freeze; it cannot fork either.
fn await_frozen(io: &dyn ControlFiles, dir: &Dir) {
    for look in 0..FREEZE_LOOKS {
        match io.read(&dir.path.join("freezer.state")) {
            Ok(state) if state.trim() == "FREEZING" => {}
            Ok(_) | Err(_) => return,
        }
        if look < 10 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Without a freezer: no new process in the group, so that the rounds end.
fn block_forks(io: &dyn ControlFiles, dirs: &[Dir]) {
    for dir in dirs.iter().filter(|dir| dir.has(Controller::Pids)) {
        // Only makes the rounds fewer; they are bounded without it.
        let _ = io.write(&dir.path.join("pids.max"), "0");
    }
}

/// Sends SIGKILL to every process listed. A pid is signalled through a
/// descriptor that was opened while it was still listed, so that a pid that is
/// reused meanwhile is never hit.
fn signal_all(io: &dyn ControlFiles, dirs: &[Dir]) -> Result<(), CgroupError> {
    let listed: Vec<_> = pids(io, dirs)?
        .into_iter()
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != getpid())
        .collect();
    let failed = |pid: Pid, error: Errno| CgroupError::Signal {
        pid: pid.as_raw_nonzero().get(),
        source: error.into(),
    };
    for chunk in listed.chunks(CHUNK) {
        let mut opened = Vec::with_capacity(chunk.len());
        for pid in chunk.iter().copied() {
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(fd) => opened.push((pid, fd)),
                Err(Errno::SRCH) => {}
                Err(error) => return Err(failed(pid, error)),
            }
        }
        let still = pids(io, dirs)?;
        let here = |pid: Pid| still.binary_search(&pid.as_raw_nonzero().get()).is_ok();
        for (pid, fd) in opened.iter().filter(|(pid, _)| here(*pid)) {
            match pidfd_send_signal(fd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(failed(*pid, error)),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A freezer that opens at the last of so many tries only.
    #[derive(Debug)]
    struct Stuck(AtomicU32);

    impl ControlFiles for Stuck {
        fn make_dir(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }

        fn remove_dir(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }

        fn write(&self, _: &Path, value: &str) -> io::Result<()> {
            assert_eq!(value, "THAWED");
            match self.0.fetch_sub(1, Ordering::Relaxed) {
                1 => Ok(()),
                _ => Err(Errno::NOMEM.into()),
            }
        }

        fn read(&self, _: &Path) -> io::Result<String> {
            Ok(String::new())
        }

        fn writable(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }

        fn owner(&self, _: &Path) -> io::Result<u32> {
            Ok(0)
        }
    }

    #[test]
    fn a_freezer_that_does_not_open_at_once_is_opened_all_the_same() {
        let dir = Dir {
            path: "/nonexistent/kavach-freezer".into(),
            version: Version::V1,
            controllers: vec![Controller::Freezer],
        };
        assert!(thaw_tree(&Stuck(AtomicU32::new(THAW_TRIES)), &dir).is_ok());
        assert!(thaw_tree(&Stuck(AtomicU32::new(THAW_TRIES + 1)), &dir).is_err());
    }
}
