//! The kernel's part.

use kavach::host::{Availability, ControllerFacts, HostFacts};

use super::Check;

/// Landlock's ABI with everything that `strict` uses: scopes for signals and abstract sockets.
const FULL_LANDLOCK_ABI: u32 = 6;

pub(super) fn checks(facts: &HostFacts) -> Vec<Check> {
    let mut checks = vec![
        Check::info(
            "kernel",
            format!("Linux {} on {}", facts.kernel_release, facts.arch),
        ),
        Check::info("user", user(facts)),
        userns(facts),
        apparmor(facts),
        landlock(facts),
        seccomp(facts),
    ];
    let groups = &facts.cgroups;
    checks.extend([
        controller("memory", "the memory limit", &groups.memory),
        controller("pids", "the limit of processes", &groups.pids),
        controller("cpu", "the CPU quota", &groups.cpu),
        controller("cpuacct", "the account of CPU time", &groups.cpuacct),
        controller("freezer", "pausing a sandbox", &groups.freezer),
    ]);
    checks.push(match &facts.kvm {
        Availability::Yes => Check::ok("kvm", "/dev/kvm can be opened"),
        Availability::No { reason, .. } => Check::missing(
            "kvm",
            format!("{reason}; only backends that are still to come need it"),
            "modprobe kvm_intel || modprobe kvm_amd; usermod -aG kvm \"$USER\"",
        ),
    });
    checks.push(match &facts.container {
        None => Check::info("container", "none is recognised"),
        Some(engine) => Check::info(
            "container",
            format!("kavach itself runs in a container of {engine}"),
        ),
    });
    checks
}

fn user(facts: &HostFacts) -> String {
    match (facts.euid, facts.is_privileged()) {
        (0, true) => "root: each sandbox gets user ids of its own".into(),
        (0, false) => "root without CAP_SYS_ADMIN: treated like an ordinary user".into(),
        (uid, _) => format!("uid {uid}: sandboxes run under it, in a user namespace"),
    }
}

fn userns(facts: &HostFacts) -> Check {
    match &facts.userns {
        Availability::Yes => Check::ok("user namespaces", "not switched off"),
        Availability::No { reason, fix } => Check::missing("user namespaces", reason, fix),
    }
}

fn apparmor(facts: &HostFacts) -> Check {
    if !facts.apparmor_restricts_userns {
        return Check::ok("apparmor", "does not restrict user namespaces");
    }
    if facts.is_privileged() {
        return Check::info(
            "apparmor",
            "restricts the user namespaces of ordinary users",
        );
    }
    Check::missing(
        "apparmor",
        "takes the rights away from user namespaces of ordinary users",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (or a profile for kavach with \
         the rule `userns,`)",
    )
}

fn landlock(facts: &HostFacts) -> Check {
    match facts.landlock_abi {
        0 => Check::missing(
            "landlock",
            &facts.landlock_reason,
            "boot Linux 5.13 or later with `landlock` in the kernel parameter lsm=",
        ),
        abi if abi < FULL_LANDLOCK_ABI => Check::info(
            "landlock",
            format!(
                "ABI {abi}; ABI {FULL_LANDLOCK_ABI} (Linux 6.12) also scopes sockets and signals"
            ),
        ),
        abi => Check::ok("landlock", format!("ABI {abi}")),
    }
}

fn seccomp(facts: &HostFacts) -> Check {
    if facts.seccomp_filter {
        return Check::ok("seccomp", "the kernel has filters");
    }
    Check::missing(
        "seccomp",
        "the kernel has no seccomp filters",
        "boot a kernel with CONFIG_SECCOMP_FILTER=y",
    )
}

/// Without the controller its limit is held approximately where the policy allows it.
fn controller(name: &str, serves: &str, facts: &ControllerFacts) -> Check {
    match facts {
        ControllerFacts::Usable(version) => {
            Check::ok(format!("cgroup {name}"), version.as_str().to_owned())
        }
        ControllerFacts::Unusable { reason, fix } => Check::missing(
            format!("cgroup {name}"),
            format!("{reason} (for {serves})"),
            fix,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::CheckStatus;

    fn status(facts: &HostFacts, name: &str) -> CheckStatus {
        let checks = checks(facts);
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.status == CheckStatus::Missing, check.fix.is_some());
        check.status
    }

    #[test]
    fn what_a_host_lacks_is_missing_and_has_a_fix() {
        let user = HostFacts::modern_user;
        for (facts, name) in [
            (user().without_userns(), "user namespaces"),
            (user().with_apparmor_restriction(), "apparmor"),
            (user().without_landlock(), "landlock"),
            (user().without_seccomp(), "seccomp"),
            (user(), "cgroup memory"),
            (user(), "kvm"),
        ] {
            assert_eq!(status(&facts, name), CheckStatus::Missing, "{name}");
        }
    }

    #[test]
    fn a_modern_host_of_root_lacks_nothing() {
        let checks = checks(&HostFacts::modern_root());
        let missing: Vec<&Check> = checks
            .iter()
            .filter(|check| check.status == CheckStatus::Missing)
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn apparmor_does_not_hold_root_back() {
        let facts = HostFacts::modern_root().with_apparmor_restriction();
        assert_eq!(status(&facts, "apparmor"), CheckStatus::Info);
    }
}
