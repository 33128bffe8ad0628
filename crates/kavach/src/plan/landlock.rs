//! Path rules in the kernel's own numbers, for the ABI that the host has.
//!
//! Landlock can only allow: it cannot take a path away below one that it allowed. `EXECUTE`
//! stops `execve`, not `ld.so ./program`, which merely reads. It is the second line behind the
//! view, and the only one over the host's own files.

use std::path::PathBuf;

use super::isolation::Isolation;
use super::settle::{Outcome, Settler};
use super::view::HOME;
use super::{LandlockPlan, LandlockRule, MountStep, ViewPlan};
use crate::config::Spec;
use crate::control::Control;
use crate::error::Result;
use crate::host::HostFacts;

/// The newest ABI whose rights are listed here.
const NEWEST_ABI: u32 = 7;

/// The rights of `struct landlock_ruleset_attr` and `landlock_path_beneath_attr`, as in
/// `include/uapi/linux/landlock.h` and the kernel's `userspace-api/landlock.rst`.
pub mod access {
    /// Execute a file.
    pub const EXECUTE: u64 = 1;
    /// Open a file for writing.
    pub const WRITE_FILE: u64 = 1 << 1;
    /// Open a file for reading.
    pub const READ_FILE: u64 = 1 << 2;
    /// List a directory.
    pub const READ_DIR: u64 = 1 << 3;
    /// Remove a directory.
    pub const REMOVE_DIR: u64 = 1 << 4;
    /// Remove a file.
    pub const REMOVE_FILE: u64 = 1 << 5;
    /// Make a character device.
    pub const MAKE_CHAR: u64 = 1 << 6;
    /// Make a directory.
    pub const MAKE_DIR: u64 = 1 << 7;
    /// Make a regular file.
    pub const MAKE_REG: u64 = 1 << 8;
    /// Make a unix socket.
    pub const MAKE_SOCK: u64 = 1 << 9;
    /// Make a named pipe.
    pub const MAKE_FIFO: u64 = 1 << 10;
    /// Make a block device.
    pub const MAKE_BLOCK: u64 = 1 << 11;
    /// Make a symbolic link.
    pub const MAKE_SYM: u64 = 1 << 12;
    /// Link or rename between directories (ABI 2). Under ABI 1 that is always denied.
    pub const REFER: u64 = 1 << 13;
    /// Shorten a file (ABI 3).
    pub const TRUNCATE: u64 = 1 << 14;
    /// `ioctl` on a device (ABI 5).
    pub const IOCTL_DEV: u64 = 1 << 15;

    /// Bind a TCP port (ABI 4).
    pub const NET_BIND_TCP: u64 = 1;
    /// Connect to a TCP port (ABI 4).
    pub const NET_CONNECT_TCP: u64 = 1 << 1;

    /// Connect to abstract unix sockets outside the domain (ABI 6).
    pub const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    /// Signal processes outside the domain (ABI 6).
    pub const SCOPE_SIGNAL: u64 = 1 << 1;
}
use access::*;

/// Every right of ABI 1.
const ABI_1: u64 = (MAKE_SYM << 1) - 1;
/// Rights that a rule on a file may have; the kernel refuses others there (`EINVAL`).
const ON_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
/// Read and run.
const READ_EXECUTE: u64 = EXECUTE | READ_FILE | READ_DIR;
/// Everything but making devices, which nothing inside needs.
const SCRATCH: u64 = (ABI_1 & !(MAKE_CHAR | MAKE_BLOCK)) | REFER | TRUNCATE;
/// On the host's own files nothing that a host program would meet as anything but a file: no
/// socket, and no pipe, which would keep it waiting.
const WRITE_THROUGH: u64 = SCRATCH & !(MAKE_SOCK | MAKE_FIFO);
/// Use a device.
const DEVICE: u64 = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV;

/// What the kernel of this ABI can handle of paths.
const fn handled_fs(abi: u32) -> u64 {
    let mut rights = ABI_1;
    if abi >= 2 {
        rights |= REFER;
    }
    if abi >= 3 {
        rights |= TRUNCATE;
    }
    if abi >= 5 {
        rights |= IOCTL_DEV;
    }
    rights
}

pub(super) fn plan(
    spec: &Spec,
    host: &HostFacts,
    isolation: &Isolation,
    view: &ViewPlan,
    settler: &mut Settler<'_>,
) -> Result<Option<LandlockPlan>> {
    let abi = host.landlock_abi.min(NEWEST_ABI);
    settler.settle(Control::Landlock, "path rules", || {
        if abi == 0 {
            let found = if host.landlock_reason.is_empty() {
                "no Landlock".to_owned()
            } else {
                host.landlock_reason.clone()
            };
            Outcome::missing(
                "Landlock ABI 1 or later (Linux 5.13)",
                found,
                "boot with `landlock` in the lsm= list (CONFIG_SECURITY_LANDLOCK), or make \
                 `landlock` preferred",
            )
        } else {
            Outcome::held(format!("Landlock ABI {abi}{}", lacks(abi)))
        }
    })?;
    if !settler.holds(Control::Landlock) {
        return Ok(None);
    }
    let handled = handled_fs(abi);
    let rules = if view.private_root {
        private_rules(spec, view)
    } else {
        host_rules(view)
    };
    let rules = rules
        .into_iter()
        .map(|(path, access)| LandlockRule {
            path,
            access: access & handled,
        })
        .collect();
    Ok(Some(LandlockPlan {
        abi,
        handled_fs: handled,
        // Denied whole where there is no network: a second line behind the empty namespace. With
        // a network, ports are the network policy's affair.
        handled_net: if abi >= 4 && isolation.namespaces.network {
            NET_BIND_TCP | NET_CONNECT_TCP
        } else {
            0
        },
        scoped: if abi >= 6 { SCOPES } else { 0 },
        rules,
    }))
}

