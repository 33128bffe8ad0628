//! What the cgroup module found, as facts and as what a driver works with.

use std::fs::{File, read_link};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{CgroupFacts, CgroupVersion, ControllerFacts, HostFacts, Unseen};
use crate::cgroup::Version;
use crate::cgroup::probe::{self, CgroupSupport, Support, Unavailable};

/// This host, looked at once: facts for the plan, and places for the driver.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) facts: HostFacts,
    #[cfg_attr(not(feature = "process"), expect(dead_code, reason = "for drivers"))]
    pub(crate) cgroups: Arc<CgroupSupport>,
}

/// How long an answer is good. What it says may change at any time anyhow: what is not so any
/// more shows as an error of the step that needed it.
const FRESH: Duration = Duration::from_secs(5);

/// The last answer.
static LAST: Mutex<Option<Last>> = Mutex::new(None);

/// An answer, for whom and when, and what tells of mounts since.
#[derive(Debug)]
struct Last {
    who: Asker,
    when: Instant,
    mounts: Option<File>,
    host: Arc<Host>,
}

impl Last {
    fn is_good_for(&self, asker: &Asker) -> bool {
        self.who == *asker && self.when.elapsed() < FRESH && !self.mounts_changed()
    }

    /// Whether anything was mounted, unmounted or remounted (`proc_pid_mountinfo(5)`): a guest
    /// that keeps the host's view must not find a control group file system that nobody knew of.
    fn mounts_changed(&self) -> bool {
        const AT_ONCE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let Some(mounts) = &self.mounts else {
            return true;
        };
        let mut fds = [PollFd::new(mounts, PollFlags::PRI)];
        let changed = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::PRI | PollFlags::ERR);
        poll(&mut fds, Some(&AT_ONCE)).is_err() || fds.iter().any(changed)
    }
}

/// What a caller can change of itself between two sandboxes, and the answers with it.
#[derive(Debug, PartialEq, Eq)]
struct Asker {
    euid: u32,
    egid: u32,
    capabilities: Option<u64>,
    /// Its user and mount namespaces.
    namespaces: [Option<PathBuf>; 2],
    /// Its place in each hierarchy; root's daemons move processes about.
    cgroups: Vec<u8>,
}

impl Asker {
    fn current() -> Self {
        let capabilities = rustix::thread::capabilities(None).ok();
        Self {
            euid: rustix::process::geteuid().as_raw(),
            egid: rustix::process::getegid().as_raw(),
            capabilities: capabilities.map(|sets| sets.effective.bits()),
            namespaces: ["user", "mnt"].map(|ns| read_link(format!("/proc/self/ns/{ns}")).ok()),
            cgroups: std::fs::read("/proc/self/cgroup").unwrap_or_default(),
        }
    }
}

impl Host {
    /// This host, as it was at most some seconds ago: looking costs half a millisecond, a good
    /// part of a sandbox.
    pub(crate) fn recent() -> Arc<Self> {
        let asker = Asker::current();
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|last| last.is_good_for(&asker)) {
            return known.host.clone();
        }
        // Opened before the look: it tells of what changes from now on.
        let mounts = File::open("/proc/self/mountinfo").ok();
        let host = Arc::new(Self::look());
        *last = Some(Last {
            who: asker,
            when: Instant::now(),
            mounts,
            host: host.clone(),
        });
        host
    }

    /// Makes the next sandbox look again: something was not as the last answer said.
    pub(crate) fn forget() {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Looks at this host.
    pub(crate) fn look() -> Self {
        let cgroups = probe::probe();
        let mut facts = super::probe::without_cgroups();
        let unseen = facts.unseen.take().or_else(|| unseen(&cgroups));
        facts.unseen = unseen;
        facts.cgroups = CgroupFacts {
            memory: fact(&cgroups.memory),
            pids: fact(&cgroups.pids),
            cpu: fact(&cgroups.cpu),
            cpuacct: fact(&cgroups.cpuacct),
            freezer: fact(&cgroups.freezer),
        };
        Self {
            facts,
            cgroups: Arc::new(cgroups),
        }
    }
}

/// A control file that gave no answer.
fn unseen(cgroups: &CgroupSupport) -> Option<Unseen> {
    let supports = [
        &cgroups.memory,
        &cgroups.pids,
        &cgroups.cpu,
        &cgroups.cpuacct,
        &cgroups.freezer,
    ];
    supports.into_iter().find_map(|support| match support {
        Err(Unavailable::Unreadable { path, errno, .. }) => Unseen::from_errno(path, *errno),
        _ => None,
    })
}

fn fact(support: &Support) -> ControllerFacts {
    match support {
        Ok(place) => ControllerFacts::Usable(match place.version {
            Version::V1 => CgroupVersion::V1,
            Version::V2 => CgroupVersion::V2,
        }),
        Err(reason) => ControllerFacts::Unusable {
            reason: reason.to_string(),
            fix: reason.hint(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_its_asker_and_for_some_seconds() {
        let of = |when| Last {
            who: Asker::current(),
            when,
            mounts: File::open("/proc/self/mountinfo").ok(),
            host: Arc::new(Host::look()),
        };
        let fresh = of(Instant::now());
        assert!(fresh.is_good_for(&Asker::current()));
        let mut other = Asker::current();
        other.euid += 1;
        assert!(!fresh.is_good_for(&other));
        let mut other = Asker::current();
        other.cgroups.extend(b"1:x:/moved\n");
        assert!(!fresh.is_good_for(&other));
        if let Some(old) = Instant::now().checked_sub(FRESH) {
            assert!(!of(old).is_good_for(&Asker::current()));
        }
        let blind = Last {
            mounts: None,
            ..fresh
        };
        assert!(!blind.is_good_for(&Asker::current()));
    }
}
