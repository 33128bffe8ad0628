//! The probes: for each control what is tried, and which answer means what.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use kavach_proto::probe::{ATTEMPTS, verb};
use syscalls::x86_64::Sysno;

use super::canary::{self, Canaries};
use super::means::Means;
use super::{Claims, limits};
use crate::control::Control;
use crate::plan::MountStep;
use crate::seccomp::{Action, Options, Profile, SyscallData};

/// A name that nothing has.
const NO_NAME: &str = "kavach-verify-no-such-name";
/// Places of the host that are in no private view. What is missing on the host is left out.
const HOST_PLACES: [&str; 14] = [
    "/",
    "/etc",
    "/etc/shadow",
    "/root",
    "/home",
    "/run",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/dbus/system_bus_socket",
    "/tmp",
    "/dev",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/kvm",
];
/// Files through which the kernel can be told to run a program of the guest's, or to stop.
const KERNEL_SWITCHES: [&str; 4] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
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
    /// `gives_descriptors`: whether the config itself hands any to a command.
    pub(super) fn new(claims: &Claims, canaries: &Canaries, gives_descriptors: bool) -> Self {
        let mut battery = Self::default();
        battery.calls();
        battery.view(claims);
        battery.descriptors(gives_descriptors);
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
        for path in KERNEL_SWITCHES {
            if canary::file(path).is_some() {
                let what = format!("open {path} for writing");
                let probe = Probe::new(Control::FilesystemView, what, Means::Act, verb::WRITE);
                self.probes.push(probe.arg(path));
            }
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

    /// A descriptor of the host's that is left open is a way to what it is of (CVE-2024-21626).
    /// The agent closes them under every backend: outside, one is left open on purpose.
    fn descriptors(&mut self, given: bool) {
        let (control, what) = (
            Control::FilesystemView,
            "find a descriptor beside 0, 1 and 2",
        );
        if given {
            self.skip(control, what, "the config hands some to each command");
        } else {
            let probe = Probe::new(control, what, Means::NoneOf, verb::DESCRIPTORS);
            self.probes.push(probe);
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
