//! The sections of a policy: a row for each key.
//!
//! A row is the documentation, the name, the type, the default, and what is fixed for the key. The
//! documentation is also the key's description in the JSON Schema and in docs/policy.md, so it
//! stands in words that need no link.

use std::path::PathBuf;

use super::section::section;
use super::validate::{
    MAX_CPUS, MAX_INODES, MAX_MB, MAX_MS, MAX_OPEN_FILES, MAX_OUTPUT_KB, MAX_PIDS,
};
use super::value::Rule;
use super::{Links, OnOutput, View};
use crate::control::Control;

section! {
    /// What the guest sees of files.
    struct Filesystem("filesystem"), in a file FilesystemText("a table of filesystem keys");

    /// Whose filesystem it is.
    view: View = View::Private, Rule::asks_for(Control::FilesystemView);

    /// Whether the private root itself cannot be written; the scratch directories still can.
    read_only_root: bool = false, Rule::asks_for(Control::ReadOnlyRoot);

    /// Host paths shown read-only at their own place, with what lies below them; absolute,
    /// normalised, at most 512.
    read: Vec<PathBuf> = Vec::new(),
        Rule::plain("read {} of the host").of(Control::FilesystemView);

    /// Whether a read path may lead through a symbolic link. What is refused is a link in the
    /// path itself; links below it are shown as links and lead nowhere else than inside.
    read_links: Links = Links::Follow,
        Rule::plain("see what a link in a read path leads to").of(Control::FilesystemView);

    /// Size of `/tmp`, `/var/tmp` and the home directory together, in MiB. The default is room
    /// for a virtualenv (about 40), a small `cargo build` (about 100) or gcc's temporaries, within
    /// the memory of `strict`, to which these bytes count.
    tmp_mb: u64 = 256,
        Rule::number(1.0, MAX_MB, "MiB", "fill {} of scratch files").of(Control::FilesystemView);

    /// How many files and directories these may hold. With the default a tree of node modules
    /// fits; at about 1 KiB of kernel memory each they stay within 32 MiB.
    tmp_inodes: u64 = 32_768,
        Rule::number(16.0, MAX_INODES, "files", "make {} in the scratch directories")
            .of(Control::FilesystemView);

    /// Size of `/dev/shm`, in MiB. The default is that of container engines.
    shm_mb: u64 = 64,
        Rule::number(1.0, MAX_MB, "MiB", "fill {} of /dev/shm").of(Control::FilesystemView);

    /// What a workspace's changes may take up, in MiB, where they are kept in memory. The default
    /// is room for a build directory. They count to the memory limit.
    workspace_mb: u64 = 1024,
        Rule::number(1.0, MAX_MB, "MiB", "change {} of a workspace");

    /// How many files and directories these changes may be. With the default a large tree of node modules
    /// fits; at about 1 KiB of kernel memory each they stay within 128 MiB.
    workspace_inodes: u64 = 131_072,
        Rule::number(16.0, MAX_INODES, "files", "change {} in a workspace");

    /// Host directories shown at their own place, to be written to; absolute, normalised, at most
    /// 512. A weakening by name: what a guest writes there is on the host at once, and has no
    /// quota. Needs the private view and a required system call filter.
    write_through: Vec<PathBuf> = Vec::new(),
        Rule::plain("write to {} of the host").of(Control::FilesystemView);
}

section! {
    /// Which namespaces are the sandbox's own. The network namespace follows `network`.
    struct Namespaces("namespaces"), in a file NamespacesText("a table of namespaces");

    /// User ids. An ordinary user needs it for every other one.
    user: bool = true, Rule::asks_for(Control::UserNamespace);

    /// Processes.
    pid: bool = true, Rule::asks_for(Control::PidNamespace);

    /// Mounts.
    mount: bool = true, Rule::asks_for(Control::MountNamespace);

    /// System V IPC and POSIX message queues.
    ipc: bool = true, Rule::asks_for(Control::IpcNamespace);

    /// Host name.
    uts: bool = true, Rule::asks_for(Control::UtsNamespace);

    /// Paths of control groups.
    cgroup: bool = true, Rule::asks_for(Control::CgroupNamespace);
}

section! {
    /// How much the guest may use. A limit that is left out is none. Core dumps are always off.
    struct Limits("limits"), in a file LimitsText("a table of limits");

    /// Memory of all processes and of the scratch directories together, in MiB.
    memory_mb: Option<u64> = None,
        Rule::number(1.0, MAX_MB, "MiB", "use {} of memory").of(Control::Memory);

    /// CPUs' worth of time at a time: 0.5 is half of one. The least is the kernel's: 1 ms of
    /// every 100.
    cpus: Option<f64> = None,
        Rule::number(0.01, MAX_CPUS, "CPUs", "use {} at a time").of(Control::Cpu);

    /// CPU time in all, in milliseconds.
    cpu_time_ms: Option<u64> = None,
        Rule::number(1.0, MAX_MS as f64, "ms", "use {} of CPU time").of(Control::CpuTime);

    /// Processes and threads at a time.
    pids: Option<u32> = None,
        Rule::number(1.0, MAX_PIDS, "processes", "have {} at a time").of(Control::Pids);

    /// Open files of each process. Below 8 a dynamic loader cannot start a program.
    open_files: Option<u32> = None,
        Rule::number(8.0, MAX_OPEN_FILES, "files", "have {} open in one process")
            .of(Control::OpenFiles);

    /// Largest file, in MiB.
    file_size_mb: Option<u64> = None,
        Rule::number(1.0, MAX_MB, "MiB", "write a file of {}").of(Control::FileSize);

    /// Captured bytes of each output stream, in KiB. What passes through a stream that is not
    /// captured has no limit.
    output_kb: u64 = 1024,
        Rule::number(1.0, MAX_OUTPUT_KB, "KiB", "have {} of each output stream kept");

    /// What happens past that bound of the output.
    on_output: OnOutput = OnOutput::Truncate,
        Rule::plain("go on after more output than is kept");
}

impl Eq for Filesystem {}
impl Eq for Namespaces {}
impl Copy for Namespaces {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::section::Section;

    #[test]
    fn every_default_is_in_its_range_and_asks_for_what_basic_does() {
        let mut faults = Vec::new();
        Filesystem::default().check(&mut faults);
        Limits::default().check(&mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(
            Filesystem::default(),
            crate::SandboxPolicy::basic().filesystem
        );
    }

    #[test]
    fn keys_stand_below_their_section_and_weaker_values_have_words() {
        let keys = [Filesystem::KEYS, Namespaces::KEYS, Limits::KEYS].concat();
        for key in &keys {
            assert_eq!(key.path.split('.').count(), 2, "{}", key.path);
            assert_eq!(
                key.rule.weaker.is_empty(),
                key.rule.is_switch,
                "{}",
                key.path
            );
            assert_eq!(
                key.rule.weaker.contains("{}"),
                !key.rule.unit.is_empty()
                    || ["filesystem.read", "filesystem.write_through"].contains(&key.path)
            );
        }
    }
}
