//! The exit codes of the command, as docs/cli.md has them.
//!
//! They follow `timeout(1)`, `env(1)` and the shells. A guest can exit with any of them itself;
//! `--json` tells the two apart.

use kavach::{KavachError, Termination};

/// It worked.
pub(crate) const OK: u8 = 0;
/// `doctor`: the policy `strict` does not work here. `verify`: a control is claimed and was not
/// observed. `gc`: something could not be removed.
pub(crate) const NOT_OK: u8 = 1;
/// The wall clock limit ended the guest.
pub(crate) const TIMED_OUT: u8 = 124;
/// kavach could not do its job; wrong arguments too.
pub(crate) const FAILED: u8 = 125;
/// The program is there but cannot be started.
pub(crate) const CANNOT_START: u8 = 126;
/// The sandbox has no such program.
pub(crate) const NOT_FOUND: u8 = 127;
/// What a signal's number is added to.
pub(crate) const SIGNAL: u8 = 128;
/// Killed: by a limit, or by the second Ctrl-C. 128 + SIGKILL.
pub(crate) const KILLED: u8 = SIGNAL + 9;

/// The code for an error of kavach's.
pub(crate) fn of_error(error: &KavachError) -> u8 {
    match error {
        KavachError::CommandNotFound { .. } => NOT_FOUND,
        KavachError::CommandNotExecutable { .. } => CANNOT_START,
        // The enum may grow; what is not about the program is kavach's own failure.
        _ => FAILED,
    }
}

/// The code for a guest's end.
pub(crate) fn of_end(end: Termination) -> u8 {
    match end {
        Termination::TimedOut => TIMED_OUT,
        Termination::Exited(code) => u8::try_from(code).unwrap_or(FAILED),
        Termination::Signaled(signal) => of_signal(signal),
        _ => KILLED,
    }
}

/// The code that stands for a signal.
pub(crate) fn of_signal(signal: i32) -> u8 {
    u8::try_from(signal)
        .ok()
        .and_then(|signal| SIGNAL.checked_add(signal))
        .unwrap_or(KILLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_the_codes_of_the_library_and_of_the_shells() {
        for end in [
            Termination::Exited(0),
            Termination::Exited(255),
            Termination::Signaled(2),
            Termination::Signaled(13),
            Termination::TimedOut,
            Termination::OutOfMemory,
            Termination::Killed,
        ] {
            assert_eq!(i32::from(of_end(end)), end.exit_code(), "{end}");
        }
        assert_eq!(of_end(Termination::OutOfMemory), KILLED);
    }
}
