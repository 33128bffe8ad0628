//! Looking for setuid and setgid programs where a guest may write.
//!
//! The filter keeps a guest from setting the bits, and the kernel takes them away at a write. But
//! not at a write through a shared map (mmap(2), MAP_SHARED): a program that has a bit already
//! would keep it, with whatever the guest puts in. So a directory that holds one is not opened to
//! guests. What the host itself puts there later is not seen.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{KavachError, Result};

/// Most entries that are looked at: a few seconds of a disk.
const MOST_ENTRIES: usize = 2_000_000;

/// Refuses a directory below which a program has a setuid or setgid bit. `path` names it in
/// errors. Blocks for as long as a walk takes; mounts below are walked too.
pub(super) fn check_none(root: &OwnedFd, path: &Path) -> Result<()> {
    check_at_most(root, path, MOST_ENTRIES)
}

fn check_at_most(root: &OwnedFd, path: &Path, most: usize) -> Result<()> {
    let refused = |problem: String, fix: &str| {
        Err(KavachError::invalid(
            "filesystem.write_through",
            problem,
            "no setuid or setgid program below it: a guest could change what it does",
            fix,
        ))
    };
    let mut open = vec![PathBuf::from(".")];
    let mut left = most;
    while let Some(below) = open.pop() {
        let failed = |e: Errno| KavachError::HostIo {
            op: "look for setuid programs in".into(),
            path: path.join(&below),
            source: e.into(),
        };
        let entries = match list(root, &below, &mut left) {
            Err(Errno::OVERFLOW) => {
                return refused(
                    format!("{path:?} holds more than {most} entries, too many to look through"),
                    "name a smaller directory below it, or give a workspace",
                );
            }
            // Gone meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            // Closed to the guest as well, unless it is the guest's to open.
            Err(Errno::ACCESS) if !is_callers(root, &below) => continue,
            entries => entries.map_err(failed)?,
        };
        for (name, is_directory, mode) in entries {
            let entry = below.join(std::ffi::OsString::from_vec(name.into_bytes()));
            if is_directory {
                open.push(entry);
            } else if gives_rights(mode) {
                let shown = path.join(entry.strip_prefix(".").unwrap_or(&entry));
                return refused(
                    format!("{shown:?} is a program with mode {:04o}", mode & 0o7777),
                    "take the bit away (chmod a-s), or give a workspace",
                );
            }
        }
    }
    Ok(())
}

/// Whether a directory belongs to the caller, whose id an ordinary user's guest has.
fn is_callers(root: &OwnedFd, below: &Path) -> bool {
    let stat = fs::statat(
        root,
        below.as_os_str().as_bytes(),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    stat.is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw())
}

/// Setuid, or setgid of what the group may execute: without that the bit means a lock.
const fn gives_rights(mode: u32) -> bool {
    mode & 0o4000 != 0 || mode & 0o2010 == 0o2010
}

/// An entry: its name, whether it is a directory, and the mode of a file.
type Entry = (CString, bool, u32);

/// The directories and regular files of a directory; EOVERFLOW where more entries than are `left`
/// are in it.
fn list(root: impl AsFd, below: &Path, left: &mut usize) -> rustix::io::Result<Vec<Entry>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let directory = fs::openat2(
        root,
        below.as_os_str().as_bytes(),
        flags,
        Mode::empty(),
        within,
    )?;
    let mut out = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        *left = left.checked_sub(1).ok_or(Errno::OVERFLOW)?;
        // A type that is not told costs a look.
        match entry.file_type() {
            FileType::Directory => out.push((name.to_owned(), true, 0)),
            FileType::RegularFile | FileType::Unknown => {
                let stat = match fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => continue,
                    stat => stat?,
                };
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => out.push((name.to_owned(), true, 0)),
                    FileType::RegularFile => out.push((name.to_owned(), false, stat.st_mode)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir();
            let path = path.join(format!("kavach-privileged-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("a/b")).unwrap();
            std::fs::write(path.join("a/b/plain"), "x").unwrap();
            Self(path)
        }

        fn mode(&self, below: &str, mode: u32) {
            let path = self.0.join(below);
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }

        fn check(&self, most: usize) -> Result<()> {
            let root = crate::host::directories::open(&self.0).unwrap();
            check_at_most(&root, &self.0, most)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_program_with_a_bit_is_named_wherever_it_is() {
        let scratch = Scratch::new("named");
        scratch.check(100).unwrap();
        for mode in [0o4755, 0o4600, 0o2755, 0o6755] {
            scratch.mode("a/b/plain", mode);
            let error = scratch.check(100).unwrap_err().to_string();
            assert!(error.contains("a/b/plain"), "{error}");
            assert!(error.contains(&format!("{mode:04o}")), "{error}");
        }
    }

    #[test]
    fn a_directory_whose_group_is_inherited_and_a_lock_are_no_programs() {
        let scratch = Scratch::new("no-program");
        scratch.mode("a", 0o2755);
        scratch.mode("a/b/plain", 0o2644);
        scratch.check(100).unwrap();
    }

    #[test]
    fn links_are_not_followed_and_many_entries_are_refused() {
        let scratch = Scratch::new("links");
        std::os::unix::fs::symlink("/usr/bin", scratch.0.join("link")).unwrap();
        std::os::unix::fs::symlink("a", scratch.0.join("loop")).unwrap();
        scratch.check(5).unwrap();
        let error = scratch.check(4).unwrap_err().to_string();
        assert!(error.contains("more than 4 entries"), "{error}");
    }
}
