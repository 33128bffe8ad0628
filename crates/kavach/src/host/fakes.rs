//! Hosts that are not this one: for tests of plans, and for `policy explain` of another machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{
    Availability, CgroupFacts, CgroupVersion, ControllerFacts, DirectoryKind, HostFacts, IdRange,
    PathKind,
};

/// All 41 capabilities of Linux 5.9 and later.
const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

impl HostFacts {
    /// Root on a present-day kernel: every namespace, Landlock 7, cgroup v2.
    #[must_use]
    pub fn modern_root() -> Self {
        let directories = [
            "/usr",
            "/etc/alternatives",
            "/etc/ssl/certs",
            "/etc/ld.so.conf.d",
        ];
        let files = [
            "/etc/ld.so.cache",
            "/etc/ld.so.conf",
            "/etc/localtime",
            "/etc/os-release",
            "/etc/protocols",
            "/etc/services",
        ];
        let links = [
            ("/bin", "usr/bin"),
            ("/lib", "usr/lib"),
            ("/lib64", "usr/lib64"),
            ("/sbin", "usr/sbin"),
        ];
        let paths = directories
            .into_iter()
            .map(|p| (PathBuf::from(p), PathKind::Directory))
            .chain(
                files
                    .into_iter()
                    .map(|p| (PathBuf::from(p), PathKind::File)),
            )
            .chain(
                links
                    .into_iter()
                    .map(|(p, to)| (p.into(), PathKind::Symlink(to.into()))),
            )
            .collect();
        Self {
            kernel_release: "6.18.0".into(),
            arch: "x86_64".into(),
            euid: 0,
            egid: 0,
            capabilities_effective: ALL_CAPABILITIES,
            capabilities_bounding: ALL_CAPABILITIES,
            userns: Availability::Yes,
            apparmor_restricts_userns: false,
            uid_map: vec![IdRange {
                inside: 0,
                outside: 0,
                count: u32::MAX,
            }],
            landlock_abi: 7,
            landlock_reason: String::new(),
            seccomp_filter: true,
            unseen: None,
            cgroups: CgroupFacts::all(ControllerFacts::Usable(CgroupVersion::V2)),
            cgroup_mounts: vec!["/sys/fs/cgroup".into()],
            nproc: 8,
            page_size: 4096,
            kvm: Availability::Yes,
            container: None,
            paths,
            linked: BTreeSet::new(),
            ids: BTreeMap::new(),
            directories: BTreeMap::new(),
            root: None,
            tmpfs_user_xattr: true,
        }
    }

    /// An ordinary user (uid 1000) on the same kernel, with no cgroup delegated.
    #[must_use]
    pub fn modern_user() -> Self {
        Self {
            euid: 1000,
            egid: 1000,
            capabilities_effective: 0,
            kvm: Availability::no("/dev/kvm: permission denied", "join the group `kvm`"),
            ..Self::modern_root()
        }
        .without_cgroups()
    }

    /// The same host without Landlock, as before Linux 5.13 or when it is not in `lsm=`.
    #[must_use]
    pub fn without_landlock(mut self) -> Self {
        self.landlock_abi = 0;
        self.landlock_reason = "the kernel does not know landlock_create_ruleset".into();
        self
    }

    /// The same host with this Landlock ABI.
    #[must_use]
    pub fn with_landlock_abi(mut self, abi: u32) -> Self {
        self.landlock_abi = abi;
        self.landlock_reason.clear();
        self
    }

    /// The same host where user namespaces are switched off.
    #[must_use]
    pub fn without_userns(mut self) -> Self {
        self.userns = Availability::no(
            "/proc/sys/user/max_user_namespaces is 0",
            "sysctl -w user.max_user_namespaces=15000",
        );
        self
    }

    /// The same host where AppArmor restricts user namespaces, as on Ubuntu 24.04.
    #[must_use]
    pub fn with_apparmor_restriction(mut self) -> Self {
        self.apparmor_restricts_userns = true;
        self
    }

    /// The same host where no cgroup can be made.
    #[must_use]
    pub fn without_cgroups(mut self) -> Self {
        self.cgroups = CgroupFacts::none(
            "no cgroup is delegated to this user",
            "run under `systemd-run --user --scope -p Delegate=yes`",
        );
        self
    }

    /// The same host with every controller in a version 1 hierarchy.
    #[must_use]
    pub fn with_cgroup_v1(mut self) -> Self {
        self.cgroups = CgroupFacts::all(ControllerFacts::Usable(CgroupVersion::V1));
        self
    }

    /// The same host without seccomp filters.
    #[must_use]
    pub fn without_seccomp(mut self) -> Self {
        self.seccomp_filter = false;
        self
    }

    /// Root inside an ordinary container: no `CAP_SYS_ADMIN`, no user namespaces, no cgroups.
    #[must_use]
    pub fn in_docker() -> Self {
        Self {
            // Docker's default set.
            capabilities_effective: 0x0000_0000_a804_25fb,
            capabilities_bounding: 0x0000_0000_a804_25fb,
            userns: Availability::no(
                "the container's seccomp profile refuses user namespaces",
                "start the container with --security-opt seccomp=unconfined \
                 --security-opt systempaths=unconfined",
            ),
            container: Some("docker".into()),
            ..Self::modern_root()
        }
        .without_cgroups()
    }

    /// The same host with this directory, or what is there instead.
    #[must_use]
    pub fn with_directory(mut self, path: impl AsRef<Path>, kind: DirectoryKind) -> Self {
        self.directories.insert(path.as_ref().to_path_buf(), kind);
        self
    }

    /// The same host where tmpfs keeps no attributes of users, as before Linux 6.6.
    #[must_use]
    pub fn without_tmpfs_xattr(mut self) -> Self {
        self.tmpfs_user_xattr = false;
        self
    }

    /// The same host with `kind` at `path`.
    #[must_use]
    pub fn with_path(mut self, path: impl AsRef<Path>, kind: PathKind) -> Self {
        self.paths.insert(path.as_ref().to_path_buf(), kind);
        self
    }

    /// The same host where `path`, a directory, leads through a symbolic link.
    #[must_use]
    pub fn with_link(mut self, path: impl AsRef<Path>) -> Self {
        self.linked.insert(path.as_ref().to_path_buf());
        self.with_path(path, PathKind::Directory)
    }
}
