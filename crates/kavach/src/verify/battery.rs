//! The probes: for each control what is tried, and which answer means what.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use kavach_proto::probe::{ATTEMPTS, verb};
use syscalls::x86_64::Sysno;

use super::answer::{Answer, EACCES, EFBIG, ENOENT, ENOSPC, ENOSYS, EPERM, SIGXFSZ};
use super::canary::{self, Canaries};
use super::{Claims, limits};
use crate::control::Control;
use crate::plan::MountStep;
use crate::seccomp::{Action, Options, Profile, SyscallData};

/// A name that nothing has.
const NO_NAME: &str = "kavach-verify-no-such-name";
/// Places of the host that are in no private view. What is missing on the host is left out.
const HOST_PLACES: [&str; 8] = [
    "/",
    "/etc",
    "/etc/shadow",
    "/root",
    "/home",
    "/run",
    "/tmp",
    "/dev",
];
/// How many of the directories in view are tried.
const MOST_DIRECTORIES: usize = 8;

/// One thing to try.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) control: Control,
    pub(super) what: String,
    /// The verb of kavach's probing program, and its arguments.
    pub(super) arguments: Vec<OsString>,
    /// What is tried outside, where that is not the same.
    elsewhere: Option<Vec<OsString>>,
    pub(super) means: Means,
    /// The first call that it makes, where a filter may be what answers.
    gate: Option<(Sysno, [u64; 6])>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// A call that the kernel refuses with an error of its own where it gets to see it.
    Call,
    /// It is done, or it is not.
    Act,
    /// The removal of a name that is not there: that is said only where the directory takes
    /// writes.
    Removal,
    /// PR_GET_NO_NEW_PRIVS: 0 where programs may bring privileges.
    Privileges,
    /// How many domains still fit: fewer than outside where there is one already.
    Layers,
    /// How much could be had, of which this much is allowed.
    AtMost(u64),
    /// A write past the largest size of a file.
    Size,
    /// A reservation beyond the quota.
    Quota,
}

/// What was read out of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Effect,
    Refused,
    /// It says nothing.
    Nothing,
}

impl Means {
    /// Whether the same is tried outside. What holds a limit would have to be loaded there.
    pub(super) const fn is_compared(self) -> bool {
        match self {
            Means::Call | Means::Act | Means::Removal | Means::Privileges | Means::Layers => true,
            Means::AtMost(_) | Means::Size | Means::Quota => false,
        }
    }

    /// Reads the answer of inside; `outside` is the one of there, where it was tried there.
    pub(super) fn read(self, inside: Answer, outside: Option<Answer>) -> Reading {
        let refused = |yes: bool| match yes {
            true => Reading::Refused,
            false => Reading::Effect,
        };
        match (self, inside) {
            (_, Answer::Unable(_)) => Reading::Nothing,
            (Means::Call, Answer::Errno(e)) => refused([EPERM, EACCES, ENOSYS].contains(&e)),
            (Means::Removal, Answer::Errno(e)) => refused(e != ENOENT),
            (Means::Privileges, Answer::Value(value)) => refused(value != 0),
            (Means::Layers, Answer::Value(inside)) => match outside {
                Some(Answer::Value(outside)) => refused(inside < outside),
                // Without a number from outside nothing can be said; a control that is claimed
                // all the same has not been seen.
                _ => Reading::Nothing,
            },
            (Means::AtMost(most), Answer::Value(value)) => refused(value <= most),
            (Means::Size, Answer::Errno(EFBIG) | Answer::Killed(SIGXFSZ)) => Reading::Refused,
            (Means::Quota, Answer::Errno(ENOSPC)) => Reading::Refused,
            (Means::Size | Means::Quota, Answer::Errno(_) | Answer::Killed(_)) => Reading::Nothing,
            (_, Answer::Done) => Reading::Effect,
            (_, Answer::Errno(_) | Answer::Killed(_) | Answer::Other) => Reading::Refused,
            (_, Answer::Value(_)) => Reading::Nothing,
        }
    }
}

impl Probe {
    fn new(control: Control, what: impl Into<String>, means: Means, verb: &[u8]) -> Self {
        Self {
            control,
            what: what.into(),
            arguments: vec![OsStr::from_bytes(verb).to_owned()],
            elsewhere: None,
            means,
            gate: None,
        }
    }

    /// What is tried outside.
    pub(super) fn arguments_outside(&self) -> &[OsString] {
        self.elsewhere.as_ref().unwrap_or(&self.arguments)
    }

    fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    fn number(self, number: impl Into<u64>) -> Self {
        let number: u64 = number.into();
        self.arg(number.to_string())
    }

