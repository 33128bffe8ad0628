//! Paths of the host that are to be shown: opened once, held to what the host side looked at,
//! and shown under ids of the sandbox where their owner has none in it.

use kavach_proto::{MountKind, MountOp, Source, Step};

use super::channel::{At, Failed};
use super::jail::open_proc;
use super::sys::{self, AT_FDCWD, EPROTO, ESTALE, Fd, Res};
use super::view::attributes;

const CLONE_NEWUSER: usize = 0x1000_0000;

/// A detached copy of the source of `op` with its final attributes; `None` for an operation
/// without a source.
pub(crate) fn open(op: &MountOp<'_>, index: usize) -> Result<Option<Fd>, Failed> {
    let (path, source) = match op.kind {
        MountKind::MaskFile => (c"/dev/null", Source::ANY),
        MountKind::Bind | MountKind::Overlay | MountKind::Upper => {
            let source = Source::read(op.data).map_err(|_| EPROTO);
            (op.source, source.at_index(Step::Protocol, index)?)
        }
        _ => return Ok(None),
    };
    let copy = if source == Source::ANY {
        sys::open_tree(AT_FDCWD, path)
    } else {
        pinned(path, &source)
    }
    .at_index(Step::OpenSource, index)?;
    if !source.uid_map.is_empty() {
        user_namespace(source.uid_map, source.gid_map)
            .and_then(|users| sys::mount_idmap(&copy, &users))
            .at_index(Step::IdMapMount, index)?;
    }
    sys::mount_set(&copy, attributes(op.attrs), true).at_index(Step::OpenSource, index)?;
    Ok(Some(copy))
}

/// What is at `path`, if it is what the host side saw there: between its look and this one
/// somebody may have put a link or another directory in its place.
fn pinned(path: &core::ffi::CStr, source: &Source<'_>) -> Res<Fd> {
    let found = sys::open(AT_FDCWD, path, sys::O_PATH)?;
    let seen = sys::stat(&found)?;
    if !source.is(seen.device, seen.inode) {
        return Err(ESTALE);
    }
    sys::open_tree(found.0, c"")
}

/// A user namespace that nothing runs in: a pair of maps for an idmapped mount.
fn user_namespace(uid_map: &[u8], gid_map: &[u8]) -> Res<Fd> {
    let (wait, go) = sys::pipe()?;
    let pid = sys::fork(CLONE_NEWUSER)?;
    if pid == 0 {
        drop(go);
        // Until its maker is through, or gone.
        let _ = sys::read(wait.0, &mut [0]);
        sys::exit(0);
    }
    drop(wait);
    let made = write_map(pid, b"/uid_map", uid_map)
        .and_then(|()| write_map(pid, b"/gid_map", gid_map))
        .and_then(|()| open_proc(pid, b"/ns/user", sys::O_RDONLY));
    drop(go);
    sys::wait_any(true)?;
    made
}

/// In one write, as the kernel demands of maps.
fn write_map(pid: u32, file: &[u8], map: &[u8]) -> Res<()> {
    let file = open_proc(pid, file, sys::O_WRONLY)?;
    sys::write(file.0, map).map(drop)
}
