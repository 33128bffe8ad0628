//! What became of each change.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

use super::change::ChangeKind;
use super::entry::EntryKind;
use super::path::{EntryPath, escaped};

/// What an apply did. Each change that was selected is in one of the two lists.
///
/// JSON: `{"applied": […], "refused": […], "held_back": N, "unselected": N, "unmatched": […],
/// "stood_still": bool}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// What is on the host now, in the order of paths.
    pub applied: Vec<AppliedChange>,
    /// What is not, each with its reason, in the order of paths.
    pub refused: Vec<Refused>,
    /// How many changes could have been applied, and were not because of the refused ones
    /// ([`ApplyOptions::all_or_nothing`](super::ApplyOptions::all_or_nothing)).
    pub held_back: usize,
    /// How many changes were not selected.
    pub unselected: usize,
    /// Paths that were selected by name and have no change.
    pub unmatched: Vec<EntryPath>,
    /// Whether every process of the sandbox stood still meanwhile. Where not, what was applied is
    /// all the same what was checked, but one file may be from before and another from after
    /// something the guest did.
    pub stood_still: bool,
}

impl Applied {
    /// Whether nothing was refused or held back.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.refused.is_empty() && self.held_back == 0
    }

    /// The refused changes that host and guest both made.
    pub fn conflicts(&self) -> impl Iterator<Item = &Refused> {
        let is_conflict = |r: &&Refused| matches!(r.reason, Refusal::Conflict);
        self.refused.iter().filter(is_conflict)
    }
}

/// A change that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AppliedChange {
    /// Where.
    pub path: EntryPath,
    /// What.
    pub kind: ChangeKind,
}

/// A change that was not applied. The host has what it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refused {
    /// Where.
    pub path: EntryPath,
    /// What.
    pub kind: ChangeKind,
    /// Why not.
    pub reason: Refusal,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Why a change was not applied. In JSON `{"code": "…", "message": "…"}`; the code is stable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Programs of the host act on such a file by themselves, for instance a git hook. It is
    /// applied where it is allowed by name.
    Protected {
        /// What it is, for people.
        what: &'static str,
    },
    /// A name that kavach uses for its own temporary files.
    Reserved,
    /// A socket, FIFO or device.
    Special {
        /// Which.
        kind: EntryKind,
    },
    /// A setuid, setgid or sticky bit that the host's entry has not.
    SpecialBits {
        /// The permissions with it.
        mode: u32,
    },
    /// A symbolic link with an absolute target.
    AbsoluteLink {
        /// The target.
        target: Vec<u8>,
    },
    /// A symbolic link that leads out of the workspace, by itself or through another link, or
    /// whose `..` after a name could do so once that name is a link.
    EscapingLink {
        /// The target.
        target: Vec<u8>,
    },
    /// The host has a symbolic link where the guest has a directory.
    ThroughLink,
    /// The place is on another filesystem of the host: something is mounted there.
    OtherFilesystem,
    /// The host changed it too, since the sandbox began or since the changes were listed.
    Conflict,
    /// The guest changed it after the changes were listed.
    Stale,
    /// The file is longer than the limit.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The caller may not read what the guest made.
    Unreadable,
    /// The directory holds something that is not deleted with it.
    NotEmpty,
    /// The directory that it is in is not there.
    NoDirectory,
    /// The file would have to change its owner or group, which the caller may not undo.
    Owner,
    /// The caller's own review said no.
    Declined {
        /// Its reason.
        reason: String,
    },
    /// The sandbox was ended, or the apply given up, before its turn came.
    Interrupted,
    /// The host refused an act.
    Host {
        /// The act, as a verb.
        act: &'static str,
        /// The number of the error, see errno(3); 0 where there is none.
        errno: i32,
    },
}

