//! What a failed step of the setup worked on, in words, and what may help.

use kavach_proto::{Failure, Step};

use super::sources;
use crate::plan::{MountStep, Plan};

/// What a failed step worked on, and what may help.
pub(super) fn describe(failure: &Failure, plan: &Plan) -> (String, Option<String>) {
    let index = failure.index as usize;
    let at_mount = || sources::step_of(plan, index).map_or_else(|| "the view".into(), shown);
    const EPERM: u32 = 1;
    const ENODEV: u32 = 19;
    const ESTALE: u32 = 116;
    let denied = failure.errno == EPERM;
    let fix = |text: &str| Some(text.to_owned());
    match Step::from_number(failure.step) {
        Some(Step::OpenSource | Step::Mount) => {
            let mounts_proc = matches!(sources::step_of(plan, index), Some(MountStep::Proc { .. }));
            let hint = if failure.errno == ESTALE {
                fix("something else was put in its place after kavach had looked at it: try again")
            } else if denied && mounts_proc {
                fix(
                    "the host's /proc is masked, as containers do by default; run the container \
                     with unmasked paths (docker: --security-opt systempaths=unconfined)",
                )
            } else {
                None
            };
            (at_mount(), hint)
        }
        Some(Step::IdMapMount) => (
            at_mount(),
            fix(
                "its file system cannot show files under other owners, as overlays, NFS and most \
                 FUSE file systems cannot: run kavach as the directory's owner, or put the \
                 directory on ext4, xfs, btrfs or tmpfs",
            ),
        ),
        Some(Step::Overlay) => {
            let hint = match failure.errno {
                ENODEV => "the kernel has no overlayfs: load its module (modprobe overlay)",
                EPERM => "overlays in user namespaces need Linux 5.11 or later",
                _ => {
                    "a file system that cannot be a layer of an overlay, or an upper directory \
                     that another overlay uses; `dmesg` says which"
                }
            };
            (at_mount(), fix(hint))
        }
        Some(Step::Clone) if denied => (
            "the namespaces of the plan".into(),
            fix("user namespaces are not allowed here; `kavach doctor` says why and what helps"),
        ),
        Some(Step::LandlockRule) => (
            plan.landlock
                .as_ref()
                .and_then(|l| l.rules.get(index))
                .map_or_else(|| "a rule".into(), |r| r.path.display().to_string()),
            None,
        ),
        Some(Step::Rlimits) => (
            plan.rlimits
                .get(index)
                .map_or_else(|| "a limit".into(), |r| format!("{r:?}")),
            None,
        ),
        _ => ("the new sandbox".into(), None),
    }
}

/// A step in a few words, `bind /etc/ssl`: its fields are for `Debug`, some are whole files.
fn shown(step: &MountStep) -> String {
    let value = serde_json::to_value(step).unwrap_or_default();
    let named = value.as_object().and_then(|named| named.iter().next());
    let text = named.map(|(kind, fields)| {
        let directory = fields.get("lower").or(fields.get("directory"));
        let target = fields
            .get("target")
            .or(directory.and_then(|d| d.get("path")));
        let target = target.and_then(serde_json::Value::as_str);
        format!("{} {}", kind.replace('_', " "), target.unwrap_or_default())
    });
    text.unwrap_or_else(|| "the view".into())
}
