//! Looking at this host. The only part of planning that reads files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::directories::id_without_links;
use super::unseen::Eyes;
use super::{Availability, CgroupFacts, FileId, HostFacts, IdRange, PathKind};
use crate::cgroup::layout::{LARGEST_MOUNTINFO, mount_points};
use crate::plan::{SYSTEM_PATHS, is_public_etc, public_etc_names};

/// Longest small file that is read; those of /proc and /sys are far shorter.
const SMALL_FILE_BYTES: u64 = 64 * 1024;

/// What this host can do, as this process.
///
/// Reads a handful of files of /proc and looks at about sixty paths; starts nothing. Control
/// groups are left as "not looked at": their module fills them in. That a user namespace can be
/// made is read from the switches that forbid it; a container's seccomp profile may still refuse
/// it, which shows at the start and is reported there.
pub(super) fn without_cgroups() -> HostFacts {
    let eyes = Eyes::default();
    let uname = rustix::system::uname();
    let status = read_small(&eyes, "/proc/self/status").unwrap_or_default();
    let (landlock_abi, landlock_reason) = landlock();
    let mut facts = HostFacts {
        kernel_release: uname.release().to_string_lossy().into_owned(),
        arch: uname.machine().to_string_lossy().into_owned(),
        euid: rustix::process::geteuid().as_raw(),
        egid: rustix::process::getegid().as_raw(),
        capabilities_effective: capability_set(&status, "CapEff:"),
        capabilities_bounding: capability_set(&status, "CapBnd:"),
        userns: userns(&eyes),
        apparmor_restricts_userns: read_number(
            &eyes,
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        )
        .is_some_and(|value| value != 0),
        uid_map: read_small(&eyes, "/proc/self/uid_map")
            .map(|map| id_ranges(&map))
            .unwrap_or_default(),
        landlock_abi,
        landlock_reason,
        seccomp_filter: eyes.exists("/proc/sys/kernel/seccomp/actions_avail"),
        unseen: None,
        cgroups: CgroupFacts::none("control groups were not looked at", "probe them"),
        cgroup_mounts: cgroup_mounts(&eyes),
        nproc: nproc(),
        page_size: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
        kvm: kvm(),
        container: container(&eyes),
        paths: BTreeMap::new(),
        linked: std::collections::BTreeSet::new(),
        ids: BTreeMap::new(),
        directories: BTreeMap::new(),
        root: None,
        tmpfs_user_xattr: tmpfs_user_xattr(&eyes),
    };
    for path in SYSTEM_PATHS {
        let kind = root_entry(&eyes, Path::new(path));
        facts.paths.insert(path.into(), kind);
    }
    for path in etc_entries(&eyes) {
        let kind = kind_of(&eyes, &path);
        if kind != PathKind::Missing {
            facts.paths.insert(path, kind);
        }
    }
    facts.unseen = eyes.unseen();
    facts
}

impl HostFacts {
    /// Looks at more paths, for instance those of
    /// [`Spec::host_paths`](crate::config::Spec::host_paths). Links are followed.
    ///
    /// What the host's own layout needs was looked at by [`probe`](super::probe) and stays as it is.
    #[must_use]
    pub fn looking_at<'a>(mut self, paths: impl IntoIterator<Item = &'a Path>) -> Self {
        for path in paths {
            let known = self.paths.get(path);
            if known.is_none_or(|kind| !matches!(kind, PathKind::Symlink(_))) {
                let (kind, id) = identify(fs::metadata(path));
                self.paths.insert(path.to_path_buf(), kind);
                self.ids.extend(id.map(|id| (path.to_path_buf(), id)));
            }
            // Of two looks: what is mounted later must be the file that the first one saw, so
            // the second has to see the same one without links.
            let direct = id_without_links(path).ok();
            if direct.is_none() || direct.as_ref() != self.ids.get(path) {
                self.linked.insert(path.to_path_buf());
            }
        }
        self
    }
}

/// A small file as text; `None` if it is not there or not readable.
fn read_small(eyes: &Eyes, path: &str) -> Option<String> {
    use io::Read as _;
    let mut text = String::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(SMALL_FILE_BYTES).read_to_string(&mut text));
    eyes.seen(Path::new(path), read).ok()?;
    Some(text)
}

fn read_number(eyes: &Eyes, path: &str) -> Option<u64> {
    read_small(eyes, path)?.trim().parse().ok()
}

/// A capability set of `/proc/self/status` (`proc_pid_status(5)`); empty if it is not there.
pub(super) fn capability_set(status: &str, key: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// The lines of a `uid_map` (`user_namespaces(7)`).
pub(super) fn id_ranges(map: &str) -> Vec<IdRange> {
    map.lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            let mut next = || numbers.next()?.ok();
            Some(IdRange {
                inside: next()?,
                outside: next()?,
                count: next()?,
            })
        })
        .collect()
}

