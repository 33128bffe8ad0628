//! The peers: bubblewrap as its users start it and with the jail that comes closest to `strict`,
//! and the crate hakoniwa likewise.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use kavach::seccomp::{Options, Profile, compile};

use crate::guest;

/// System directories that a strict sandbox shows read-only.
const SHOWN: [&str; 1] = ["/usr"];
/// And the links to them of a merged root.
const LINKS: [(&str, &str); 4] = [
    ("usr/bin", "/bin"),
    ("usr/sbin", "/sbin"),
    ("usr/lib", "/lib"),
    ("usr/lib64", "/lib64"),
];

/// bubblewrap, in the way that its manual begins with: all namespaces, the host's files read-only.
/// No filter, no limits, no capability dropped.
pub(crate) fn bwrap_plain(program: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--ro-bind", "/", "/"]);
    command.args(["--dev", "/dev", "--proc", "/proc"]);
    command.arg(program);
    command
}

/// A finished seccomp program in a file, as `bwrap --seccomp` reads it.
#[derive(Debug)]
pub(crate) struct Filter {
    path: PathBuf,
}

impl Filter {
    /// kavach's own `strict` filter.
    pub(crate) fn strict(in_directory: &Path) -> Result<Self> {
        let profile = Profile::by_name("strict")?;
        let program = compile(profile, &Options::default())?;
        let path = in_directory.join(format!("strict-{}.bpf", std::process::id()));
        std::fs::write(&path, program.to_bytes()).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // A leftover in a directory that is removed as a whole.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// bubblewrap with what it has of `strict`: a root of its own, no capability, a new session, and
/// the same seccomp program. It has neither Landlock nor limits.
pub(crate) fn bwrap_equal(program: &Path, guests: &Path, filter: &Filter) -> Result<Command> {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--die-with-parent", "--new-session"]);
    command.args(["--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"]);
    for shown in SHOWN {
        command.args(["--ro-bind", shown, shown]);
    }
    for (to, link) in LINKS {
        command.args(["--symlink", to, link]);
    }
    command.arg("--ro-bind").arg(guests).arg(guests);
    command.args(["--dev", "/dev", "--proc", "/proc"]);
    command.args(["--tmpfs", "/tmp", "--tmpfs", "/dev/shm"]);
    command.args(["--dir", "/etc", "--dir", "/home", "--remount-ro", "/"]);
    // The filter comes over standard input, the one descriptor that needs no unsafe code to pass;
    // bubblewrap closes it after reading.
    command.args(["--seccomp", "0"]);
    command.arg(program);
    command
        .stdin(File::open(&filter.path)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command)
}

/// A peer's jail, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    BwrapPlain,
    BwrapEqual,
    #[cfg(feature = "hakoniwa")]
    HakoniwaPlain,
    #[cfg(feature = "hakoniwa")]
    HakoniwaEqual,
}

impl Peer {
    pub(crate) const ALL: &[Self] = &[
        Self::BwrapPlain,
        Self::BwrapEqual,
        #[cfg(feature = "hakoniwa")]
        Self::HakoniwaPlain,
        #[cfg(feature = "hakoniwa")]
        Self::HakoniwaEqual,
    ];

    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::BwrapPlain => "bwrap",
            Self::BwrapEqual => "bwrap_equal",
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaPlain => "hakoniwa",
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaEqual => "hakoniwa_equal",
        }
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::BwrapPlain => "bwrap --unshare-all",
            Self::BwrapEqual => "bwrap, closest to strict",
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaPlain => "hakoniwa, its defaults",
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaEqual => "hakoniwa, closest to strict",
        }
    }

    /// What is not in /proc: whether Landlock rules were given.
    pub(crate) const fn landlock(self) -> &'static str {
        match self {
            Self::BwrapPlain | Self::BwrapEqual => "no (it has none)",
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaPlain => "no (not asked for)",
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaEqual => "asked for (cannot be read back)",
        }
    }

    /// One run of the program in a jail of its own.
    pub(crate) fn run(self, guests: &Path, filter: &Filter) -> Result<Duration> {
        let program = guest::true_in(guests);
        match self {
            Self::BwrapPlain => guest::child(&mut bwrap_plain(&program)),
            Self::BwrapEqual => guest::status(&mut bwrap_equal(&program, guests, filter)?),
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaPlain => hakoniwa_jail::run(&program, guests, false),
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaEqual => hakoniwa_jail::run(&program, guests, true),
        }
    }

    /// Starts the program that waits.
    pub(crate) fn start(self, guests: &Path, filter: &Filter, token: &str) -> Result<Waiting> {
        let program = guests.join("wait");
        let spawned = |command: &mut Command| command.arg(token).spawn().map(Waiting::Child);
        Ok(match self {
            Self::BwrapPlain => spawned(&mut bwrap_plain(&program))?,
            Self::BwrapEqual => spawned(&mut bwrap_equal(&program, guests, filter)?)?,
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaPlain => hakoniwa_jail::start(&program, guests, false, token)?,
            #[cfg(feature = "hakoniwa")]
            Self::HakoniwaEqual => hakoniwa_jail::start(&program, guests, true, token)?,
        })
    }
}

