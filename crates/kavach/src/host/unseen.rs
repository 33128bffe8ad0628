//! Looks that failed, which are not the same as looks that found nothing.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A look that failed for want of memory, descriptors or a disk that answers: no answer, unlike a
/// refusal or "not there".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    /// What was looked at.
    pub path: PathBuf,
    /// The kernel's answer, a number of `errno(3)`.
    pub errno: i32,
}

impl Unseen {
    /// What `errno` says of a look at `path`, if it is no answer.
    pub(super) fn from_errno(path: &Path, errno: i32) -> Option<Self> {
        const NO_ANSWER: [Errno; 7] = [
            Errno::INTR,
            Errno::IO,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::NOSPC,
        ];
        let none = NO_ANSWER.iter().any(|e| e.raw_os_error() == errno);
        none.then(|| Self {
            path: path.to_path_buf(),
            errno,
        })
    }
}

/// Notes the first such look.
#[derive(Debug, Default)]
pub(super) struct Eyes(RefCell<Option<Unseen>>);

impl Eyes {
    /// Hands a result on, having taken note of it.
    pub(super) fn seen<T>(&self, path: &Path, look: io::Result<T>) -> io::Result<T> {
        let errno = look.as_ref().err().and_then(io::Error::raw_os_error);
        if let Some(unseen) = errno.and_then(|errno| Unseen::from_errno(path, errno)) {
            self.0.borrow_mut().get_or_insert(unseen);
        }
        look
    }

    /// Whether something is there.
    pub(super) fn exists(&self, path: &str) -> bool {
        let path = Path::new(path);
        self.seen(path, path.try_exists()).unwrap_or(false)
    }

    /// What was noted.
    pub(super) fn unseen(self) -> Option<Unseen> {
        self.0.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_no_answer_and_a_refusal_is_one() {
        let eyes = Eyes::default();
        let look = |path: &str, errno: Errno| {
            let look: io::Result<()> = Err(errno.into());
            assert!(eyes.seen(Path::new(path), look).is_err());
        };
        look("/missing", Errno::NOENT);
        look("/forbidden", Errno::ACCESS);
        look("/first", Errno::MFILE);
        look("/second", Errno::NOMEM);
        let unseen = eyes.unseen().unwrap();
        assert_eq!(unseen.path, Path::new("/first"));
        assert_eq!(unseen.errno, Errno::MFILE.raw_os_error());
    }
}
