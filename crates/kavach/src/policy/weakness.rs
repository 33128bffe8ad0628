//! What is not wrong with a policy and should be known all the same.

use std::path::Path;

use super::section::Fault;
use super::validate::Wrong;
use super::{Network, PolicyProblem, ProblemKind, SandboxPolicy, View};
use crate::control::{Control, Requirement};

/// Host directories that hold more than a guest has a use for, and what.
const BROAD: [(&str, &str); 8] = [
    ("/boot", "the host's kernel and its settings"),
    (
        "/etc",
        "the host's configuration, readable secrets included",
    ),
    ("/home", "every user's files, keys and tokens included"),
    ("/root", "root's files, keys and tokens included"),
    ("/run", "sockets and run-time data of the host's services"),
    ("/sys", "the host's hardware"),
    ("/var", "data, logs and sockets of the host's services"),
    ("/mnt", "whatever is mounted there"),
];

/// Names of files and directories that hold secrets, wherever they are.
const SECRET: [&str; 9] = [
    ".aws", ".azure", ".config", ".docker", ".gnupg", ".kube", ".netrc", ".npmrc", ".ssh",
];

impl SandboxPolicy {
    /// What is not wrong with this policy, but makes the sandbox weak or means nothing. Of a file,
    /// [`SandboxPolicy::check_file`] also tells the places.
    #[must_use]
    pub fn warnings(&self) -> Vec<PolicyProblem> {
        let warnings = self.weaknesses().into_iter().map(|fault| {
            let Fault { key, wrong } = fault;
            PolicyProblem::of_file(ProblemKind::Warning, &self.name, wrong.problem, wrong.fix)
                .at_key(key)
        });
        warnings.collect()
    }

    /// What makes this policy weak, or means nothing, by the key that does.
    pub(super) fn weaknesses(&self) -> Vec<Fault> {
        let mut found = Vec::new();
        let mut tell = |key: String, problem: String, fix: &str| {
            found.push(Fault {
                key,
                wrong: Wrong::new(problem, "", fix),
            });
        };
        if !self.asks_for(Control::SyscallFilter) {
            tell(
                "syscall_filter.profile".into(),
                "no filter: the guest may make every system call".into(),
                "use the profile \"basic\" or \"strict\"",
            );
        }
        if self.filesystem.view == View::Host {
            tell(
                "filesystem.view".into(),
                "the guest sees the caller's own files, secrets and sockets".into(),
                "use view = \"private\" and name what it needs in `read`",
            );
            if !self.filesystem.read.is_empty() {
                tell(
                    "filesystem.read".into(),
                    "means nothing under view = \"host\", which shows everything".into(),
                    "use view = \"private\", or leave it out",
                );
            }
        }
        if self.network == Network::On && self.requirement(Control::Network) != Requirement::Off {
            tell(
                "network".into(),
                "the guest reaches every network that the caller does, the host's own services \
                 included"
                    .into(),
                "use \"off\" unless it is needed",
            );
        }
        for (index, path) in self.filesystem.read.iter().enumerate() {
            if let Some(holds) = holds_secrets(path) {
                tell(
                    format!("filesystem.read[{index}]"),
                    format!("{path:?} holds {holds}"),
                    "name the files and directories below it that are needed",
                );
            }
        }
        for (index, path) in self.filesystem.write_through.iter().enumerate() {
            tell(
                format!("filesystem.write_through[{index}]"),
                format!(
                    "what the guest writes to {path:?} is on the host at once, without a quota"
                ),
                "give it a workspace, whose changes leave by an apply",
            );
        }
        for (key, control, what) in [
            ("limits.memory_mb", Control::Memory, "the host's memory"),
            ("limits.pids", Control::Pids, "the host's process ids"),
        ] {
            if !self.would_ask_for(control) {
                let problem = format!("no limit: the guest can use up {what}");
                tell(key.into(), problem, "set a limit");
            }
        }
        if let Some(memory) = self.limits.memory_mb
            && self.asks_for(Control::Memory)
            && self
                .filesystem
                .tmp_mb
                .saturating_add(self.filesystem.shm_mb)
                >= memory
        {
            tell(
                "filesystem.tmp_mb".into(),
                format!(
                    "with shm_mb as much as limits.memory_mb ({memory}), to which scratch files \
                     count: a guest that fills them is ended for its memory"
                ),
                "give it less, or the limit more",
            );
        }
        for (control, requirement) in &self.requirements {
            let by_config = matches!(control, Control::WallTime | Control::Credentials);
            let key = format!("requirements.{control}");
            match requirement {
                Requirement::Required => {}
                _ if !by_config && !self.would_ask_for(*control) => tell(
                    key,
                    "means nothing: no other key asks for this control".into(),
                    "leave it out",
                ),
                Requirement::Preferred => tell(
                    key,
                    "where the host cannot enforce it, the guest runs without".into(),
                    "make it \"required\" where it matters",
                ),
                Requirement::Off => tell(
                    key,
                    "switched off, whatever the other keys say".into(),
                    "leave it out, unless that is meant",
                ),
            }
        }
        found
    }
}

