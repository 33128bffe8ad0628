//! A plan as the flat data that the agent builds from.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kavach_proto::{
    MapKind, Mapping as WireMapping, MountKind, MountSpec, Rlimit, SetupWriter, attr, flag,
};

use super::ids::IdRange;
use super::sources::{self, Operation};
use crate::error::{KavachError, Result};
use crate::plan::{Mapping, MountStep, Owner, Plan, Resource, UpperPlan};
use crate::seccomp::{self, Options, Profile};

/// The setup frame's payload.
pub(super) fn encode(plan: &Plan, range: Option<&IdRange>) -> Result<Vec<u8>> {
    let program = match &plan.syscall_filter {
        Some(filter) => compile(&filter.profile, filter.options.into())?,
        None => Arc::default(),
    };
    let operations = sources::operations(plan, range);
    let hostname = plan.identity.hostname.as_deref().unwrap_or("");
    let root = (plan.view.root_size_bytes, plan.view.root_inodes);
    let (handled, rules) = match &plan.landlock {
        Some(l) => ((l.handled_fs, l.handled_net, l.scoped), l.rules.as_slice()),
        None => ((0, 0, 0), [].as_slice()),
    };
    Ok(SetupWriter::new(
        flags(plan),
        &mapping(plan, range),
        hostname.as_bytes(),
        root,
    )
    .mounts(operations.iter().map(mount))
    .limits(&rlimits(plan), &affinity(plan))
    .landlock(
        handled,
        rules
            .iter()
            .map(|r| (r.access, r.path.as_os_str().as_bytes())),
    )
    .filter(&program))
}

/// Compiled filters by what they were compiled from. There are two profiles and four switches.
static COMPILED: Mutex<Vec<Compiled>> = Mutex::new(Vec::new());

/// A profile, what it was compiled for, and the program.
type Compiled = (String, Options, Arc<[u8]>);

fn compile(profile: &str, options: Options) -> Result<Arc<[u8]>> {
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = compiled
        .iter()
        .find(|(name, of, _)| name == profile && *of == options);
    if let Some((_, _, program)) = known {
        return Ok(program.clone());
    }
    let program: Arc<[u8]> = compile_anew(profile, options)?.into();
    compiled.push((profile.to_owned(), options, program.clone()));
    Ok(program)
}

fn compile_anew(profile: &str, options: Options) -> Result<Vec<u8>> {
    let unavailable = |found: String| KavachError::ControlUnavailable {
        control: crate::Control::SyscallFilter,
        required: format!("the profile `{profile}` as a seccomp program"),
        found,
        fix: "this is an error in the profile; please report it".into(),
    };
    let profile = Profile::by_name(profile).map_err(|e| unavailable(e.to_string()))?;
    let program = seccomp::compile(profile, &options).map_err(|e| unavailable(e.to_string()))?;
    Ok(program.to_bytes())
}

fn flags(plan: &Plan) -> u32 {
    let ns = plan.namespaces;
    [
        (ns.user, flag::NEW_USER),
        (ns.pid, flag::NEW_PID),
        (ns.mount, flag::NEW_MOUNT),
        (ns.network, flag::NEW_NET | flag::LOOPBACK),
        (ns.ipc, flag::NEW_IPC),
        (ns.uts, flag::NEW_UTS),
        (ns.cgroup, flag::NEW_CGROUP),
        (plan.view.private_root, flag::PRIVATE_ROOT),
        (plan.view.read_only_root, flag::READ_ONLY_ROOT),
        (
            rustix::process::geteuid().is_root(),
            flag::SOURCES_BEFORE_USERNS,
        ),
        (true, flag::DROP_PRIVILEGES),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .fold(0, |all, (_, bits)| all | bits)
}

fn mapping(plan: &Plan, range: Option<&IdRange>) -> WireMapping {
    let (uid, gid) = (plan.identity.uid, plan.identity.gid);
    let none = WireMapping {
        kind: MapKind::None,
        inside_uid: 0,
        inside_gid: 0,
        outside_uid: 0,
        outside_gid: 0,
        count: 0,
        uid,
        gid,
    };
    match (plan.mapping, range) {
        (Mapping::SelfSingle { uid, gid }, _) => WireMapping {
            kind: MapKind::Single,
            inside_uid: uid,
            inside_gid: gid,
            outside_uid: rustix::process::geteuid().as_raw(),
            outside_gid: rustix::process::getegid().as_raw(),
            count: 1,
            ..none
        },
        (Mapping::Range { .. }, Some(range)) => WireMapping {
            kind: MapKind::Range,
            outside_uid: range.first(),
            outside_gid: range.first(),
            count: range.count(),
            ..none
        },
        _ => none,
    }
}

fn rlimits(plan: &Plan) -> Vec<Rlimit> {
    plan.rlimits
        .iter()
        .map(|limit| {
            // Raising a hard limit needs a capability that nobody here should have.
            let most = rustix::process::getrlimit(rustix_resource(limit.resource)).maximum;
            let hard = most.map_or(limit.hard, |most| most.min(limit.hard));
            Rlimit {
                resource: number(limit.resource),
                soft: limit.soft.min(hard),
                hard,
            }
        })
        .collect()
}

/// RLIMIT_* of asm-generic/resource.h.
const fn number(resource: Resource) -> u32 {
    match resource {
        Resource::Cpu => 0,
        Resource::FileSize => 1,
        Resource::Core => 4,
        Resource::Processes => 6,
        Resource::OpenFiles => 7,
    }
}

const fn rustix_resource(resource: Resource) -> rustix::process::Resource {
    use rustix::process::Resource as R;
    match resource {
        Resource::Cpu => R::Cpu,
        Resource::FileSize => R::Fsize,
        Resource::Core => R::Core,
        Resource::Processes => R::Nproc,
        Resource::OpenFiles => R::Nofile,
    }
}

/// A mask of as many of this process's CPUs as the plan allows, from a different one each time so
/// that sandboxes spread.
fn affinity(plan: &Plan) -> Vec<u8> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let Some(want) = plan.limits.affinity_cpus else {
        return Vec::new();
    };
    let Ok(ours) = rustix::thread::sched_getaffinity(None) else {
        return Vec::new();
    };
    let usable: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| ours.is_set(*cpu))
        .collect();
    if usable.is_empty() {
        return Vec::new();
    }
    let mut mask = vec![0u8; rustix::thread::CpuSet::MAX_CPU / 8];
    let first = NEXT.fetch_add(want as usize, Ordering::Relaxed);
    for i in 0..(want as usize).min(usable.len()) {
        let cpu = usable.get((first + i) % usable.len()).copied().unwrap_or(0);
        if let Some(byte) = mask.get_mut(cpu / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }
    mask
}

