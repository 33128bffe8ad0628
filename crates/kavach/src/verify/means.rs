//! What an answer means.

use super::answer::{Answer, EACCES, EFBIG, ENOENT, ENOSPC, ENOSYS, EPERM, SIGXFSZ};

/// What the answer to a probe means.
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
    /// How many were found, where there should be none.
    NoneOf,
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
            Means::Call
            | Means::Act
            | Means::Removal
            | Means::Privileges
            | Means::Layers
            | Means::NoneOf => true,
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
            (Means::NoneOf, Answer::Value(value)) => refused(value == 0),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_probe_has_its_own_sign_of_a_refusal() {
        use Answer::{Done, Errno, Killed, Other, Unable, Value};
        use Reading::{Effect, Nothing, Refused};
        let (eperm, enosys, efault) = (Errno(EPERM), Errno(ENOSYS), Errno(14));
        for (means, answer, reading) in [
            // The kernel's own refusal says that the call reached it.
            (Means::Call, efault, Effect),
            (Means::Call, Done, Effect),
            (Means::Call, eperm, Refused),
            (Means::Call, enosys, Refused),
            (Means::Call, Killed(31), Refused),
            (Means::Act, Done, Effect),
            (Means::Act, efault, Refused),
            (Means::Act, Other, Refused),
            (Means::Removal, Errno(ENOENT), Effect),
            (Means::Removal, Errno(30), Refused),
            (Means::Privileges, Value(0), Effect),
            (Means::Privileges, Value(1), Refused),
            (Means::NoneOf, Value(1), Effect),
            (Means::NoneOf, Value(0), Refused),
            (Means::AtMost(64), Value(64), Refused),
            (Means::AtMost(64), Value(65), Effect),
            (Means::AtMost(64), Done, Effect),
            (Means::Size, Killed(SIGXFSZ), Refused),
            (Means::Size, Errno(EFBIG), Refused),
            (Means::Size, Errno(ENOSPC), Nothing),
            (Means::Quota, Errno(ENOSPC), Refused),
            (Means::Quota, Killed(SIGXFSZ), Nothing),
            (Means::Quota, Done, Effect),
            (Means::Act, Value(1), Nothing),
            (Means::Layers, Value(15), Nothing),
        ] {
            assert_eq!(means.read(answer, None), reading, "{means:?} {answer:?}");
            assert_eq!(means.read(Unable(11), None), Nothing, "{means:?}");
        }
    }

    #[test]
    fn a_domain_shows_by_one_fewer_than_outside() {
        let read = |inside, outside| {
            let outside = Some(Answer::Value(outside));
            Means::Layers.read(Answer::Value(inside), outside)
        };
        assert_eq!(read(15, 16), Reading::Refused);
        assert_eq!(read(16, 16), Reading::Effect);
        // Inside a domain of the caller's own, too.
        assert_eq!(read(14, 15), Reading::Refused);
    }
}