    fn gate(mut self, call: Sysno, args: [u64; 6]) -> Self {
        self.gate = Some((call, args));
        self
    }

    /// Whether the filter of the claims refuses the first call already.
    pub(super) fn is_filtered(&self, claims: &Claims) -> bool {
        let (Some((call, args)), Some(filter)) = (self.gate, &claims.plan.syscall_filter) else {
            return false;
        };
        let Ok(profile) = Profile::by_name(&filter.profile) else {
            return false;
        };
        let data = SyscallData::x86_64(call, args);
        let answer = profile.decide(&Options::from(filter.options), &data);
        claims.has(Control::SyscallFilter) && answer != Action::Allow
    }
}

/// Something that is not tried, and why.
#[derive(Debug, Clone)]
pub(super) struct Untried {
    pub(super) control: Control,
    pub(super) what: String,
    pub(super) why: String,
}

/// What is tried together, and what is not tried.
#[derive(Debug, Default)]
pub(super) struct Battery {
    pub(super) probes: Vec<Probe>,
    pub(super) untried: Vec<Untried>,
}

impl Battery {
    pub(super) fn new(claims: &Claims, canaries: &Canaries) -> Self {
        let mut battery = Self::default();
        battery.calls();
        battery.view(claims);
        battery.namespaces();
        battery.processes(canaries);
        battery.network(canaries);
        battery.privileges();
        limits::add(&mut battery, claims);
        battery.never_tried(claims);
        battery
    }

    pub(super) fn skip(&mut self, control: Control, what: &str, why: impl Into<String>) {
        self.untried.push(Untried {
            control,
            what: what.to_owned(),
            why: why.into(),
        });
    }

    pub(super) fn add(
        &mut self,
        control: Control,
        what: impl Into<String>,
        means: Means,
        verb: &[u8],
        arguments: impl IntoIterator<Item = OsString>,
    ) {
        let mut probe = Probe::new(control, what, means, verb);
        probe.arguments.extend(arguments);
        self.probes.push(probe);
    }

    fn calls(&mut self) {
        for (index, attempt) in ATTEMPTS.iter().enumerate() {
            let what = match attempt.name().split_once(' ') {
                Some((name, form)) => format!("{name}(2), {form}"),
                None => format!("{}(2)", attempt.name()),
            };
            let probe = Probe::new(Control::SyscallFilter, what, Means::Call, verb::CALL);
            self.probes.push(probe.number(index as u64));
        }
        let what = "getpid(2) by the i386 way in";
        let probe = Probe::new(Control::SyscallFilter, what, Means::Act, verb::INT80);
        self.probes.push(probe);
        let what = "one Landlock domain more than fits over one that is there";
        let probe = Probe::new(Control::Landlock, what, Means::Layers, verb::LAYERS);
        self.probes.push(probe);
    }

    fn view(&mut self, claims: &Claims) {
        let mounts = &claims.plan.view.mounts;
        let shown = |path: &str| {
            let shows = |step: &MountStep| match step {
                MountStep::Bind { source, .. } => Path::new(path).starts_with(source),
                MountStep::Workspace { lower, .. } => Path::new(path).starts_with(&lower.path),
                MountStep::WriteThrough { directory } => {
                    Path::new(path).starts_with(&directory.path)
                }
                _ => false,
            };
            mounts.iter().any(shows)
        };
        for path in HOST_PLACES {
            let Some((device, inode)) = canary::file(path).filter(|_| !shown(path)) else {
                continue;
            };
            let what = format!("find the host's own {path} at {path}");
            let probe = Probe::new(Control::FilesystemView, what, Means::Act, verb::SAME);
            self.probes
                .push(probe.number(device).number(inode).arg(path));
        }
        let read_only = mounts.iter().filter_map(|step| match step {
            MountStep::Bind {
                target,
                is_dir: true,
                read_only: true,
                ..
            // The entries of /etc are many, and alike.
            } if !target.starts_with("/etc") => Some(target.clone()),
            _ => None,
        });
        for directory in read_only.take(MOST_DIRECTORIES) {
            self.removal(Control::FilesystemView, directory);
        }
        for directory in ["/", "/etc"] {
            self.removal(Control::ReadOnlyRoot, directory.into());
        }
    }

    fn removal(&mut self, control: Control, directory: PathBuf) {
        let what = format!(
            "remove a name that is not there from {}",
            directory.display()
        );
        let path = directory.join(NO_NAME).into_os_string().into_vec();
        let probe = Probe::new(control, what, Means::Removal, verb::REMOVE);
        self.probes.push(probe.arg(OsString::from_vec(path)));
    }

