//! Namespaces and user ids.

use super::settle::{Outcome, Settler};
use super::{Mapping, NamespacePlan, workspace};
use crate::config::Spec;
use crate::control::Control;
use crate::error::Result;
use crate::host::{Availability, HostFacts};

/// The guest's id inside a root of its own.
pub(super) const GUEST_ID: u32 = 1000;
/// How many ids a range sandbox has, as container engines have it: enough for every id up to
/// `nobody`.
const RANGE: u32 = 65_536;

/// What the guest shares with the host and what it does not.
pub(super) struct Isolation {
    pub(super) namespaces: NamespacePlan,
    pub(super) mapping: Mapping,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether the private view was asked for and can be built.
    pub(super) private_view: bool,
}

/// Why a user namespace cannot be had.
struct NoUserns {
    required: &'static str,
    found: String,
    fix: String,
}

impl NoUserns {
    fn outcome(&self) -> Outcome {
        Outcome::missing(self.required, self.found.clone(), self.fix.clone())
    }
}

pub(super) fn plan(spec: &Spec, host: &HostFacts, settler: &mut Settler<'_>) -> Result<Isolation> {
    let policy = &spec.policy;
    let others = [
        Control::PidNamespace,
        Control::MountNamespace,
        Control::NetworkNamespace,
        Control::IpcNamespace,
        Control::UtsNamespace,
        Control::CgroupNamespace,
    ];
    let asked_user = policy.asks_for(Control::UserNamespace);
    let asked_others = others.into_iter().any(|control| policy.asks_for(control));
    // Without root's rights, the kernel makes the other namespaces only inside a user namespace.
    let needs_user = asked_others && !host.is_privileged();
    let lack = userns_lack(host);

    if asked_user {
        let outcome = match &lack {
            None => Outcome::held("clone(CLONE_NEWUSER)"),
            Some(lack) => lack.outcome(),
        };
        settler.add(Control::UserNamespace, "own", outcome)?;
    } else if needs_user && lack.is_none() {
        settler.add(
            Control::UserNamespace,
            "added: an ordinary user makes the others only through it",
            Outcome::held("clone(CLONE_NEWUSER)"),
        )?;
    }
    let user = (asked_user || needs_user) && lack.is_none();
    let can_others = user || host.is_privileged();
    for (control, flag) in others.into_iter().zip([
        "CLONE_NEWPID",
        "CLONE_NEWNS",
        "CLONE_NEWNET",
        "CLONE_NEWIPC",
        "CLONE_NEWUTS",
        "CLONE_NEWCGROUP",
    ]) {
        settler.settle(control, "own", || match &lack {
            Some(lack) if !can_others => lack.outcome(),
            _ => Outcome::held(format!("clone({flag})")),
        })?;
    }
    // From here on each row stands on the rows it needs, not on what the host could give: a
    // policy that contradicts itself never gets as far, and would be refused here too.
    let own_network = settler.holds(Control::NetworkNamespace);
    settler.settle(Control::Network, "off", || match &lack {
        _ if own_network => Outcome::held("a network namespace with nothing but its loopback"),
        Some(lack) if !can_others => lack.outcome(),
        _ => Outcome::missing(
            "a network namespace of the sandbox's own",
            "the host's",
            "ask for `network_namespace` too",
        ),
    })?;
    // A private root is made of mounts and shows a /proc of its own.
    let own_mounts = settler.holds(Control::MountNamespace) && settler.holds(Control::PidNamespace);
    settler.settle(
        Control::FilesystemView,
        workspace::view(spec),
        || match &lack {
            _ if own_mounts => Outcome::held("pivot_root into a tmpfs of the sandbox's own"),
            Some(lack) if !can_others => lack.outcome(),
            _ => Outcome::missing(
                "mount and pid namespaces of the sandbox's own",
                "the host's",
                "ask for `mount_namespace` and `pid_namespace` too",
            ),
        },
    )?;

    let namespaces = NamespacePlan {
        user,
        pid: settler.holds(Control::PidNamespace),
        mount: settler.holds(Control::MountNamespace),
        network: settler.holds(Control::NetworkNamespace),
        ipc: settler.holds(Control::IpcNamespace),
        uts: settler.holds(Control::UtsNamespace),
        cgroup: settler.holds(Control::CgroupNamespace),
    };
    let private_view = settler.holds(Control::FilesystemView);
    let (mapping, uid, gid) = match (user, host.can_map_range(RANGE)) {
        (false, _) => (Mapping::None, host.euid, host.egid),
        (true, true) => (Mapping::Range { count: RANGE }, GUEST_ID, GUEST_ID),
        (true, false) => {
            let (uid, gid) = if private_view {
                (GUEST_ID, GUEST_ID)
            } else {
                (host.euid, host.egid)
            };
            (Mapping::SelfSingle { uid, gid }, uid, gid)
        }
    };
    Ok(Isolation {
        namespaces,
        mapping,
        uid,
        gid,
        private_view,
    })
}

/// Why this host gives no user namespace that would protect; `None` where it does.
fn userns_lack(host: &HostFacts) -> Option<NoUserns> {
    if let Availability::No { reason, fix } = &host.userns {
        return Some(NoUserns {
            required: "user namespaces",
            found: reason.clone(),
            fix: fix.clone(),
        });
    }
    // The namespace itself can be made, but the rights in it are taken away at once.
    if host.apparmor_restricts_userns && !host.is_privileged() {
        return Some(NoUserns {
            required: "user namespaces that AppArmor does not restrict",
            found: "kernel.apparmor_restrict_unprivileged_userns is 1".into(),
            fix: "give the program an AppArmor profile with `userns,`, or run \
                  `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
                .into(),
        });
    }
    // Root mapped to an id inside is still root for every file outside: it needs other ids.
    if host.euid == 0 && !host.can_map_range(RANGE) {
        return Some(NoUserns {
            required: "65536 spare user ids, CAP_SETUID and CAP_SETGID, so that the guest is \
                       nobody outside",
            found: "root without them".into(),
            fix: "run kavach as an ordinary user, or give its container more user ids".into(),
        });
    }
    None
}
