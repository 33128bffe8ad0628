//! From a setup frame to PID 1 of a finished sandbox, in two stages.
//!
//! Stage one runs in the host's namespaces with the host's credentials: it opens the sources of
//! the view, creates stage two in its namespaces as a *sibling* (CLONE_PARENT, so that the host
//! process is the parent that the kernel tells about its end), writes its id maps, and ends. A
//! process cannot write a map of ids other than its own, which is why there are two.
//!
//! Stage two is PID 1: it builds the view, gives up every privilege, rehearses a launch so that
//! the host can read the restrictions of a guest from the kernel before any guest runs, and then
//! serves.

use kavach_proto::{Kind, MapKind, SetupReader, Sink, Step, flag};

use super::channel::{At, Channel, Failed, Frame};
use super::launch::{self, Guest};
use super::sys::{self, AT_FDCWD, EPROTO, Fd, Res};
use super::view::{self, Digits, Sources};
use super::{BROKEN, PR_SET_NO_NEW_PRIVS, serve};

const PR_SET_PDEATHSIG: usize = 1;
const PR_SET_DUMPABLE: usize = 4;
const PR_CAPBSET_DROP: usize = 24;
const PR_SET_SECUREBITS: usize = 28;
const PR_SET_CHILD_SUBREAPER: usize = 36;
const PR_CAP_AMBIENT: usize = 47;
const CLONE_PARENT: usize = 0x8000;