/// What a path shows that it better did not.
fn holds_secrets(path: &Path) -> Option<&'static str> {
    // A directory of which only a part was chosen is the policy author's choice.
    let broad = BROAD.iter().find(|(broad, _)| path == Path::new(broad));
    let home = path
        .strip_prefix("/home")
        .is_ok_and(|below| below.components().count() == 1);
    let secret = path
        .components()
        .any(|part| SECRET.iter().any(|secret| part.as_os_str() == *secret));
    let socket = path.ends_with("docker.sock") || path.ends_with("containerd.sock");
    match broad {
        Some((_, holds)) => Some(holds),
        None if home => Some("a user's files, keys and tokens included"),
        None if secret => Some("keys or tokens"),
        None if socket => Some("a way to run programs as root"),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(policy: &SandboxPolicy) -> Vec<String> {
        let found = policy.weaknesses();
        found.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn strict_has_none_and_each_of_the_others_its_own() {
        assert_eq!(keys(&SandboxPolicy::strict()), [""; 0]);
        assert_eq!(
            keys(&SandboxPolicy::basic()),
            ["limits.memory_mb", "limits.pids"]
        );
        assert_eq!(
            keys(&SandboxPolicy::minimal()),
            [
                "syscall_filter.profile",
                "filesystem.view",
                "network",
                "limits.memory_mb",
                "limits.pids"
            ]
        );
    }

    #[test]
    fn each_directory_that_is_written_to_is_told() {
        let mut policy = SandboxPolicy::strict();
        policy.filesystem.write_through = vec!["/srv/a".into(), "/srv/b".into()];
        assert_eq!(
            keys(&policy),
            ["filesystem.write_through[0]", "filesystem.write_through[1]"]
        );
    }

    #[test]
    fn paths_that_hold_secrets_are_told_and_ordinary_ones_are_not() {
        for path in [
            "/home",
            "/home/ann",
            "/etc",
            "/home/ann/.ssh/id",
            "/srv/.aws",
        ] {
            assert!(holds_secrets(Path::new(path)).is_some(), "{path}");
        }
        for path in ["/home/ann/project", "/srv", "/etc/hosts", "/opt/config"] {
            assert!(holds_secrets(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn controls_that_were_given_up_are_told() {
        let mut policy = SandboxPolicy::strict();
        policy.filesystem.tmp_mb = 512;
        policy.requirements.extend([
            (Control::Landlock, Requirement::Preferred),
            (Control::Cpu, Requirement::Off),
            (Control::FileSize, Requirement::Preferred),
        ]);
        assert_eq!(
            keys(&policy),
            [
                "filesystem.tmp_mb",
                "requirements.landlock",
                "requirements.cpu",
                "requirements.file_size"
            ]
        );
    }
}
