//! The steps at which a setup or a launch can fail, by name.

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// A step of the agent's two lists: building the sandbox (1–49) and launching a command
        /// in it (50–99). Numbers are stable within a protocol version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Step { $($(#[$doc])* $name = $number,)* }

        impl Step {
            /// Every step.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What the step does, as an error message says it.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

steps! {
    /// The frame could not be read or understood.
    Protocol = 1 "read the host's frame",
    /// Room for a frame or a list.
    Memory = 2 "map memory",
    /// Attach to the parent's life.
    ParentDeath = 3 "tie its life to the host process",
    /// Detach a copy of a host path to be shown inside.
    OpenSource = 4 "open the source of a mount",
    /// Create PID 1 in its namespaces.
    Clone = 5 "create the namespaces",
    /// Write the uid and gid maps.
    IdMap = 6 "write the uid and gid maps",
    /// Become the guest's uid and gid.
    Identity = 7 "take the guest's uid and gid",
    /// Leave the caller's session.
    Session = 8 "start a session",
    /// Stop mounts from propagating to the host.
    Propagation = 9 "make mounts private",
    /// Name the host.
    Hostname = 10 "set the host name",
    /// Bring up the loopback interface.
    Loopback = 11 "bring up the loopback interface",
    /// The tmpfs that becomes the root.
    NewRoot = 12 "make the private root",
    /// One entry of the view.
    Mount = 13 "mount",
    /// Enter the new root and drop the old one.
    Pivot = 14 "pivot into the private root",
    /// Remount the root read-only.
    ReadOnlyRoot = 15 "make the root read-only",
    /// Create the Landlock ruleset.
    LandlockRuleset = 16 "create the Landlock ruleset",
    /// Add one Landlock rule.
    LandlockRule = 17 "add a Landlock rule",
    /// Enter the Landlock domain of the sandbox.
    LandlockEnter = 24 "enter the Landlock domain",
    /// Lower what the user namespace may create.
    NamespaceLimits = 25 "limit what the user namespace may create",
    /// Show the owners of a path under ids of the sandbox.
    IdMapMount = 26 "map the owners of a path",
    /// Lay the workspace over its directory.
    Overlay = 27 "lay the overlay",
    /// Empty every capability set.
    Capabilities = 18 "drop all capabilities",
    /// Forbid new privileges.
    NoNewPrivs = 19 "set no_new_privs",
    /// Close the agent to tracing and core dumps.
    NotDumpable = 20 "make the agent untraceable",
    /// Adopt orphans (without a pid namespace).
    Subreaper = 21 "adopt orphaned processes",
    /// Watch children.
    SignalFd = 22 "watch for ended processes",
    /// Start the process that is inspected before any guest.
    Rehearse = 23 "rehearse a launch",
    /// Create the child.
    Fork = 50 "fork",
    /// Own session for the command.
    LaunchSession = 51 "start the command's session",
    /// Signals back to their defaults.
    Signals = 52 "reset signals",
    /// Enter the command's cgroups.
    JoinCgroup = 53 "enter the command's cgroup",
    /// Put the given descriptors in place and close the rest.
    Descriptors = 54 "place file descriptors",
    /// Set resource limits.
    Rlimits = 55 "set a resource limit",
    /// Hold to the given CPUs.
    Affinity = 56 "hold the command to its CPUs",
    /// Working directory.
    WorkingDirectory = 57 "enter the working directory",
    /// Load the system call filter: the last restriction.
    SyscallFilter = 59 "load the system call filter",
    /// Start the program.
    Execute = 60 "execute the program",
    /// Find the sandbox's way to terminals, or take one as the command's own.
    Terminal = 62 "give the command a terminal",
    /// More commands at once than the agent keeps track of.
    TooMany = 61 "keep track of another command",
}

impl Step {
    /// The step of a number on the wire.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|step| *step as u16 == number)
    }
}
