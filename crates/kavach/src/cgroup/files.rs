//! The few operations on control files, behind a trait so that tests can play
//! a version 2 kernel on a host that has none.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Access, AtFlags, CWD};

use super::error::CgroupError;

/// No control file that kavach reads is larger; `cgroup.procs` of a larger
/// group is read in several rounds (kill) or cut (statistics).
const LARGEST_FILE: u64 = 1024 * 1024;

/// What the code above needs from a cgroup file system.
pub(super) trait ControlFiles: fmt::Debug + Send + Sync {
    /// `mkdir(2)`.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// `rmdir(2)`.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// One `write(2)` to an existing file.
    fn write(&self, path: &Path, value: &str) -> io::Result<()>;
    /// The whole file, up to [`LARGEST_FILE`].
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Whether the effective ids may write (a directory: make entries).
    fn writable(&self, path: &Path) -> io::Result<()>;
    /// Owner of a file.
    fn owner(&self, path: &Path) -> io::Result<u32>;
}

/// The kernel of this host.
#[derive(Debug)]
pub(super) struct Kernel;

/// The one instance.
pub(super) static KERNEL: Kernel = Kernel;

impl ControlFiles for Kernel {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        // Control files exist or they do not: never create one.
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(value.as_bytes())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        read_bounded(path, LARGEST_FILE).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn writable(&self, path: &Path) -> io::Result<()> {
        let access = if fs::metadata(path)?.is_dir() {
            Access::WRITE_OK | Access::EXEC_OK
        } else {
            Access::WRITE_OK
        };
        // EACCESS: the effective ids decide about later opens, not the real ones.
        Ok(rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS)?)
    }

    fn owner(&self, path: &Path) -> io::Result<u32> {
        Ok(fs::metadata(path)?.uid())
    }
}

/// Reads each file once and answers from memory after that: counters that belong together are of
/// one moment, and a file of several of them costs one reading.
#[derive(Debug)]
pub(super) struct ReadOnce {
    io: &'static dyn ControlFiles,
    texts: Mutex<Vec<(PathBuf, String)>>,
}

impl ReadOnce {
    pub(super) fn new(io: &'static dyn ControlFiles) -> Self {
        Self {
            io,
            texts: Mutex::default(),
        }
    }
}

impl ControlFiles for ReadOnce {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.io.make_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.io.remove_dir(path)
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        self.io.write(path, value)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = texts.iter().find(|(known, _)| known == path) {
            return Ok(text.clone());
        }
        let text = self.io.read(path)?;
        texts.push((path.to_owned(), text.clone()));
        Ok(text)
    }

    fn writable(&self, path: &Path) -> io::Result<()> {
        self.io.writable(path)
    }

    fn owner(&self, path: &Path) -> io::Result<u32> {
        self.io.owner(path)
    }
}

/// Reads at most `limit` bytes.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Room for any ordinary file: without it the standard library begins with tiny reads.
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a control file.
pub(super) fn read(io: &dyn ControlFiles, path: &Path) -> Result<String, CgroupError> {
    io.read(path).map_err(|source| CgroupError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Writes a control file.
pub(super) fn write(io: &dyn ControlFiles, path: &Path, value: &str) -> Result<(), CgroupError> {
    io.write(path, value).map_err(|source| CgroupError::Write {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}
