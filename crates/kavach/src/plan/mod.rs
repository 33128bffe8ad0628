//! What will be done, before anything is done: plain data that can be read, compared and tested
//! for hosts that are not this one.

mod etc;
mod explain;
mod isolation;
mod landlock;
mod limits;
mod rootfs;
mod scratch;
mod settle;
mod shared;
#[cfg(test)]
#[cfg(feature = "process")]
mod tests;
mod types;
mod view;
mod workspace;

pub use etc::is_public_etc;
pub(crate) use etc::public_etc_names;
pub use explain::{ExplainedControl, Explanation, Obstacle, explain};
pub use landlock::access;
pub(crate) use scratch::STAGING;
pub use shared::{HostDirectory, HostIds, UpperPlan};
pub use types::{
    FilterOptions, FilterPlan, Identity, LandlockPlan, LandlockRule, LimitMechanism, LimitsPlan,
    Mapping, MountStep, NamespacePlan, Owner, Plan, PlannedControl, PlannedLimit, Resource, Rlimit,
    ViewPlan,
};
pub use view::SYSTEM_PATHS;

use crate::backend::{Backend, unavailable_in_build};
use crate::config::{Spec, Workspace};
use crate::control::Control;
use crate::error::{KavachError, Result};
use crate::host::HostFacts;
use crate::policy::Network;
use settle::{Outcome, Settler};

/// Where programs are looked for inside; the usual one of Debian's root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Plans the sandbox that `spec` asks for on a host with these facts.
///
/// Pure: it reads no file and no clock. The facts must have looked at [`Spec::host_paths`]; a
/// path that nobody looked at counts as missing.
///
/// # Errors
/// [`KavachError::ControlUnavailable`] for the first required control that this host cannot
/// enforce; [`KavachError::BackendUnavailable`] for a backend that this build does not have;
/// [`KavachError::PathMissing`] and [`KavachError::InvalidConfig`] for paths that cannot be
/// shown.
pub fn plan(spec: &Spec, host: &HostFacts) -> Result<Plan> {
    let settler = Settler::new(spec.backend, &spec.policy);
    Ok(plan_with(settler, spec, host)?.0)
}

/// Plans with a settler that stops at the first obstacle, or collects them.
fn plan_with(settler: Settler<'_>, spec: &Spec, host: &HostFacts) -> Result<(Plan, Vec<Obstacle>)> {
    if let Some(reason) = unavailable_in_build(spec.backend) {
        return Err(KavachError::BackendUnavailable {
            backend: spec.backend,
            reason,
            hint: None,
        });
    }
    if spec.backend == Backend::Noop {
        plan_noop(settler, spec, host)
    } else {
        plan_process(settler, spec, host)
    }
}

/// The process backend: everything is the kernel's, and asked for piece by piece.
fn plan_process(
    mut settler: Settler<'_>,
    spec: &Spec,
    host: &HostFacts,
) -> Result<(Plan, Vec<Obstacle>)> {
    let policy = &spec.policy;
    settle_filter(&mut settler, spec, host)?;
    let isolation = isolation::plan(spec, host, &mut settler)?;
    let private = isolation.private_view;
    let identity = identity(spec, &isolation, private);
    let view = view::plan(spec, host, &isolation, &identity)?;
    workspace::check(spec, &settler)?;
    settle_view(&mut settler, spec, &view)?;
    let landlock = landlock::plan(spec, host, &isolation, &view, &mut settler)?;
    let has_filter = settler.holds(Control::SyscallFilter);
    let (limits, rlimits) = limits::plan(spec, host, &isolation, has_filter, &mut settler)?;

    settler.settle(Control::Capabilities, "none", || {
        Outcome::held("all five capability sets emptied")
    })?;
    settler.settle(Control::NoNewPrivs, "on", || {
        Outcome::held("PR_SET_NO_NEW_PRIVS")
    })?;
    settler.settle(Control::AgentProtection, "on", || {
        Outcome::held("PR_SET_DUMPABLE 0 after every credential change")
    })?;
    settle_supervision(&mut settler, spec)?;

    let syscall_filter = policy
        .syscall_filter
        .profile
        .as_ref()
        .filter(|_| has_filter)
        .map(|profile| FilterPlan {
            profile: profile.clone(),
            options: FilterOptions {
                network: !policy.asks_for(Control::Network),
                deny_memfd: is_approximate(limits.memory_bytes),
                deny_unix_sockets: private
                    && (!policy.filesystem.read.is_empty() || workspace::writes_to_host(spec)),
                pin_cpus: is_approximate(limits.cpus),
            },
        });
    let (controls, obstacles) = settler.into_rows();
    let plan = Plan {
        backend: spec.backend,
        env: environment(&identity),
        identity,
        namespaces: isolation.namespaces,
        mapping: isolation.mapping,
        view,
        network: if isolation.namespaces.network {
            Network::Off
        } else {
            Network::On
        },
        syscall_filter,
        landlock,
        limits,
        rlimits,
        output_limit_bytes: policy.limits.output_kb.saturating_mul(1024),
        on_output: policy.limits.on_output,
        wall_limit_ms: spec.timeout_ms,
        controls,
    };
    Ok((plan, obstacles))
}