pub(crate) fn run() -> ! {
    let Ok(channel) = Channel::from_stdin() else {
        sys::exit(BROKEN)
    };
    let Ok(Some(frame)) = channel.receive() else {
        sys::exit(BROKEN)
    };
    let failed = match build(&channel, &frame) {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    // When the host is gone there is nobody to tell.
    let _ = channel.send_failure(Kind::SetupFailed, 0, failed);
    sys::exit(1)
}

fn build(channel: &Channel, frame: &Frame) -> Result<core::convert::Infallible, Failed> {
    let setup = match frame.kind {
        Kind::Setup => SetupReader::read(frame.payload()).map_err(|_| EPROTO),
        _ => Err(EPROTO),
    }
    .at(Step::Protocol)?;
    sys::umask(0);
    sys::default_signals().at(Step::Signals)?;
    sys::block_signals(1 << (sys::SIGCHLD - 1)).at(Step::Signals)?;
    sys::setsid().at(Step::Session)?;

    let namespaces = clone_flags(&setup);
    let early = namespaces != 0 && setup.has(flag::SOURCES_BEFORE_USERNS);
    let sources = match early {
        true => Some(Sources::open(&setup)?),
        false => None,
    };
    // Before the namespaces: the sandbox's root of the cgroup namespace is where it is then.
    join_groups(channel)?;
    if namespaces == 0 {
        // Backend noop: this process itself serves, on the host as it is. It adopts what its
        // commands leave behind so that it can end them.
        sys::prctl(PR_SET_CHILD_SUBREAPER, 1, 0).at(Step::Subreaper)?;
        announce(channel, sys::getpid())?;
        return finish(channel, &setup);
    }
    die_with_parent()?;
    first_to_go();
    let (wait, go) = sys::pipe().at(Step::Clone)?;
    let pid = sys::fork(namespaces | CLONE_PARENT).at(Step::Clone)?;
    if pid != 0 {
        // First, so that the host takes the status of this child of its own whatever happens.
        announce(channel, pid)?;
        write_maps(&setup, pid).at(Step::IdMap)?;
        sys::write(go.0, b"g").at(Step::Clone)?;
        sys::exit(0);
    }

    die_with_parent()?;
    drop(go);
    if sys::read(wait.0, &mut [0]).at(Step::Clone)? == 0 {
        // Stage one ended early and has said why.
        sys::exit(1);
    }
    drop(wait);
    become_root_inside(&setup).at(Step::Identity)?;
    die_with_parent()?;
    sys::setsid().at(Step::Session)?;
    if setup.has(flag::NEW_USER) {
        limit_namespace().at(Step::NamespaceLimits)?;
    }
    if setup.has(flag::NEW_UTS) {
        sys::set_hostname(setup.hostname).at(Step::Hostname)?;
    }
    if setup.has(flag::LOOPBACK) {
        sys::loopback_up().at(Step::Loopback)?;
    }
    let sources = match sources {
        Some(sources) => sources,
        None => Sources::open(&setup)?,
    };
    if setup.has(flag::NEW_MOUNT) {
        let upper = view::build(&setup, sources)?;
        sys::chdir(c"/").at(Step::Pivot)?;
        if let Some(upper) = upper {
            channel
                .send_descriptor(Kind::Upper, 0, &upper)
                .at(Step::Protocol)?;
        }
    }
    finish(channel, &setup)
}

/// Enters the control groups of the second frame, which the host made meanwhile.
fn join_groups(channel: &Channel) -> Result<(), Failed> {
    match channel.receive().at(Step::Protocol)? {
        Some(frame) if frame.kind == Kind::Join => {
            for (index, group) in frame.fds.as_slice().iter().enumerate() {
                sys::write(*group, b"0").at_index(Step::JoinCgroup, index)?;
            }
            Ok(())
        }
        Some(_) => Err(EPROTO).at(Step::Protocol),
        None => sys::exit(0),
    }
}

/// Gives up privileges, rehearses, serves.
fn finish(channel: &Channel, setup: &SetupReader<'_>) -> Result<core::convert::Infallible, Failed> {
    let mut guest = Guest::prepare(setup)?;
    if setup.has(flag::DROP_PRIVILEGES) {
        lock_securebits().at(Step::Capabilities)?;
        // With its set-user-ID fix-ups locked off this changes no capability set.
        become_guest(setup).at(Step::Identity)?;
        drop_privileges().at(Step::Capabilities)?;
        sys::prctl(PR_SET_NO_NEW_PRIVS, 1, 0).at(Step::NoNewPrivs)?;
    }
    // After no_new_privs, without which an unprivileged process may not enter a domain.
    guest.enter_domain()?;
    // The agent itself: no guest of the same uid may trace it, read its memory or its
    // descriptors. After the last change of credentials, which would undo it. The same changes
    // clear the parent-death signal.
    sys::prctl(PR_SET_DUMPABLE, 0, 0).at(Step::NotDumpable)?;
    if clone_flags(setup) != 0 {
        die_with_parent()?;
    }
    let children = sys::child_events().at(Step::SignalFd)?;
    // Before the filter, which may refuse to change it.
    if !setup.cpus.is_empty() {
        sys::set_affinity(setup.cpus).at(Step::Affinity)?;
    }
    // Last: from here on only what the filter allows.
    guest.enter_filter()?;
    rehearse(channel, &guest)?;
    serve::run(channel, &children, &guest)
}

/// A process with every restriction of a guest waits until the host has looked at it.
fn rehearse(channel: &Channel, guest: &Guest<'_>) -> Result<(), Failed> {
    let (told, tell) = sys::pipe().at(Step::Rehearse)?;
    let (hold, release) = sys::pipe().at(Step::Rehearse)?;
    let pid = sys::fork(0).at(Step::Rehearse)?;
    if pid == 0 {
        drop(release);
        let restricted = launch::session().and_then(|()| guest.restrict());
        // So that an ordinary user's host may look at its namespaces: no guest runs yet, and
        // this process ends before one does.
        let shown = restricted.and_then(|()| {
            sys::prctl(PR_SET_DUMPABLE, 1, 0)
                .map(drop)
                .at(Step::Rehearse)
        });
        launch::tell(&tell, shown.err());
        let _ = sys::read(hold.0, &mut [0]);
        sys::exit(0);
    }
    drop(tell);
    drop(hold);
    launch::outcome(&told)?;
    channel
        .send(Kind::Rehearsing, 0, |out| out.u32(pid))
        .at(Step::Protocol)?;
    match channel.receive().at(Step::Protocol)? {
        Some(frame) if frame.kind == Kind::Continue => {}
        Some(_) => return Err(EPROTO).at(Step::Protocol),
        None => sys::exit(0),
    }
    drop(release);
    sys::wait_any(true).at(Step::Rehearse).map(drop)
}

/// Where memory ends above the sandbox's own limit, or without one, the kernel takes a process of
/// the sandbox before any of the host's, the one that started it included. No control: a guest may
/// lower its own score again, and a host without /proc sets none.
fn first_to_go() {
    let _ = sys::open(AT_FDCWD, c"/proc/self/oom_score_adj", sys::O_WRONLY)
        .and_then(|score| sys::write(score.0, b"1000"));
}

fn announce(channel: &Channel, pid: u32) -> Result<(), Failed> {
    channel
        .send(Kind::Cloned, 0, |out| out.u32(pid))
        .at(Step::Protocol)
}

fn die_with_parent() -> Result<(), Failed> {
    sys::prctl(PR_SET_PDEATHSIG, sys::SIGKILL as usize, 0)
        .map(drop)
        .at(Step::ParentDeath)
}

pub(crate) fn clone_flags(setup: &SetupReader<'_>) -> usize {
    [
        (flag::NEW_MOUNT, 0x0002_0000),
        (flag::NEW_CGROUP, 0x0200_0000),
        (flag::NEW_UTS, 0x0400_0000),
        (flag::NEW_IPC, 0x0800_0000),
        (flag::NEW_USER, 0x1000_0000),
        (flag::NEW_PID, 0x2000_0000),
        (flag::NEW_NET, 0x4000_0000),
    ]
    .into_iter()
    .filter(|(bit, _)| setup.has(*bit))
    .fold(0, |all, (_, clone)| all | clone)
}

fn write_maps(setup: &SetupReader<'_>, pid: u32) -> Res<()> {
    let m = &setup.mapping;
    if m.kind == MapKind::None {
        return Ok(());
    }
    if m.kind == MapKind::Single {
        // user_namespaces(7): without privilege a gid map needs setgroups denied first.
        write_proc(pid, b"/setgroups", &[b"deny"])?;
    }
    let (mut inside, mut outside, mut count) = (Digits::new(), Digits::new(), Digits::new());
    for (file, first_in, first_out) in [
        (&b"/uid_map"[..], m.inside_uid, m.outside_uid),
        (b"/gid_map", m.inside_gid, m.outside_gid),
    ] {
        let line = [
            inside.decimal(first_in.into()).to_bytes(),
            b" ",
            outside.decimal(first_out.into()).to_bytes(),
            b" ",
            count.decimal(m.count.into()).to_bytes(),
        ];
        write_proc(pid, file, &line)?;
    }
    Ok(())
}

/// Writes `/proc/PID` + `file`, in one write, as the kernel demands of maps.
fn write_proc(pid: u32, file: &[u8], parts: &[&[u8]]) -> Res<()> {
    let fd = open_proc(pid, file, sys::O_WRONLY)?;
    let mut text = kavach_proto::Fixed::<64>::new();
    for part in parts {
        text.put(part);
    }
    sys::write(fd.0, text.as_bytes()).map(drop)
}

/// Opens `/proc/PID` + `file`.
pub(crate) fn open_proc(pid: u32, file: &[u8], flags: usize) -> Res<Fd> {
    let mut path = kavach_proto::Fixed::<64>::new();
    let mut number = Digits::new();
    for part in [&b"/proc/"[..], number.decimal(pid.into()).to_bytes(), file] {
        path.put(part);
    }
    let mut buf = [0u8; 64];
    sys::open(AT_FDCWD, view::c_string(&mut buf, path.as_bytes())?, flags)
}

/// Lowers two limits that hold for this user namespace alone (/proc/sys/user, namespaces(7)).
///
/// No namespace of a guest's own: in one it would have every capability, also under a policy
/// without a filter. Few inotify instances: they are charged to whoever created the namespace too,
/// and a guest could use up those of the host's root (128 by default).
fn limit_namespace() -> Res<()> {
    let limits: [(&core::ffi::CStr, &[u8]); 2] = [
        (c"/proc/sys/user/max_user_namespaces", b"0"),
        (c"/proc/sys/user/max_inotify_instances", b"16"),
    ];
    for (file, value) in limits {
        match sys::open(AT_FDCWD, file, sys::O_WRONLY) {
            Ok(file) => sys::write(file.0, value).map(drop)?,
            // Not in this kernel.
            Err(sys::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Id 0 of the sandbox's range builds the view, so that what the guest shall not own is not the
/// guest's. Where only the caller's own id is mapped, it is the guest's id from here on.
fn become_root_inside(setup: &SetupReader<'_>) -> Res<()> {
    let m = &setup.mapping;
    match m.kind {
        MapKind::None => Ok(()),
        // The groups of root on the host stay behind.
        MapKind::Range => {
            sys::clear_groups()?;
            sys::set_ids(0, 0)
        }
        // An ordinary user's groups cannot be dropped: setgroups is denied in its namespace.
        // They show as "nogroup" inside.
        MapKind::Single => sys::set_ids(m.uid, m.gid),
    }
}

fn become_guest(setup: &SetupReader<'_>) -> Res<()> {
    let m = &setup.mapping;
    if m.kind == MapKind::Range {
        sys::set_ids(m.uid, m.gid)
    } else {
        Ok(())
    }
}

/// Executing as uid 0 gives no capability (capabilities(7), "The securebits flags").
fn lock_securebits() -> Res<()> {
    // NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each locked, and KEEP_CAPS locked off.
    const SECUREBITS: usize = 0xef;
    sys::prctl(PR_SET_SECUREBITS, SECUREBITS, 0).map(drop)
}

/// No capability in any set.
fn drop_privileges() -> Res<()> {
    const CLEAR_ALL: usize = 4;
    sys::prctl(PR_CAP_AMBIENT, CLEAR_ALL, 0)?;
    for capability in 0..64 {
        match sys::prctl(PR_CAPBSET_DROP, capability, 0) {
            // The first number that the kernel does not know.
            Err(sys::EINVAL) if capability > 0 => break,
            dropped => dropped.map(drop)?,
        }
    }
    sys::drop_capabilities()
}