/// The switches that forbid user namespaces.
fn userns(eyes: &Eyes) -> Availability {
    let switches = [
        (
            "/proc/sys/user/max_user_namespaces",
            "sysctl -w user.max_user_namespaces=15000",
        ),
        (
            // Debian's and Arch's own switch; not there on other kernels.
            "/proc/sys/kernel/unprivileged_userns_clone",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
    ];
    if !eyes.exists("/proc/self/ns/user") {
        return Availability::no(
            "the kernel has no user namespaces (CONFIG_USER_NS)",
            "boot a kernel that has them",
        );
    }
    for (path, fix) in switches {
        // The second binds unprivileged callers alone.
        let applies = !path.ends_with("clone") || !rustix::process::geteuid().is_root();
        if applies && read_number(eyes, path) == Some(0) {
            return Availability::no(format!("{path} is 0"), fix);
        }
    }
    Availability::Yes
}

/// Landlock's ABI, or 0 and the reason.
fn landlock() -> (u32, String) {
    use landlock::{LandlockStatus, RestrictSelf};
    // The crate tells its status only as an answer to `apply`. Without flags and without
    // no_new_privs, `apply` restricts nothing and makes no further system call; a test holds it
    // to that.
    let Ok(status) = RestrictSelf::default().no_new_privs(false).apply() else {
        return (0, "Landlock's version cannot be read".into());
    };
    match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => {
            // A kernel newer than the crate has its own number beside.
            let abi = kernel_abi.unwrap_or(effective_abi as i32);
            (u32::try_from(abi).unwrap_or(0), String::new())
        }
        LandlockStatus::NotEnabled => (
            0,
            "the kernel has Landlock, but not in its lsm= list".into(),
        ),
        LandlockStatus::NotImplemented => (0, "the kernel has no Landlock".into()),
    }
}

/// Where control groups are mounted. Empty where the list cannot be read: then the module of
/// control groups, which reads the same file, finds none to use either.
fn cgroup_mounts(eyes: &Eyes) -> Vec<PathBuf> {
    use io::Read as _;
    let mut text = Vec::new();
    let most = u64::try_from(LARGEST_MOUNTINFO).unwrap_or(u64::MAX);
    let read = fs::File::open("/proc/self/mountinfo")
        // One more, so that a longer file is seen to be too long.
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut text));
    let mut mounts = match eyes.seen(Path::new("/proc/self/mountinfo"), read) {
        Ok(_) => mount_points(&text).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    // Below a directory that this process may not search, the guest, who has no more rights, can
    // reach nothing; and the agent could not cover it.
    mounts.retain(|mount| !matches!(kind_of(eyes, mount), PathKind::Unreadable(_)));
    mounts
}

/// CPUs that this process may run on.
fn nproc() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

fn kvm() -> Availability {
    match access("/dev/kvm", Access::READ_OK | Access::WRITE_OK) {
        Ok(()) => Availability::Yes,
        Err(errno) => Availability::no(
            format!("/dev/kvm: {}", io::Error::from(errno)),
            "load the kvm module, and join the group `kvm`",
        ),
    }
}

/// The container this process is in, by the files that container engines leave.
fn container(eyes: &Eyes) -> Option<String> {
    let marks = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    let marked = marks.iter().find(|(path, _)| eyes.exists(path));
    marked.map(|(_, name)| (*name).to_owned()).or_else(|| {
        // systemd's interface for every other engine (`Container Interface`).
        let name = read_small(eyes, "/run/systemd/container")?;
        let name = name.trim();
        (!name.is_empty()).then(|| crate::names::shown(name))
    })
}

/// The public entries of `/etc`; those with a version in their name are found by listing.
fn etc_entries(eyes: &Eyes) -> Vec<PathBuf> {
    let etc = Path::new("/etc");
    let listed = eyes
        .seen(etc, fs::read_dir(etc))
        .into_iter()
        .flatten()
        .filter_map(|entry| eyes.seen(etc, entry).ok())
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()
                .filter(|name| is_public_etc(name))
                .map(|name| etc.join(name))
        });
    let nested = public_etc_names()
        .filter(|name| name.contains('/'))
        .map(|name| etc.join(name));
    listed.chain(nested).collect()
}

/// An entry of the root: a link is told from what it leads to.
fn root_entry(eyes: &Eyes, path: &Path) -> PathKind {
    match eyes.seen(path, fs::read_link(path)) {
        Ok(link) => PathKind::Symlink(link),
        Err(_) => kind_of(eyes, path),
    }
}