impl Refusal {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Protected { .. } => "protected",
            Self::Reserved => "reserved",
            Self::Special { .. } => "special",
            Self::SpecialBits { .. } => "special_bits",
            Self::AbsoluteLink { .. } => "absolute_link",
            Self::EscapingLink { .. } => "escaping_link",
            Self::ThroughLink => "through_link",
            Self::OtherFilesystem => "other_filesystem",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::TooLarge { .. } => "too_large",
            Self::Unreadable => "unreadable",
            Self::NotEmpty => "not_empty",
            Self::NoDirectory => "no_directory",
            Self::Owner => "owner",
            Self::Declined { .. } => "declined",
            Self::Interrupted => "interrupted",
            Self::Host { .. } => "host",
        }
    }

    /// An answer of the kernel.
    pub(super) fn host(act: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            use rustix::io::Errno;
            match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::LOOP) => Self::ThroughLink,
                Some(Errno::XDEV) => Self::OtherFilesystem,
                Some(Errno::CANCELED) => Self::Interrupted,
                errno => Self::Host {
                    act,
                    errno: errno.map_or(0, Errno::raw_os_error),
                },
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected { what } => write!(f, "{what}; it is applied only if allowed by name"),
            Self::Reserved => f.write_str("the name is one of kavach's temporary files"),
            Self::Special { kind } => write!(f, "a {kind}"),
            Self::SpecialBits { mode } => {
                write!(f, "setuid, setgid or sticky bit (mode {mode:04o})")
            }
            Self::AbsoluteLink { target } => {
                write!(
                    f,
                    "a symbolic link to an absolute path, {}",
                    escaped(target)
                )
            }
            Self::EscapingLink { target } => {
                write!(
                    f,
                    "a symbolic link that can lead out of the workspace, {}",
                    escaped(target)
                )
            }
            Self::ThroughLink => {
                f.write_str("the host has a symbolic link where the sandbox has a directory")
            }
            Self::OtherFilesystem => f.write_str("another filesystem is mounted there"),
            Self::Conflict => f.write_str("the host changed it too"),
            Self::Stale => f.write_str("the sandbox changed it after it was listed"),
            Self::TooLarge { limit } => write!(f, "longer than {limit} bytes"),
            Self::Unreadable => f.write_str("its permissions keep the caller from reading it"),
            Self::NotEmpty => f.write_str("the directory holds something that stays"),
            Self::NoDirectory => f.write_str("the directory it is in is not there"),
            Self::Owner => f.write_str("it would change its owner or group"),
            Self::Declined { reason } => write!(f, "declined: {reason}"),
            Self::Interrupted => f.write_str("interrupted before its turn"),
            Self::Host { act, errno: 0 } => write!(f, "cannot {act}"),
            Self::Host { act, errno } => {
                write!(f, "cannot {act}: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<'a> {
            code: &'a str,
            message: String,
        }
        Document {
            code: self.code(),
            message: self.to_string(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_as_people_and_programs_see_it() {
        let all = [
            Refusal::Protected { what: "a git hook" },
            Refusal::Reserved,
            Refusal::Special {
                kind: EntryKind::Socket,
            },
            Refusal::SpecialBits { mode: 0o4755 },
            Refusal::AbsoluteLink {
                target: b"/etc/passwd".to_vec(),
            },
            Refusal::EscapingLink {
                target: b"../\x1b[2J".to_vec(),
            },
            Refusal::ThroughLink,
            Refusal::OtherFilesystem,
            Refusal::Conflict,
            Refusal::Stale,
            Refusal::TooLarge { limit: 10 },
            Refusal::Unreadable,
            Refusal::NotEmpty,
            Refusal::NoDirectory,
            Refusal::Owner,
            Refusal::Declined {
                reason: "a secret in it".into(),
            },
            Refusal::Interrupted,
            Refusal::Host {
                act: "write",
                errno: 28,
            },
        ];
        let mut text = String::new();
        for refusal in all {
            text += &serde_json::to_string(&refusal).unwrap();
            text.push('\n');
        }
        insta::assert_snapshot!(text);
    }
}
