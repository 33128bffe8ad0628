//! Targets: each takes any bytes and panics where something that must hold does not.
//!
//! One body serves two callers: the coverage-guided fuzzer (`main.rs`, `scripts/fuzz.sh`) and the
//! tests, which replay `corpus/` on the plain toolchain. See docs/development/fuzzing.md.
//!
//! A target is deterministic, reads nothing of the machine but what it was given, leaves nothing
//! behind, and does not restrict itself.

#[path = "../../kavach-cli/src"]
mod cli {
    //! The command's own filters: a program has no library that could be linked.
    pub(crate) mod decoder;
    pub(crate) mod screen;
    pub(crate) mod terminal;
    pub(crate) mod json {
        pub(crate) mod escape;
    }
}
// Where the filters look for it.
use cli::decoder;

pub mod bpf;
mod input;
pub mod reference;
mod targets;
mod text;

/// Something that is fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, of its corpus too.
    pub name: &'static str,
    /// What it feeds, and what must hold.
    pub about: &'static str,
    /// One run.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "agent_to_host",
        about: "what a taken-over agent writes to its socket, descriptors included, against the host's connection",
        run: targets::agent_to_host::run,
    },
    Target {
        name: "host_to_agent",
        about: "the agent's readers of every kind of frame; what is read is written back the same",
        run: targets::host_to_agent::run,
    },
    Target {
        name: "policy",
        about: "policy texts in TOML and JSON: read, written, merged, compared, explained",
        run: targets::policy::run,
    },
    Target {
        name: "command",
        about: "splitting a command into words, against another reader of a shell's quotes",
        run: targets::command::run,
    },
    Target {
        name: "seccomp_calls",
        about: "any system call against the compiled profiles, interpreted, and against their rules",
        run: targets::seccomp_calls::run,
    },
    Target {
        name: "seccomp_profiles",
        about: "generated profiles: compiled, checked as the kernel does, interpreted, and against their rules",
        run: targets::seccomp_profiles::run,
    },
    Target {
        name: "kernel_files",
        about: "files of /proc, of control groups and /etc/subuid",
        run: targets::kernel_files::run,
    },
    Target {
        name: "names",
        about: "names that guests and policies choose, as errors, lists, JSON and audit events show them",
        run: targets::names::run,
    },
    Target {
        name: "screen",
        about: "the filter between a guest's terminal and the user's, against the parser of a terminal",
        run: targets::screen::run,
    },
    Target {
        name: "stream",
        about: "the filter of output without a terminal, against the parser of a terminal",
        run: targets::stream::run,
    },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
