//! Limits of the tree and of each process, each with what holds it.

use super::isolation::Isolation;
use super::settle::{Lack, Outcome, Settler};
use super::{LimitMechanism, LimitsPlan, Mapping, PlannedLimit, Resource, Rlimit, view};
use crate::config::Spec;
use crate::control::{Control, ControlState};
use crate::error::Result;
use crate::host::{CgroupFacts, CgroupVersion, ControllerFacts, HostFacts};

/// The agent counts among its guest's processes where the two share an id.
const AGENT_PROCESSES: u64 = 1;

pub(super) fn plan(
    spec: &Spec,
    host: &HostFacts,
    isolation: &Isolation,
    has_filter: bool,
    settler: &mut Settler<'_>,
) -> Result<(LimitsPlan, Vec<Rlimit>)> {
    let limits = &spec.policy.limits;
    let cgroups = &cgroups(isolation, host);
    let own_users = isolation.mapping != Mapping::None;
    let mut out = LimitsPlan::default();
    // A core file would hold the guest's memory and land wherever core_pattern says, which is
    // the host's.
    let mut rlimits = vec![Rlimit {
        resource: Resource::Core,
        soft: 0,
        hard: 0,
    }];

    if let Some(mb) = wanted(settler, Control::Memory, limits.memory_mb) {
        let bytes = mb << 20;
        let outcome = by_cgroup(
            &cgroups.memory,
            |version| match version {
                CgroupVersion::V1 => format!("cgroup v1 memory.limit_in_bytes = {bytes}"),
                CgroupVersion::V2 => format!("cgroup v2 memory.max = {bytes}"),
            },
            has_filter.then(|| {
                "the supervisor sums the tree's proportional set sizes and its tmpfs, and kills \
                 above the limit; memfd_create is denied"
                    .to_owned()
            }),
        );
        settler.add(Control::Memory, format!("{mb} MiB"), outcome)?;
        out.memory_bytes = Some(held(settler, Control::Memory, &cgroups.memory, bytes));
    }
    if let Some(pids) = wanted(settler, Control::Pids, limits.pids) {
        let outcome = by_cgroup(
            &cgroups.pids,
            |version| format!("cgroup {} pids.max = {pids}", version.as_str()),
            // Outside a user namespace of the sandbox's own it would count the caller's other
            // processes, and not hold for root at all.
            own_users.then(|| format!("RLIMIT_NPROC = {pids} inside the user namespace")),
        );
        settler.add(Control::Pids, pids.to_string(), outcome)?;
        let planned = held(settler, Control::Pids, &cgroups.pids, pids);
        out.pids = Some(planned);
        if own_users {
            // The kernel looks at this one first. Beside a cgroup it stands behind it: at the
            // same number the cgroup would never refuse a fork, and so never count one.
            let room = match planned.mechanism {
                LimitMechanism::Cgroup(_) => u64::from(pids),
                _ => 0,
            };
            let most = u64::from(pids) + room + AGENT_PROCESSES;
            rlimits.push(Rlimit {
                resource: Resource::Processes,
                soft: most,
                hard: most,
            });
        }
    }
    if let Some(cpus) = wanted(settler, Control::Cpu, limits.cpus) {
        let whole = whole_cpus(cpus, host.nproc);
        let outcome = by_cgroup(
            &cgroups.cpu,
            |version| match version {
                CgroupVersion::V1 => format!("cgroup v1 cpu.cfs_quota_us for {cpus} of a CPU"),
                CgroupVersion::V2 => format!("cgroup v2 cpu.max for {cpus} of a CPU"),
            },
            // The guest could widen its own set of CPUs again.
            has_filter.then(|| {
                format!(
                    "sched_setaffinity to {whole} of {} CPUs, and denied inside",
                    host.nproc
                )
            }),
        );
        settler.add(Control::Cpu, format!("{cpus} of a CPU's time"), outcome)?;
        let planned = held(settler, Control::Cpu, &cgroups.cpu, cpus);
        if planned.mechanism == LimitMechanism::Approximate {
            out.affinity_cpus = Some(whole);
        }
        out.cpus = Some(planned);
    }
    if let Some(ms) = wanted(settler, Control::CpuTime, limits.cpu_time_ms) {
        let seconds = ms.div_ceil(1000);
        let outcome = by_cgroup(
            &cgroups.cpuacct,
            |version| match version {
                CgroupVersion::V1 => "cgroup v1 cpuacct.usage, watched by the supervisor".into(),
                CgroupVersion::V2 => "cgroup v2 cpu.stat, watched by the supervisor".into(),
            },
            Some(format!(
                "RLIMIT_CPU = {seconds} s for each process, not for their sum"
            )),
        );
        settler.add(Control::CpuTime, format!("{ms} ms"), outcome)?;
        out.cpu_time_ms = Some(held(settler, Control::CpuTime, &cgroups.cpuacct, ms));
        // The hard limit kills where the guest handles the soft one's SIGXCPU.
        let hard = seconds.saturating_add(1);
        rlimits.push(Rlimit {
            resource: Resource::Cpu,
            soft: seconds,
            hard,
        });
    }
    if let Some(files) = wanted(settler, Control::OpenFiles, limits.open_files) {
        settler.add(
            Control::OpenFiles,
            format!("{files} of each process"),
            Outcome::held(format!("RLIMIT_NOFILE = {files}")),
        )?;
        let files = u64::from(files);
        rlimits.push(Rlimit {
            resource: Resource::OpenFiles,
            soft: files,
            hard: files,
        });
    }
    if let Some(mb) = wanted(settler, Control::FileSize, limits.file_size_mb) {
        let bytes = mb << 20;
        settler.add(
            Control::FileSize,
            format!("{mb} MiB"),
            Outcome::held(format!("RLIMIT_FSIZE = {bytes}")),
        )?;
        rlimits.push(Rlimit {
            resource: Resource::FileSize,
            soft: bytes,
            hard: bytes,
        });
    }
    Ok((out, rlimits))
}