/// A jail in which the guest waits. Ended when dropped.
pub(crate) enum Waiting {
    Child(Child),
    #[cfg(feature = "hakoniwa")]
    Hakoniwa(Box<hakoniwa::Child>),
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        match self {
            Self::Child(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            #[cfg(feature = "hakoniwa")]
            Self::Hakoniwa(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

#[cfg(feature = "hakoniwa")]
mod hakoniwa_jail {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result, ensure};
    use hakoniwa::landlock::{CompatMode, FsAccess, Resource, Ruleset};
    use hakoniwa::seccomp::{Action, Arch, Filter};
    use hakoniwa::{Command, Container, Namespace, Rlimit, Stdio};
    use kavach::seccomp::{self, Profile};

    use super::{LINKS, SHOWN, Waiting};

    pub(super) fn run(program: &Path, guests: &Path, equal: bool) -> Result<Duration> {
        // Its description is data that a caller would keep.
        static KEPT: [OnceLock<Container>; 2] = [OnceLock::new(), OnceLock::new()];
        let kept = if equal { &KEPT[1] } else { &KEPT[0] };
        let container = kept.get_or_init(|| container(guests, equal));
        let start = Instant::now();
        let status = command(container, program).status();
        let took = start.elapsed();
        let status = status.map_err(anyhow::Error::from).context("hakoniwa")?;
        ensure!(status.success(), "hakoniwa: {status:?}");
        Ok(took)
    }

    pub(super) fn start(
        program: &Path,
        guests: &Path,
        equal: bool,
        token: &str,
    ) -> Result<Waiting> {
        let container = container(guests, equal);
        let child = command(&container, program).arg(token).spawn()?;
        Ok(Waiting::Hakoniwa(Box::new(child)))
    }

    fn command(container: &Container, program: &Path) -> Command {
        let mut command = container.command(&program.to_string_lossy());
        let null = || {
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/null")
        };
        for set in [Command::stdin, Command::stdout, Command::stderr] {
            if let Ok(null) = null() {
                set(&mut command, Stdio::from(null));
            }
        }
        command
    }

    fn container(guests: &Path, equal: bool) -> Container {
        let mut container = Container::new();
        let shown = guests.to_string_lossy();
        if !equal {
            for directory in SHOWN {
                container.bindmount_ro(directory, directory);
            }
            container.bindmount_ro(&shown, &shown);
            return container;
        }
        for namespace in [
            Namespace::Cgroup,
            Namespace::Ipc,
            Namespace::Network,
            Namespace::Uts,
        ] {
            container.unshare(namespace);
        }
        for directory in SHOWN {
            container.bindmount_ro(directory, directory);
        }
        for (to, link) in LINKS {
            container.symlink(to, link);
        }
        container
            .bindmount_ro(&shown, &shown)
            .devfsmount("/dev")
            .tmpfsmount("/tmp")
            .tmpfsmount("/dev/shm")
            .dir("/etc", 0o755)
            .hostname("sandbox")
            .setrlimit(Rlimit::Nofile, 1024, 1024)
            .setrlimit(Rlimit::Core, 0, 0)
            .landlock_ruleset(ruleset(&shown))
            .seccomp_filter(filter());
        container
    }

    fn ruleset(guests: &str) -> Ruleset {
        let mut rules = Ruleset::default();
        rules.restrict(Resource::FS, CompatMode::Enforce);
        rules.restrict(Resource::NET_TCP_BIND, CompatMode::Enforce);
        rules.restrict(Resource::NET_TCP_CONNECT, CompatMode::Enforce);
        let run = FsAccess::R | FsAccess::X;
        rules.allow_path("/usr", run).allow_path(guests, run);
        rules.allow_path("/proc", FsAccess::R);
        rules.allow_path("/dev", FsAccess::R | FsAccess::W);
        rules.allow_path("/tmp", run | FsAccess::W);
        rules
    }

    /// The calls that `strict` allows, always or under conditions; without the conditions, which
    /// are on arguments.
    fn filter() -> Filter {
        let mut filter = Filter::new(Action::Errno(1));
        filter.add_arch(Arch::X8664);
        let Ok(profile) = Profile::by_name("strict") else {
            return filter;
        };
        let rules = profile.groups.iter().flat_map(|group| group.rules);
        let allowed: BTreeSet<&str> = rules
            .filter(|rule| rule.action == seccomp::Action::Allow)
            .flat_map(|rule| rule.syscalls.iter().map(|call| call.name()))
            .collect();
        for call in allowed {
            filter.add_rule(Action::Allow, call);
        }
        filter
    }
}