/// What is cut off from outside the domain. The whole sandbox is one domain (the agent enters it
/// before it serves), so its commands still reach each other.
const SCOPES: u64 = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;

/// What a kernel of this ABI leaves open, or refuses too much of.
fn lacks(abi: u32) -> String {
    let lacks: Vec<&str> = [
        (2, "renaming between directories is refused"),
        (3, "shortening files is not checked"),
        (4, "no TCP rules"),
        (5, "device ioctls are not checked"),
        (6, "no scopes"),
    ]
    .into_iter()
    .filter(|(since, _)| abi < *since)
    .map(|(_, lack)| lack)
    .collect();
    if lacks.is_empty() {
        String::new()
    } else {
        format!(" ({})", lacks.join("; "))
    }
}

/// Rules over a private root: each mount by what it is.
fn private_rules(spec: &Spec, view: &ViewPlan) -> Vec<(PathBuf, u64)> {
    // `/` itself can be listed; the view has only what may be seen.
    let mut rules: Vec<(PathBuf, u64)> = vec![("/".into(), READ_DIR)];
    for step in &view.mounts {
        match step {
            // The public entries of /etc are covered by the rule on the whole of it.
            MountStep::Bind { target, .. } if target.starts_with("/etc") => {}
            MountStep::Bind {
                target,
                allow_dev: true,
                ..
            } => rules.push((target.clone(), DEVICE)),
            MountStep::Bind {
                target,
                is_dir: true,
                ..
            } => {
                rules.push((target.clone(), READ_EXECUTE));
            }
            MountStep::Bind {
                target,
                is_dir: false,
                ..
            } => {
                rules.push((target.clone(), READ_EXECUTE & ON_FILES));
            }
            MountStep::Workspace { lower, .. } => rules.push((lower.path.clone(), SCRATCH)),
            MountStep::WriteThrough { directory } => {
                rules.push((directory.path.clone(), WRITE_THROUGH));
            }
            _ => {}
        }
    }
    rules.extend([
        ("/etc".into(), READ_FILE | READ_DIR),
        ("/run".into(), READ_FILE | READ_DIR),
        // Programs name their threads and tune their own scores there; the rest of proc guards
        // itself and is masked.
        ("/proc".into(), READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE),
        ("/dev/pts".into(), DEVICE | READ_DIR),
        ("/dev/shm".into(), SCRATCH & !EXECUTE),
        ("/tmp".into(), SCRATCH),
        ("/var/tmp".into(), SCRATCH),
        (HOME.into(), SCRATCH),
    ]);
    // No rule for secret files: what is at their paths are links to descriptors of memfds, and
    // files of kernel-internal mounts are outside of Landlock's reach (landlock(7)).
    // Below /etc, a read path that was asked for may also be run, as elsewhere.
    for path in &spec.policy.filesystem.read {
        if path.starts_with("/etc") {
            rules.push((path.clone(), EXECUTE | READ_FILE));
        }
    }
    rules
}

/// Rules over the host's own files: read and run everything that the caller may, write nothing
/// but temporary files, devices and the workspace.
fn host_rules(view: &ViewPlan) -> Vec<(PathBuf, u64)> {
    let mut rules = vec![
        ("/".into(), READ_EXECUTE),
        ("/tmp".into(), SCRATCH),
        ("/var/tmp".into(), SCRATCH),
        ("/dev".into(), DEVICE | READ_DIR),
    ];
    rules.extend(view.mounts.iter().filter_map(|step| match step {
        MountStep::Workspace { lower, .. } => Some((lower.path.clone(), SCRATCH)),
        _ => None,
    }));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_abi_handles_what_its_kernel_knows() {
        // The masks of the kernel's header: LANDLOCK_MASK_ACCESS_FS of each version.
        let masks = [
            (1, 0x1fff),
            (2, 0x3fff),
            (3, 0x7fff),
            (4, 0x7fff),
            (5, 0xffff),
            (6, 0xffff),
            (7, 0xffff),
        ];
        for (abi, mask) in masks {
            assert_eq!(handled_fs(abi), mask, "ABI {abi}");
        }
    }

    #[test]
    fn old_abis_say_what_they_leave_open() {
        assert!(lacks(1).contains("renaming") && lacks(1).contains("scopes"));
        assert_eq!(lacks(5), " (no scopes)");
        assert_eq!(lacks(7), "");
    }

    #[test]
    fn scratch_makes_no_devices() {
        assert_eq!(SCRATCH & (MAKE_CHAR | MAKE_BLOCK), 0);
        assert_ne!(SCRATCH & MAKE_SOCK, 0);
        assert_eq!(WRITE_THROUGH & (MAKE_SOCK | MAKE_FIFO), 0);
    }
}
