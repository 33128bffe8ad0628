//! The marks that overlayfs leaves in its upper directory (kernel: filesystems/overlayfs.rst).

use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{Mode, XattrFlags, chmod, getxattr, listxattr, setxattr};
use rustix::io::Errno;

use super::entry::EntryKind;
use super::node::{Node, is};
use super::path::escaped;

/// Longest list of attribute names (`XATTR_LIST_MAX`).
const LONGEST_LIST: usize = 1 << 16;

/// What the marks of one entry say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// A file of which only the name counts: the lower entry is deleted.
    pub(super) whiteout: bool,
    /// A directory that hides all of the lower one.
    pub(super) opaque: bool,
    /// A mark that says "this content is somewhere else", which kavach's mounts never make.
    pub(super) elsewhere: Option<&'static str>,
    /// The names of the guest's own attributes, escaped.
    pub(super) others: Vec<String>,
}

/// Whether an entry stands for a deletion by its type alone: a character device 0:0.
pub(super) fn is_whiteout(node: &Node) -> bool {
    node.kind() == EntryKind::CharDevice && node.meta.rdev() == 0
}

/// Reads the marks of a file or directory. `userxattr` is the mount's option: where the marks are
/// in the namespace `user.` and not `trusted.`.
///
/// EACCES where a mark may not be read, which the right to read the entry takes for `user.`.
pub(super) fn marks(node: &Node, userxattr: bool) -> io::Result<Marks> {
    let own = namespace(userxattr);
    let path = node.magic();
    let mut marks = Marks::default();
    for name in attributes(&path)? {
        let Some(mark) = name.strip_prefix(own.as_bytes()) else {
            marks.others.push(escaped(&name));
            continue;
        };
        match mark {
            b"opaque" => {
                let mut value = [0; 1];
                // `x` only says that whiteouts in the form of attributes are inside. The kernel
                // too reads one byte and takes anything longer for no mark.
                marks.opaque = match getxattr(&*path, &*name, &mut value) {
                    Ok(len) => len == 1 && value == *b"y",
                    Err(Errno::RANGE | Errno::NODATA) => false,
                    Err(e) => return Err(e.into()),
                };
            }
            b"whiteout" => marks.whiteout = node.meta.size() == 0,
            b"redirect" => marks.elsewhere = Some("a redirect"),
            b"metacopy" => marks.elsewhere = Some("a file without its content (metacopy)"),
            _ => {
                // The guest's own attribute of a name that overlayfs uses itself, moved aside.
                if let Some(theirs) = mark.strip_prefix(b"overlay.") {
                    marks
                        .others
                        .push(escaped(&[own.as_bytes(), theirs].concat()));
                }
            }
        }
    }
    Ok(marks)
}

/// Marks a directory of the upper one as hiding all of the lower one. That changes nothing of
/// what the guest sees where the lower one has none.
///
/// Without it, a directory that comes to be below would be merged into the guest's the next time
/// the kernel looks it up, and what the guest deletes in it could not be told: overlayfs leaves
/// no whiteout in a directory that was the guest's alone when it was opened.
pub(super) fn set_opaque(node: &Node, userxattr: bool) -> io::Result<()> {
    let name = format!("{}opaque", namespace(userxattr));
    let path = node.magic();
    let set = || setxattr(&*path, &*name, b"y", XattrFlags::empty());
    match set() {
        // In `user.` it takes the right to write the directory, which its owner can give.
        Err(Errno::ACCESS) => {
            let mode = |bits| Mode::from_raw_mode(bits & 0o7777);
            chmod(&*path, mode(node.meta.mode() | 0o300))?;
            let done = set();
            chmod(&*path, mode(node.meta.mode()))?;
            Ok(done?)
        }
        done => Ok(done?),
    }
}

const fn namespace(userxattr: bool) -> &'static str {
    if userxattr {
        "user.overlay."
    } else {
        "trusted.overlay."
    }
}

/// The names of an entry's attributes; none on a filesystem that has no attributes.
fn attributes(path: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0; 1024];
    let len = loop {
        match listxattr(path, &mut *list) {
            Ok(len) => break len,
            Err(Errno::RANGE) if list.len() < LONGEST_LIST => list.resize(LONGEST_LIST, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
    };
    let names = list[..len]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// Whether an error says that the caller has not the right.
pub(super) fn is_denied(e: &io::Error) -> bool {
    is(e, Errno::ACCESS) || is(e, Errno::PERM)
}
