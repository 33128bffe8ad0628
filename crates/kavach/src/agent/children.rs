//! Children of the supervisor thread: who waits for which.
//!
//! Each child that has ended and whose status nobody takes stays as a zombie. The sandbox's first
//! process is made by another child, as its sibling, and says its name over a connection: where
//! that is what failed, nobody knows whom to wait for.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// The pids of children that somebody holds.
static HELD: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<u32>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child whose holder kills it and waits for it by its pid, which must stay its own until then.
#[derive(Debug)]
pub(super) struct HeldChild(Child);

impl HeldChild {
    pub(super) fn new(child: Child) -> Self {
        held().insert(child.id());
        Self(child)
    }

    /// Ends it, and takes its status.
    pub(super) fn end(mut self) {
        // One that has ended already cannot be killed, and needs not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Deref for HeldChild {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for HeldChild {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for HeldChild {
    fn drop(&mut self) {
        held().remove(&self.0.id());
    }
}

/// Takes the status of what a failed start left to end by itself, on the supervisor thread. Not
/// waited for at once: what hangs in a mount that does not answer dies when it answers.
pub(super) fn sweep_later() {
    const PAUSES_MS: [u64; 5] = [1, 10, 100, 1000, 10_000];
    tokio::spawn(async {
        for pause in PAUSES_MS {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            sweep();
        }
    });
}

/// Takes the status of every child of this thread that has ended and that nobody holds. Who watches
/// one by a pidfd takes "no such child" for its end, too.
fn sweep() {
    // Without CONFIG_PROC_CHILDREN there is no list, and what has ended stays a zombie.
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let held = held();
    for pid in list
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse::<i32>().ok())
    {
        if held.contains(&pid.cast_unsigned()) {
            continue;
        }
        if let Some(pid) = Pid::from_raw(pid) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = waitid(WaitId::Pid(pid), options);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    }

    #[test]
    fn a_dead_child_is_swept_unless_somebody_holds_it() {
        let start = || Command::new("true").spawn().unwrap();
        let (nobodys, kept) = (start(), HeldChild::new(start()));
        for child in [&nobodys, &*kept] {
            let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), options).unwrap();
        }
        sweep();
        assert_eq!(state(nobodys.id()), None);
        assert_eq!(state(kept.id()), Some('Z'));
        let pid = kept.id();
        kept.end();
        assert_eq!(state(pid), None);
    }
}
