//! What the calling process, or the host, has too little of.

use std::error::Error;
use std::io;

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// What helps, if a limit of the caller's own process was in the way. Wherever it was met: each
/// of the many small steps of building a sandbox can be the one.
pub(super) fn hint(error: &dyn Error) -> Option<&'static str> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let number = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        match number {
            Some(EMFILE) => {
                return Some("raise this process's limit of open files (`ulimit -n`)");
            }
            Some(ENFILE) => return Some("raise the host's limit of open files (fs.file-max)"),
            _ => cause = error.source(),
        }
    }
    None
}
