//! Identity, limits, Landlock, seccomp, and the namespaces' own settings.

use core::ffi::CStr;

use super::*;

/// Takes ids for acts on files alone (setfsuid(2)). The calls themselves say nothing: an id that
/// cannot be taken is no id of this user namespace.
pub(crate) fn set_fs_ids(uid: u32, gid: u32) -> Res<()> {
    for (call, id) in [(nr::SETFSGID, gid), (nr::SETFSUID, uid)] {
        call!("no pointers", call, id)?;
        // An id that is none changes nothing and returns what is set.
        if call!("no pointers", call, u32::MAX)? != id as usize {
            return Err(EINVAL);
        }
    }
    Ok(())
}

pub(crate) fn set_ids(uid: u32, gid: u32) -> Res<()> {
    call!("no pointers", nr::SETRESGID, gid, gid, gid)?;
    call!("no pointers", nr::SETRESUID, uid, uid, uid).map(drop)
}

pub(crate) fn clear_groups() -> Res<()> {
    call!("an empty list", nr::SETGROUPS, 0, 0).map(drop)
}

/// prctl(2) with integer arguments only.
pub(crate) fn prctl(option: usize, a: usize, b: usize) -> Res<usize> {
    call!(
        "options used here take no pointers",
        nr::PRCTL,
        option,
        a,
        b,
        0,
        0
    )
}

/// Empties the effective, permitted and inheritable capability sets.
pub(crate) fn drop_capabilities() -> Res<()> {
    const VERSION_3: u64 = 0x2008_0522;
    let header = [VERSION_3];
    let none = [0u32; 6];
    call!(
        "header (version 3, pid 0) and data outlive the call",
        nr::CAPSET,
        header.as_ptr(),
        none.as_ptr()
    )
    .map(drop)
}

pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Res<()> {
    let limit = [soft, hard];
    call!(
        "limit outlives the call",
        nr::PRLIMIT64,
        0,
        resource,
        limit.as_ptr(),
        0
    )
    .map(drop)
}

pub(crate) fn set_affinity(mask: &[u8]) -> Res<()> {
    call!(
        "mask is readable for its length",
        nr::SCHED_SETAFFINITY,
        0,
        mask.len(),
        mask.as_ptr()
    )
    .map(drop)
}

pub(crate) fn landlock_ruleset(fs: u64, net: u64, scoped: u64) -> Res<Fd> {
    let attr = [fs, net, scoped];
    // A kernel whose structure is shorter accepts the longer one when its tail is zero.
    call!(
        "attr outlives the call",
        nr::LANDLOCK_CREATE_RULESET,
        attr.as_ptr(),
        size_of_val(&attr),
        0
    )
    .map(|fd| Fd(fd as i32))
}

pub(crate) fn landlock_allow(ruleset: &Fd, access: u64, below: &Fd) -> Res<()> {
    const RULE_PATH_BENEATH: usize = 1;
    #[repr(C, packed)]
    struct PathBeneath {
        access: u64,
        parent: i32,
    }
    let rule = PathBeneath {
        access,
        parent: below.0,
    };
    call!(
        "rule outlives the call",
        nr::LANDLOCK_ADD_RULE,
        sign(ruleset.0),
        RULE_PATH_BENEATH,
        &raw const rule,
        0
    )
    .map(drop)
}

pub(crate) fn landlock_enter(ruleset: i32) -> Res<()> {
    call!("no pointers", nr::LANDLOCK_RESTRICT_SELF, sign(ruleset), 0).map(drop)
}

/// Loads a seccomp filter: eight bytes per instruction.
pub(crate) fn seccomp_filter(program: &[u8]) -> Res<()> {
    const SET_MODE_FILTER: usize = 1;
    #[repr(C)]
    struct Fprog {
        len: u16,
        filter: *const u8,
    }
    let fprog = Fprog {
        len: (program.len() / 8) as u16,
        filter: program.as_ptr(),
    };
    call!(
        "program is readable for len instructions; alignment is no demand of copy_from_user",
        nr::SECCOMP,
        SET_MODE_FILTER,
        0,
        &raw const fprog
    )
    .map(drop)
}

pub(crate) fn set_hostname(name: &CStr) -> Res<()> {
    call!(
        "name is readable for its length",
        nr::SETHOSTNAME,
        name.as_ptr(),
        name.count_bytes()
    )
    .map(drop)
}

/// Brings up `lo`.
pub(crate) fn loopback_up() -> Res<()> {
    const AF_INET_DGRAM: (usize, usize) = (2, 2);
    const SIOCSIFFLAGS: usize = 0x8914;
    const IFF_UP: u8 = 1;
    let socket = Fd(call!(
        "no pointers",
        nr::SOCKET,
        AF_INET_DGRAM.0,
        AF_INET_DGRAM.1 | O_CLOEXEC,
        0
    )? as i32);
    // struct ifreq: name[16], flags (i16), padding.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16] = IFF_UP;
    call!(
        "request outlives the call",
        nr::IOCTL,
        sign(socket.0),
        SIOCSIFFLAGS,
        request.as_mut_ptr()
    )
    .map(drop)
}