/// What is at a path, links followed.
fn kind_of(eyes: &Eyes, path: &Path) -> PathKind {
    identify(eyes.seen(path, fs::metadata(path))).0
}

/// The same, and which file it is.
fn identify(look: io::Result<fs::Metadata>) -> (PathKind, Option<FileId>) {
    let meta = match look {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return (PathKind::Missing, None),
        Err(err) => {
            let kind = PathKind::Unreadable(err.raw_os_error().unwrap_or(0));
            return (kind, None);
        }
    };
    let kind = if meta.is_dir() {
        PathKind::Directory
    } else if meta.is_file() {
        PathKind::File
    } else {
        PathKind::Special
    };
    let id = FileId {
        device: meta.dev(),
        inode: meta.ino(),
    };
    (kind, Some(id))
}

/// Tries it, on a file without a name: memfds are files of tmpfs.
fn tmpfs_user_xattr(eyes: &Eyes) -> bool {
    use rustix::fs::{MemfdFlags, XattrFlags, fsetxattr, memfd_create};
    let kept = memfd_create("kavach-probe", MemfdFlags::CLOEXEC)
        .and_then(|file| fsetxattr(file, "user.kavach", b"y", XattrFlags::CREATE));
    let name = Path::new("memfd_create(2)");
    eyes.seen(name, kept.map_err(io::Error::from)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe;

    #[test]
    fn this_host_is_described_as_it_describes_itself() {
        let facts = probe();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(facts.kernel_release, release.trim());
        assert_eq!(facts.arch, std::env::consts::ARCH);
        assert!(facts.nproc >= 1);
        assert_eq!(facts.kind(Path::new("/usr")), &PathKind::Directory);
        assert!(!facts.paths.keys().any(|path| path.ends_with("shadow")));
    }

    #[test]
    fn probing_restricts_nothing() {
        let state = || {
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            let watched = ["NoNewPrivs:", "Seccomp:", "CapEff:"];
            let lines = status
                .lines()
                .filter(|l| watched.iter().any(|w| l.starts_with(w)));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = state();
        let _ = probe();
        assert_eq!(state(), before);
        // A Landlock domain would show as a refused write.
        let file = std::env::temp_dir().join(format!("kavach-probe-{}", std::process::id()));
        fs::write(&file, "x").unwrap();
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn looking_at_paths_tells_files_directories_sockets_and_gaps_apart() {
        let facts = probe()
            .looking_at(["/etc/passwd", "/etc", "/dev/null", "/nonexistent/x"].map(Path::new));
        assert_eq!(facts.kind(Path::new("/etc/passwd")), &PathKind::File);
        assert_eq!(facts.kind(Path::new("/etc")), &PathKind::Directory);
        assert_eq!(facts.kind(Path::new("/dev/null")), &PathKind::Special);
        assert_eq!(facts.kind(Path::new("/nonexistent/x")), &PathKind::Missing);
    }

    #[test]
    fn paths_that_lead_through_links_are_told() {
        let facts = probe().looking_at(["/proc/self", "/proc/self/fd", "/usr"].map(Path::new));
        assert!(facts.linked.contains(Path::new("/proc/self")));
        assert!(facts.linked.contains(Path::new("/proc/self/fd")));
        assert!(!facts.linked.contains(Path::new("/usr")));
        // Links of the root itself, whose kind is that of a link.
        for path in SYSTEM_PATHS.map(Path::new) {
            let facts = probe().looking_at([path]);
            let is_link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
            assert!(!is_link || facts.linked.contains(path), "{path:?}");
        }
    }

    #[test]
    fn every_mounted_hierarchy_is_found() {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let count = text
            .lines()
            .filter(|l| l.contains(" - cgroup ") || l.contains(" - cgroup2 "))
            .count();
        let found = probe().cgroup_mounts;
        assert_eq!(found.len(), count, "{found:?}");
        assert!(found.iter().all(|mount| mount.is_dir()), "{found:?}");
    }

    #[test]
    fn proc_files_are_parsed() {
        let status = "Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t00000000a80425fb\n";
        assert_eq!(capability_set(status, "CapEff:"), (1 << 41) - 1);
        assert_eq!(capability_set(status, "CapBnd:"), 0xa804_25fb);
        assert_eq!(capability_set("", "CapEff:"), 0);
        let map = "         0          0 4294967295\n      1000     100000      65536\n";
        let ranges = id_ranges(map);
        assert_eq!(
            ranges[0],
            IdRange {
                inside: 0,
                outside: 0,
                count: u32::MAX
            }
        );
        assert_eq!(ranges[1].outside, 100_000);
        assert_eq!(id_ranges("garbage\n1 2\n"), []);
    }
}
