//! The names of sandbox groups: they say who made them, so that what a dead
//! host left behind can be told from what a live one uses.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// First field of every name.
const PREFIX: &str = "kavach";
/// Longest agent id kept in a name.
const LONGEST_AGENT: usize = 32;

/// Who made a sandbox group.
///
/// Shown as `kavach.<pid>.<start time>.<seq>.<agent>.<pid namespace>`. The pid
/// namespace is there because a pid says nothing in another one: a collector
/// on the host must not take the group of a kavach in a container for dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Process id of the host process, in its own pid namespace.
    pub(crate) pid: u32,
    /// Start time of the host process in clock ticks since boot
    /// (`proc_pid_stat(5)` field 22): a reused pid has another.
    pub(crate) start_time: u64,
    /// Number of the sandbox within the host process.
    pub(crate) seq: u64,
    /// The agent id, cut to `[A-Za-z0-9_-]{0,32}`.
    pub(crate) agent: String,
    /// Inode of the host process's pid namespace.
    pub(crate) pid_namespace: u64,
}

impl Owner {
    /// The calling process as the owner of its sandbox number `seq`. Characters
    /// of `agent_id` outside `[A-Za-z0-9_-]` become `-`.
    ///
    /// # Errors
    /// `/proc/self` is not readable or not what it should be.
    pub(crate) fn current(seq: u64, agent_id: &str) -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let start_time = parse_stat(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat"))?
            .start_time;
        Ok(Self {
            pid: std::process::id(),
            start_time,
            seq,
            agent: sanitise(agent_id),
            pid_namespace: pid_namespace()?,
        })
    }

    /// What the names of all groups of the same host process begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("{PREFIX}.{}.{}.", self.pid, self.start_time)
    }

    /// Reads a name back; `None` for any that this module did not make.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut fields = name.split('.');
        if fields.next()? != PREFIX {
            return None;
        }
        let owner = Self {
            pid: fields.next()?.parse().ok()?,
            start_time: fields.next()?.parse().ok()?,
            seq: fields.next()?.parse().ok()?,
            agent: sanitise(fields.next()?),
            pid_namespace: fields.next()?.parse().ok()?,
        };
        // One spelling per owner: no leading zeros, no signs, nothing behind.
        (owner.to_string() == name).then_some(owner)
    }

    /// Whether the owner is known to be dead. An owner of another pid
    /// namespace is never known to be dead.
    pub(crate) fn is_dead(&self) -> bool {
        if !pid_namespace().is_ok_and(|inode| inode == self.pid_namespace) {
            return false;
        }
        let proc = Path::new("/proc").join(self.pid.to_string());
        match fs::read_to_string(proc.join("stat")).map(|text| parse_stat(&text)) {
            Ok(Some(stat)) if stat.start_time != self.start_time => true,
            // A zombie leader may have threads that still run.
            Ok(Some(stat)) if matches!(stat.state, 'Z' | 'X') => {
                fs::read_dir(proc.join("task")).is_ok_and(|tasks| tasks.count() <= 1)
            }
            Ok(_) => false,
            // hidepid hides processes of others: only ESRCH is a proof.
            Err(_) => i32::try_from(self.pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
                .is_none_or(|pid| {
                    rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
                }),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            start_time,
            seq,
            agent,
            pid_namespace,
        } = self;
        write!(
            f,
            "{PREFIX}.{pid}.{start_time}.{seq}.{agent}.{pid_namespace}"
        )
    }
}

/// An agent id as it may stand in a name.
fn sanitise(agent_id: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    agent_id.chars().take(LONGEST_AGENT).map(keep).collect()
}

/// Inode of the caller's pid namespace.
fn pid_namespace() -> io::Result<u64> {
    let link = fs::read_link("/proc/self/ns/pid")?;
    link.to_str()
        .and_then(|text| text.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/ns/pid"))
}

/// What kavach needs of `proc_pid_stat(5)`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: char,
    pub(super) start_time: u64,
}

/// Parses `/proc/PID/stat`. The command stands in parentheses and may itself
/// hold spaces and parentheses, so fields are counted behind the last one.
pub(super) fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // `state` is field 3, `starttime` field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_current_process_is_an_owner_that_lives() {
        let owner = Owner::current(7, "team/α agent.1").unwrap();
        assert_eq!(owner.agent, "team---agent-1");
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner.clone()));
        assert!(!owner.is_dead());
    }

    #[test]
    fn another_start_time_is_another_process() {
        let owner = Owner::current(1, "").unwrap();
        assert!(
            Owner {
                start_time: owner.start_time + 1,
                ..owner
            }
            .is_dead()
        );
    }

    #[test]
    fn an_owner_of_another_pid_namespace_is_never_dead() {
        let owner = Owner::current(1, "").unwrap();
        let foreign = Owner {
            start_time: 1,
            pid_namespace: owner.pid_namespace + 1,
            ..owner
        };
        assert!(!foreign.is_dead());
    }

    #[test]
    fn an_unreaped_owner_is_dead_and_so_is_a_reaped_one() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let path = format!("/proc/{}/stat", child.id());
        let read = || parse_stat(&fs::read_to_string(&path).unwrap()).unwrap();
        let me = Owner::current(0, "x").unwrap();
        let owner = Owner {
            pid: child.id(),
            start_time: read().start_time,
            ..me
        };
        assert!(!owner.is_dead(), "it waits for its input");
        drop(child.stdin.take());
        while read().state != 'Z' {
            std::thread::yield_now();
        }
        assert!(owner.is_dead(), "a zombie");
        child.wait().unwrap();
        assert!(owner.is_dead(), "gone");
    }

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(
            parse_stat(text),
            Some(Stat {
                state: 'S',
                start_time: 4242
            })
        );
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn only_the_one_spelling_parses() {
        assert!(Owner::parse("kavach.1.2.3.a.9").is_some());
        assert!(Owner::parse("kavach.1.2.3..9").is_some());
        for name in [
            "",
            "kavach",
            "kavach.1.2.3.a",
            "kavach.01.2.3.a.9",
            "kavach.+1.2.3.a.9",
            "kavach.1.2.3.a.9.",
            "kavach.1.2.3.a/b.9",
            "kavach.-1.2.3.a.9",
            "xkavach.1.2.3.a.9",
        ] {
            assert_eq!(Owner::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(name in ".*", stat in ".*") {
            let _ = Owner::parse(&name);
            let _ = parse_stat(&stat);
        }

        #[test]
        fn names_are_safe_path_components_and_read_back(agent in ".*", seq: u64) {
            let owner = Owner {
                pid: 1, start_time: 2, seq, agent: sanitise(&agent), pid_namespace: 3,
            };
            let name = owner.to_string();
            prop_assert!(name.len() < 128);
            prop_assert!(!name.contains('/'));
            prop_assert_eq!(Owner::parse(&name), Some(owner));
        }
    }
}