    /// Whether a guest is in a namespace of the caller's, as the kernel tells the guest.
    fn namespaces(&mut self) {
        for (control, name) in [
            (Control::UserNamespace, "user"),
            (Control::PidNamespace, "pid"),
            (Control::MountNamespace, "mnt"),
            (Control::NetworkNamespace, "net"),
            (Control::Network, "net"),
            (Control::IpcNamespace, "ipc"),
            (Control::UtsNamespace, "uts"),
            (Control::CgroupNamespace, "cgroup"),
        ] {
            let what = format!("be in the caller's {name} namespace");
            match canary::namespace(name) {
                Some(text) => {
                    let probe = Probe::new(control, what, Means::Act, verb::LINK);
                    let path = format!("/proc/self/ns/{name}");
                    self.probes.push(probe.arg(text).arg(path));
                }
                None => self.skip(control, &what, "the kernel has no such namespace"),
            }
        }
    }

    fn processes(&mut self, canaries: &Canaries) {
        let tries = [
            (verb::SEE, "see the caller's process in /proc"),
            (verb::SIGNAL, "signal the caller's process (signal 0)"),
        ];
        for (verb, what) in tries {
            match canaries.started {
                Some(started) => {
                    let probe = Probe::new(Control::PidNamespace, what, Means::Act, verb);
                    self.probes.push(probe.number(canaries.pid).number(started));
                }
                None => {
                    let why = "the caller's own /proc/self/stat cannot be read";
                    self.skip(Control::PidNamespace, what, why);
                }
            }
        }
        for file in ["mem", "environ", "maps"] {
            let what = format!("open /proc/PID/{file} of the agent");
            let probe = Probe::new(Control::AgentProtection, what, Means::Act, verb::AGENT);
            let mut probe = probe.arg(file);
            // The agent outside is as closed to a guest of the same uid: what is known to be open
            // there is a process like it that did not close itself.
            let parent = OsStr::from_bytes(verb::PARENT).to_owned();
            probe.elsewhere = Some(vec![parent, file.into()]);
            self.probes.push(probe);
        }
    }

    fn network(&mut self, canaries: &Canaries) {
        const AF_UNIX: u64 = 1;
        const AF_INET: u64 = 2;
        const STREAM_CLOEXEC: u64 = 1 | 0o2_000_000;
        let socket = |family| [family, STREAM_CLOEXEC, 0, 0, 0, 0];
        let what = "connect to a TCP socket of the caller's";
        match &canaries.tcp {
            Ok((_, port)) => {
                let probe = Probe::new(Control::Network, what, Means::Act, verb::TCP);
                let probe = probe.gate(Sysno::socket, socket(AF_INET));
                self.probes.push(probe.number(*port));
            }
            Err(why) => self.skip(Control::Network, what, why),
        }
        let what = "connect to an abstract unix socket of the caller's";
        match &canaries.socket {
            Ok((_, name)) => {
                let probe = Probe::new(Control::Network, what, Means::Act, verb::ABSTRACT);
                let probe = probe.gate(Sysno::socket, socket(AF_UNIX));
                self.probes.push(probe.arg(name));
            }
            Err(why) => self.skip(Control::Network, what, why),
        }
    }

    fn privileges(&mut self) {
        for (verb, what) in [
            (
                verb::OVERRIDE,
                "read a file that nobody may read (CAP_DAC_OVERRIDE)",
            ),
            (verb::PRIORITY, "take a better priority (CAP_SYS_NICE)"),
        ] {
            let probe = Probe::new(Control::Capabilities, what, Means::Act, verb);
            self.probes.push(probe);
        }
        let what = "execute a program that brings privileges (PR_GET_NO_NEW_PRIVS)";
        let probe = Probe::new(
            Control::NoNewPrivs,
            what,
            Means::Privileges,
            verb::PRIVILEGES,
        );
        self.probes.push(probe);
    }

    /// What no probe can tell without harm.
    fn never_tried(&mut self, claims: &Claims) {
        for (control, what, why) in [
            (
                Control::Cpu,
                "use more processors than allowed",
                "a share can only be told from a busy host's by loading every processor",
            ),
            (
                Control::Credentials,
                "get at a secret by another way",
                "it would take a secret, and no probe could tell where else it is",
            ),
            (
                Control::Hardware,
                "read its memory from the host",
                "it would take an attack on the processor",
            ),
        ] {
            if claims.has(control) {
                self.skip(control, what, why);
            }
        }
    }
}
