//! Content of files: comparing and copying, with holes left out.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// How much is read at a time.
const CHUNK: usize = 256 << 10;

/// Tells a long piece of work to end.
#[derive(Debug, Default)]
pub(crate) struct Cancel(AtomicBool);

impl Cancel {
    /// Ends the work at its next step.
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// As the error of a step that could not be finished.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_cancelled() {
            return Err(Errno::CANCELED.into());
        }
        Ok(())
    }
}

/// Where the next bytes that are no hole begin at or after `from`; `None`: only a hole follows.
/// A file of a terabyte can be all hole.
fn data_from(file: &File, from: u64) -> io::Result<Option<u64>> {
    match seek(file.as_fd(), SeekFrom::Data(from)) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        // A filesystem that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(from)),
        Err(e) => Err(e.into()),
    }
}

/// Where the next hole begins after `from`; a hole is at the end of every file.
fn hole_from(file: &File, from: u64) -> io::Result<u64> {
    match seek(file.as_fd(), SeekFrom::Hole(from)) {
        Ok(at) => Ok(at),
        // It became shorter meanwhile: reading will tell.
        Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => Ok(u64::MAX),
        Err(e) => Err(e.into()),
    }
}

/// Whether two files of the same length hold the same bytes.
pub(super) fn same(a: &File, b: &File, cancel: &Cancel) -> io::Result<bool> {
    // One byte more than a short file has, so that its end is seen at once.
    let len = a.metadata()?.len().saturating_add(1);
    let len = usize::try_from(len).map_or(CHUNK, |len| len.min(CHUNK));
    let (mut left, mut right) = (vec![0; len], vec![0; len]);
    let mut at = 0;
    loop {
        cancel.check()?;
        at = match (data_from(a, at)?, data_from(b, at)?) {
            (None, None) => return Ok(true),
            (Some(data), None) | (None, Some(data)) => data,
            (Some(one), Some(other)) => one.min(other),
        };
        let (one, other) = (fill(a, &mut left, at)?, fill(b, &mut right, at)?);
        if left[..one] != right[..other] {
            return Ok(false);
        }
        if one == 0 {
            return Ok(true);
        }
        at += one as u64;
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read_at(&mut buffer[len..], at + len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

/// Why a copy was not made.
#[derive(Debug)]
pub(super) enum NotCopied {
    /// There is more than the limit.
    TooLarge,
    Io(io::Error),
}

impl From<io::Error> for NotCopied {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Copies all of `from` into the empty file `to`, as long as `from` is at the start, and leaves
/// holes where it has holes. What is copied is bounded also while a guest makes the file longer.
pub(super) fn copy(from: &File, to: &File, limit: u64, cancel: &Cancel) -> Result<(), NotCopied> {
    let len = from.metadata()?.len();
    if len > limit {
        return Err(NotCopied::TooLarge);
    }
    to.set_len(len)?;
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(CHUNK).min(CHUNK)];
    let mut at = 0;
    while at < len {
        cancel.check()?;
        let Some(data) = data_from(from, at)? else {
            break;
        };
        let end = hole_from(from, data)?.min(len);
        at = data;
        while at < end {
            cancel.check()?;
            let want = usize::try_from(end - at).map_or(buffer.len(), |n| n.min(buffer.len()));
            let n = fill(from, &mut buffer[..want], at)?;
            if n == 0 {
                // It became shorter: the rest stays a hole, as if read later.
                return Ok(());
            }
            to.write_all_at(&buffer[..n], at)?;
            at += n as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;

    /// A file without a name, in /tmp.
    fn file(parts: &[(u64, &[u8])], len: u64) -> File {
        let name = format!("kavach-content-{}-{:p}", std::process::id(), parts);
        let path = std::env::temp_dir().join(name);
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(len).unwrap();
        for (at, bytes) in parts {
            file.seek(io::SeekFrom::Start(*at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        file
    }

    #[test]
    fn content_is_compared_to_its_last_byte() {
        let go = Cancel::default();
        let long = vec![7; CHUNK + 1];
        let mut other = long.clone();
        other[CHUNK] = 8;
        let a = file(&[(0, &long)], 0);
        assert!(same(&a, &file(&[(0, &long)], 0), &go).unwrap());
        assert!(!same(&a, &file(&[(0, &other)], 0), &go).unwrap());
        assert!(!same(&a, &file(&[(0, &long[1..])], 0), &go).unwrap());
        // Written zeros and a hole are the same content.
        let zeros = file(&[(0, &[0; 70_000])], 0);
        assert!(same(&zeros, &file(&[], 70_000), &go).unwrap());
        assert!(!same(&zeros, &file(&[(69_999, b"x")], 0), &go).unwrap());
    }

    #[test]
    fn a_sparse_terabyte_is_compared_and_copied_by_its_data() {
        let go = Cancel::default();
        let len = 1 << 40;
        let parts: [(u64, &[u8]); 2] = [(1 << 30, b"middle"), (len - 3, b"end")];
        let big = file(&parts, len);
        let copied = file(&[], 0);
        copy(&big, &copied, len, &go).unwrap();
        let meta = copied.metadata().unwrap();
        assert_eq!(meta.len(), len);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        assert!(same(&big, &copied, &go).unwrap());
        assert!(!same(&big, &file(&parts[..1], len), &go).unwrap());
        assert!(matches!(
            copy(&big, &file(&[], 0), len - 1, &go),
            Err(NotCopied::TooLarge)
        ));
    }

    #[test]
    fn a_copy_can_be_cancelled() {
        let stop = Cancel::default();
        stop.cancel();
        let from = file(&[(0, b"x")], 0);
        let done = copy(&from, &file(&[], 0), 10, &stop);
        assert!(matches!(done, Err(NotCopied::Io(e)) if e.raw_os_error() == Some(125)));
    }
}