fn mount<'o>(op: &'o Operation<'_>) -> MountSpec<'o> {
    let bytes = as_bytes;
    let empty = MountSpec {
        kind: MountKind::Dir,
        attrs: 0,
        mode: 0,
        size: 0,
        inodes: 0,
        target: &[],
        source: &[],
        data: &[],
    };
    let bit = |on: bool, bit: u32| if on { bit } else { 0 };
    let guest = |owner: &Owner| bit(*owner == Owner::Guest, attr::GUEST_OWNED);
    match op.step {
        MountStep::Dir {
            target,
            mode,
            owner,
        } => MountSpec {
            mode: *mode,
            attrs: guest(owner),
            target: bytes(target),
            ..empty
        },
        MountStep::Symlink { target, link } => MountSpec {
            kind: MountKind::Symlink,
            target: bytes(target),
            source: bytes(link),
            ..empty
        },
        MountStep::File {
            target,
            mode,
            owner,
            contents,
        } => MountSpec {
            kind: MountKind::File,
            mode: *mode,
            attrs: guest(owner),
            target: bytes(target),
            data: contents,
            ..empty
        },
        MountStep::Bind {
            source,
            target,
            read_only,
            allow_dev,
            optional,
            ..
        } => MountSpec {
            kind: MountKind::Bind,
            attrs: bit(*read_only, attr::READ_ONLY)
                | bit(*allow_dev, attr::DEVICES)
                | bit(*optional, attr::OPTIONAL),
            target: bytes(target),
            source: bytes(source),
            data: &op.data,
            ..empty
        },
        MountStep::WriteThrough { directory } => MountSpec {
            kind: MountKind::Bind,
            target: bytes(&directory.path),
            source: bytes(&directory.path),
            data: &op.data,
            ..empty
        },
        MountStep::Workspace {
            upper: UpperPlan::Directory(upper),
            ..
        } if op.is_upper => MountSpec {
            kind: MountKind::Upper,
            source: bytes(&upper.path),
            target: bytes(&upper.path),
            data: &op.data,
            ..empty
        },
        MountStep::Workspace { lower, upper } => {
            let (size, inodes) = match upper {
                UpperPlan::Tmpfs { size_bytes, inodes } => (*size_bytes, *inodes),
                // For the mount points of the layers.
                UpperPlan::Directory(_) => (4096, 0),
            };
            MountSpec {
                kind: MountKind::Overlay,
                attrs: attr::READ_ONLY,
                size,
                inodes,
                target: bytes(&lower.path),
                source: bytes(&lower.path),
                data: &op.data,
                ..empty
            }
        }
        MountStep::BindInside { source, target } => MountSpec {
            kind: MountKind::BindInside,
            target: bytes(target),
            source: bytes(source),
            ..empty
        },
        MountStep::Tmpfs {
            target,
            size_bytes,
            inodes,
            mode,
            noexec,
        } => MountSpec {
            kind: MountKind::Tmpfs,
            attrs: bit(*noexec, attr::NO_EXEC),
            mode: *mode,
            size: *size_bytes,
            inodes: *inodes,
            target: bytes(target),
            ..empty
        },
        MountStep::Proc { target, hidepid } => MountSpec {
            kind: MountKind::Proc,
            mode: (*hidepid).into(),
            target: bytes(target),
            ..empty
        },
        MountStep::DevPts { target } => MountSpec {
            kind: MountKind::DevPts,
            target: bytes(target),
            ..empty
        },
        MountStep::MaskFile { target } => MountSpec {
            kind: MountKind::MaskFile,
            attrs: attr::OPTIONAL | attr::READ_ONLY | attr::DEVICES,
            target: bytes(target),
            ..empty
        },
        MountStep::MaskDir { target } => MountSpec {
            kind: MountKind::MaskDir,
            attrs: attr::OPTIONAL,
            target: bytes(target),
            ..empty
        },
        MountStep::ReadOnlyRemount { target } => MountSpec {
            kind: MountKind::ReadOnly,
            attrs: attr::OPTIONAL,
            target: bytes(target),
            ..empty
        },
        MountStep::Detach { target } => MountSpec {
            kind: MountKind::Detach,
            target: bytes(target),
            ..empty
        },
    }
}

fn as_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
