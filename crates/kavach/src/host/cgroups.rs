//! What the cgroup module found, as facts and as what a driver works with.

use std::fs::read_link;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CgroupFacts, CgroupVersion, ControllerFacts, HostFacts};
use crate::cgroup::Version;
use crate::cgroup::probe::{self, CgroupSupport, Support};

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

/// The last answer, and for whom.
static LAST: Mutex<Option<(Asker, Instant, Arc<Host>)>> = Mutex::new(None);

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
        if let Some((who, when, host)) = &*last
            && *who == asker
            && when.elapsed() < FRESH
        {
            return host.clone();
        }
        let host = Arc::new(Self::look());
        *last = Some((asker, Instant::now(), host.clone()));
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