/// The noop backend: nothing is enforced, so nothing beyond `minimal` may be required.
fn plan_noop(
    mut settler: Settler<'_>,
    spec: &Spec,
    host: &HostFacts,
) -> Result<(Plan, Vec<Obstacle>)> {
    let policy = &spec.policy;
    workspace::check_noop(spec)?;
    let minimal = crate::policy::SandboxPolicy::minimal();
    for control in Control::ALL {
        match control {
            Control::Output | Control::WallTime | Control::Credentials => {}
            // What minimal asks of a backend that isolates, noop is known not to have.
            asked if minimal.asks_for(asked) => settler.record_absent(asked),
            other => settler.settle(other, "on", || {
                Outcome::missing(
                    "a backend that isolates",
                    "backend `noop`, which enforces nothing",
                    "use the policy `minimal`, or another backend",
                )
            })?,
        }
    }
    settle_supervision(&mut settler, spec)?;
    let identity = Identity {
        agent_id: spec.agent_id.clone(),
        hostname: None,
        uid: host.euid,
        gid: host.egid,
        home: "/".into(),
        cwd: "/".into(),
    };
    let (controls, obstacles) = settler.into_rows();
    let plan = Plan {
        backend: spec.backend,
        env: environment(&identity),
        identity,
        namespaces: NamespacePlan::default(),
        mapping: Mapping::None,
        view: view::untouched(),
        network: Network::On,
        syscall_filter: None,
        landlock: None,
        limits: LimitsPlan::default(),
        rlimits: Vec::new(),
        output_limit_bytes: policy.limits.output_kb.saturating_mul(1024),
        on_output: policy.limits.on_output,
        wall_limit_ms: spec.timeout_ms,
        controls,
    };
    Ok((plan, obstacles))
}

fn settle_filter(settler: &mut Settler<'_>, spec: &Spec, host: &HostFacts) -> Result<()> {
    let profile = spec
        .policy
        .syscall_filter
        .profile
        .as_deref()
        .unwrap_or_default();
    settler.settle(Control::SyscallFilter, profile, || {
        if host.arch != "x86_64" {
            Outcome::missing(
                "a system call table for this processor: x86_64",
                host.arch.clone(),
                "use a host of that architecture, or make `syscall_filter` preferred",
            )
        } else if !host.seccomp_filter {
            Outcome::missing(
                "seccomp filters (CONFIG_SECCOMP_FILTER, Linux 3.5)",
                "/proc/sys/kernel/seccomp/actions_avail is not there",
                "boot a kernel that has them",
            )
        } else {
            Outcome::held(format!("seccomp allowlist `{profile}`"))
        }
    })
}

fn settle_view(settler: &mut Settler<'_>, spec: &Spec, view: &ViewPlan) -> Result<()> {
    let fs = &spec.policy.filesystem;
    settler.settle(Control::ReadOnlyRoot, "on", || {
        if view.private_root {
            Outcome::held("root tmpfs remounted read-only")
        } else {
            Outcome::missing(
                "a root of the sandbox's own",
                "the host's root",
                "use the private filesystem view",
            )
        }
    })?;
    let mut asked = format!(
        "{} MiB and {} inodes, /dev/shm {} MiB",
        fs.tmp_mb, fs.tmp_inodes, fs.shm_mb
    );
    if let Some(quotas) = workspace::quotas(spec) {
        if !view.private_root && !settler.asks_for(Control::Disk) {
            let held = Outcome::held("size= and nr_inodes= of the workspace's tmpfs");
            return settler.add(Control::Disk, quotas, held);
        }
        asked = format!("{asked}, {quotas}");
    }
    settler.settle(Control::Disk, asked, || {
        if view.private_root {
            Outcome::held("size= and nr_inodes= of tmpfs")
        } else {
            Outcome::missing(
                "scratch directories of the sandbox's own",
                "the host's directories",
                "use the private filesystem view",
            )
        }
    })
}

/// What the supervisor itself does, on every backend.
fn settle_supervision(settler: &mut Settler<'_>, spec: &Spec) -> Result<()> {
    let asked = format!("{} KiB of each stream", spec.policy.limits.output_kb);
    settler.settle(Control::Output, asked, || {
        Outcome::held("bounded capture by the supervisor")
    })?;
    if let Some(timeout_ms) = spec.timeout_ms {
        settler.add(
            Control::WallTime,
            format!("{timeout_ms} ms"),
            Outcome::held("timer of the supervisor, which kills the tree"),
        )?;
    }
    if !spec.injections.is_empty() {
        settler.add(
            Control::Credentials,
            "by the chosen ways",
            Outcome::held("given at exec; never on a disk"),
        )?;
    }
    Ok(())
}

/// Who the guest is.
fn identity(spec: &Spec, isolation: &isolation::Isolation, private: bool) -> Identity {
    let home = if private { view::HOME } else { "/" };
    let cwd = spec
        .workspace()
        .map_or(std::path::Path::new(home), Workspace::directory);
    Identity {
        agent_id: spec.agent_id.clone(),
        hostname: isolation.namespaces.uts.then(|| spec.hostname.clone()),
        uid: isolation.uid,
        gid: isolation.gid,
        home: home.into(),
        cwd: cwd.into(),
    }
}

/// The clean environment: what programs need to find programs, a home and their language.
///
/// `TERM` is the plain one every terminfo has; a pty's own is set at the exec.
fn environment(identity: &Identity) -> Vec<(String, String)> {
    [
        ("PATH", PATH.to_owned()),
        ("HOME", identity.home.to_string_lossy().into_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("TERM", "xterm".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn is_approximate<T>(limit: Option<PlannedLimit<T>>) -> bool {
    limit.is_some_and(|l| l.mechanism == LimitMechanism::Approximate)
}
