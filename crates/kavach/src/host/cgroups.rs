//! What the cgroup module found, as facts and as what a driver works with.

use std::sync::Arc;

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

impl Host {
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