/// The control groups that would hold this guest: none, if it could write itself out of them.
fn cgroups(isolation: &Isolation, host: &HostFacts) -> CgroupFacts {
    if view::keeps_cgroups(isolation, host) {
        return host.cgroups.clone();
    }
    CgroupFacts::none(
        "the guest has the caller's id and could write itself out of its control group",
        "give it a mount namespace (namespaces.mount = true), in which it can only read them",
    )
}

/// The limit, unless its control is switched off.
fn wanted<T>(settler: &Settler<'_>, control: Control, limit: Option<T>) -> Option<T> {
    limit.filter(|_| settler.asks_for(control))
}

/// By a cgroup where there is one, else by the weaker mechanism where that can be had.
fn by_cgroup(
    controller: &ControllerFacts,
    mechanism: impl FnOnce(CgroupVersion) -> String,
    weaker: Option<String>,
) -> Outcome {
    match controller {
        ControllerFacts::Usable(version) => Outcome::held(mechanism(*version)),
        ControllerFacts::Unusable { reason, fix } => {
            let lack = Lack::new("a cgroup of its own", reason.clone(), fix.clone());
            match weaker {
                Some(mechanism) => Outcome::Approximate { mechanism, lack },
                None => Outcome::Missing(lack),
            }
        }
    }
}

/// The limit with the mechanism that the settled row stands for.
fn held<T>(
    settler: &Settler<'_>,
    control: Control,
    controller: &ControllerFacts,
    limit: T,
) -> PlannedLimit<T> {
    let mechanism = match (settler.state(control), controller) {
        (Some(ControlState::Enforced), ControllerFacts::Usable(version)) => {
            LimitMechanism::Cgroup(*version)
        }
        (Some(ControlState::Approximate), _) => LimitMechanism::Approximate,
        _ => LimitMechanism::None,
    };
    PlannedLimit { limit, mechanism }
}

/// Whole CPUs that give at least `cpus`, as far as the host has them.
fn whole_cpus(cpus: f64, nproc: u32) -> u32 {
    // Counted, not cast: the policy's range is small and a cast of a float hides its edges.
    (1..=nproc.max(1))
        .find(|n| f64::from(*n) >= cpus)
        .unwrap_or(nproc.max(1))
}

#[cfg(test)]
mod tests {
    use super::whole_cpus;

    #[test]
    fn fractions_of_a_cpu_round_up_and_stay_within_the_host() {
        assert_eq!(whole_cpus(0.5, 8), 1);
        assert_eq!(whole_cpus(1.0, 8), 1);
        assert_eq!(whole_cpus(1.1, 8), 2);
        assert_eq!(whole_cpus(64.0, 8), 8);
        assert_eq!(whole_cpus(1.0, 0), 1);
    }
}
