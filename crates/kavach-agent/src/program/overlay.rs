//! The workspace: an overlay over a directory of the host, whose writes go elsewhere.
//!
//! Overlayfs takes its layers by path, and (Linux 5.14 to 6.14) only from mounts of this mount
//! namespace. So the layers stand for a moment on a stage that is mounted where the workspace
//! will be, and are named relative to it, which also keeps the host's paths out of the overlay's
//! options. Before anything is mounted over its place the stage is taken away again with all that
//! is on it: the overlay keeps private copies of its layers, and no path inside leads to them.

use core::ffi::CStr;

use kavach_proto::MountOp;

use super::sys::{self, Fd, Res};
use super::view::{self, Digits};

/// Inodes of the stage that are not the guest's: its root, the layers, what overlayfs makes in
/// its work directory.
const OWN_INODES: u64 = 8;

/// Lays the overlay of `op` over `lower`. `disk` is a directory of the host for its writes; else
/// they go to a new tmpfs, whose upper directory is returned. `guest` is whom it is given to.
pub(crate) fn lay(
    root: &Fd,
    op: &MountOp<'_>,
    lower: &Fd,
    disk: Option<&Fd>,
    guest: Option<(u32, u32)>,
) -> Res<Option<Fd>> {
    let place = view::place_for(root, op.target, lower)?;
    let (mut size, mut inodes) = (Digits::new(), Digits::new());
    let options = [
        (c"size", size.decimal(op.size)),
        (c"nr_inodes", inodes.decimal(op.inodes + OWN_INODES)),
        (c"mode", c"0700"),
    ];
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
    let stage = sys::new_filesystem(c"tmpfs", &options, attrs)?;
    sys::attach(&stage, &place)?;
    stand(&stage, c"lower", lower)?;
    let (upper, work) = match disk {
        Some(disk) => {
            stand(&stage, c"disk", disk)?;
            (c"disk/layers/upper", c"disk/layers/work")
        }
        None => {
            // The workspace has the permissions of the directory below, and is the guest's.
            let mode = sys::stat(lower)?.mode & 0o1777;
            sys::mkdir(&stage, c"upper", mode)?;
            if let Some((uid, gid)) = guest {
                sys::chown(&open_beside(&stage, c"upper")?, uid, gid)?;
            }
            sys::mkdir(&stage, c"work", 0o700)?;
            (c"upper", c"work")
        }
    };
    let kept = match disk {
        Some(_) => None,
        None => Some(open_beside(&stage, upper)?),
    };
    let options = [
        (c"lowerdir", c"lower"),
        (c"upperdir", upper),
        (c"workdir", work),
        // The marks of a mount in a user namespace: never `trusted.`, no redirects, no metacopy.
        (c"userxattr", sys::NO_VALUE),
        // A distribution may have switched it on; it would leave handles of lower files behind.
        (c"index", c"off"),
    ];
    sys::fchdir(&stage)?;
    let overlay = as_guest(guest, || sys::new_filesystem(c"overlay", &options, attrs))?;
    sys::unmount(c".")?;
    sys::attach(&overlay, &place)?;
    Ok(kept)
}

/// Overlayfs works on its layers with the credentials of who made it. On the host's disk there is
/// only the guest: id 0 of the sandbox stands for nobody there, and could make nothing.
fn as_guest(guest: Option<(u32, u32)>, act: impl FnOnce() -> Res<Fd>) -> Res<Fd> {
    const PR_SET_SECUREBITS: usize = 28;
    // Capabilities stay when ids change (capabilities(7)).
    const NO_SETUID_FIXUP: usize = 1 << 2;
    let Some((uid, gid)) = guest else {
        return act();
    };
    sys::prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0)?;
    sys::set_fs_ids(uid, gid)?;
    let done = act();
    sys::set_fs_ids(0, 0)?;
    done
}

/// Makes a layer reachable by a name on the stage.
fn stand(stage: &Fd, name: &CStr, layer: &Fd) -> Res<()> {
    sys::mkdir(stage, name, 0o700)?;
    sys::attach(layer, &open_beside(stage, name)?)
}

fn open_beside(stage: &Fd, name: &CStr) -> Res<Fd> {
    let flags = sys::O_PATH | sys::O_DIRECTORY | sys::O_NOFOLLOW;
    sys::open(stage.0, name, flags)
}
