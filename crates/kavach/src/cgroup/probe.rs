//! Where child groups can be made on this host, and why not where they cannot.

use std::io;
use std::path::{Path, PathBuf};

use super::error::CgroupError;
use super::files::{ControlFiles, KERNEL, read_bounded};
use super::layout::{
    LARGEST_CGROUP, LARGEST_MOUNTINFO, Layout, LayoutError, Mount, parse_controllers,
};
#[cfg(test)]
use super::limits::Limits;
use super::{Controller, Version};

/// A directory in which groups can be made for one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Interface of the hierarchy.
    pub(crate) version: Version,
    /// The directory in which sandbox groups are made.
    pub(crate) base: PathBuf,
}

/// Why a controller cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Unavailable {
    /// No mounted hierarchy has it.
    #[error("no mounted cgroup hierarchy has it")]
    NotMounted,
    /// The hierarchy is mounted without the caller's own group in it.
    #[error("the mount {} does not show this process's own group", mount.display())]
    OutsideMount {
        /// The mount point.
        mount: PathBuf,
    },
    /// The group may not be written by this user.
    #[error("{} is not writable for this user", path.display())]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
    },
    /// The hierarchy is mounted read-only.
    #[error("{} is on a read-only mount", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
    },
    /// Version 2: no group within the delegated subtree has the controller.
    #[error("{} does not offer the controller", path.display())]
    NotOffered {
        /// The nearest group that was looked at.
        path: PathBuf,
    },
    /// Version 2: the group holds processes, so that it cannot hand the
    /// controller to children.
    #[error("{} holds processes and so cannot pass the controller on", path.display())]
    HasProcesses {
        /// The group.
        path: PathBuf,
    },
    /// Version 2: the group belongs to a threaded subtree.
    #[error("{} is a threaded group", path.display())]
    Threaded {
        /// The group.
        path: PathBuf,
    },
    /// Version 2 before Linux 5.2 has no `cgroup.freeze`.
    #[error("this kernel's cgroup v2 has no freezer")]
    NoV2Freezer,
    /// A file of the kernel could not be read.
    #[error("{} is not readable: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        reason: String,
        /// The same, as a number of `errno(3)`; 0 where it was not the kernel's.
        errno: i32,
    },
    /// A file of `/proc/self` is not what it should be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Unavailable {
    /// What to try.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NotMounted => "mount it (`mount -t cgroup2 none /sys/fs/cgroup`), or boot with \
                                 the controller enabled"
                .to_owned(),
            Self::OutsideMount { .. } => "in a container, give it its own view: \
                                          `--cgroupns=private` and a fresh cgroup mount"
                .to_owned(),
            Self::NotWritable { path } => format!(
                "no delegated subtree: run under `systemd-run --user --scope -p Delegate=yes`, \
                 or as root `chown -R USER {}`",
                path.display()
            ),
            Self::ReadOnly { path } => format!(
                "remount it writable: `mount -o remount,rw {}`; for a container pass \
                 `--cgroupns=private -v /sys/fs/cgroup:/sys/fs/cgroup:rw`",
                path.display()
            ),
            Self::NotOffered { path } => format!(
                "enable it in the parent of {} (`echo +memory +pids +cpu > \
                 cgroup.subtree_control`), for a systemd user with \
                 `Delegate=memory pids cpu` in user@.service",
                path.display()
            ),
            Self::HasProcesses { path } => format!(
                "move them into a child: `mkdir {0}/init; for p in $(cat {0}/cgroup.procs); do \
                 echo $p > {0}/init/cgroup.procs; done`; for a systemd service, \
                 DelegateSubgroup=init (systemd 254)",
                path.display()
            ),
            Self::Threaded { .. } => "start kavach in a group of type `domain`".to_owned(),
            Self::NoV2Freezer => "use Linux 5.2 or newer, or mount the v1 freezer".to_owned(),
            Self::Unreadable { path, .. } => {
                format!("mount /proc, and make {} readable", path.display())
            }
            Self::Layout(_) => "mount a /proc of this kernel".to_owned(),
        }
    }
}

/// The answer for one controller.
pub(crate) type Support = Result<Place, Unavailable>;

/// What this host offers. A plain value: tests make their own.
///
/// It is an answer of one moment; making a group may still fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupSupport {
    /// Memory limit and accounting.
    pub(crate) memory: Support,
    /// Limit on tasks.
    pub(crate) pids: Support,
    /// CPU bandwidth.
    pub(crate) cpu: Support,
    /// CPU time accounting.
    pub(crate) cpuacct: Support,
    /// Freezing.
    pub(crate) freezer: Support,
}

impl CgroupSupport {
    /// The answer for `controller`.
    pub(crate) fn get(&self, controller: Controller) -> &Support {
        match controller {
            Controller::Memory => &self.memory,
            Controller::Pids => &self.pids,
            Controller::Cpu => &self.cpu,
            Controller::Cpuacct => &self.cpuacct,
            Controller::Freezer => &self.freezer,
        }
    }

    /// Whether any group can be made at all. Without one, what a command
    /// starts can be neither counted nor killed as a tree by this module.
    pub(crate) fn any(&self) -> bool {
        Controller::ALL
            .into_iter()
            .any(|controller| self.get(controller).is_ok())
    }

    /// The limits asked for that no group on this host can hold.
    #[cfg(test)]
    pub(crate) fn missing(&self, limits: &Limits) -> Vec<(Controller, &Unavailable)> {
        let missing = |controller| Some((controller, self.get(controller).as_ref().err()?));
        limits
            .controllers()
            .into_iter()
            .filter_map(missing)
            .collect()
    }

    /// The distinct directories in which groups are made, with their controllers.
    pub(super) fn places(&self) -> Vec<(Place, Vec<Controller>)> {
        let mut places: Vec<(Place, Vec<Controller>)> = Vec::new();
        for controller in Controller::ALL {
            let Ok(place) = self.get(controller) else {
                continue;
            };
            match places
                .iter_mut()
                .find(|(known, _)| known.base == place.base)
            {
                Some((_, controllers)) => controllers.push(controller),
                None => places.push((place.clone(), vec![controller])),
            }
        }
        places
    }

    /// The same answer for every controller.
    fn none(reason: &Unavailable) -> Self {
        let no = || Err(reason.clone());
        Self {
            memory: no(),
            pids: no(),
            cpu: no(),
            cpuacct: no(),
            freezer: no(),
        }
    }
}

/// Asks the kernel. Never fails: what cannot be found out is a reason.
pub(crate) fn probe() -> CgroupSupport {
    match layout() {
        Ok(layout) => probe_layout(&KERNEL, &layout),
        Err(reason) => CgroupSupport::none(&reason),
    }
}

/// Where this process stands.
fn layout() -> Result<Layout, Unavailable> {
    let read = |path: &str, limit: usize| {
        // One byte more than is legal, so that the parser sees the excess.
        let path = Path::new(path);
        read_bounded(path, limit as u64 + 1).map_err(|error| unreadable(path, &error))
    };
    let cgroup = read("/proc/self/cgroup", LARGEST_CGROUP)?;
    let mountinfo = read("/proc/self/mountinfo", LARGEST_MOUNTINFO)?;
    Ok(Layout::parse(&cgroup, &mountinfo)?)
}

/// This process's own version 2 group and those above it. Which of them serves
/// changes with what the groups above hand on, so that an earlier host may have
/// used another.
pub(crate) fn unified_chain() -> Vec<PathBuf> {
    let Some(Mount {
        mount,
        own: Some(own),
    }) = layout().ok().and_then(|layout| layout.v2)
    else {
        return Vec::new();
    };
    let above = own.ancestors().take_while(|dir| dir.starts_with(&mount));
    above.map(Path::to_owned).collect()
}

/// Makes room in this process's own group; see [`super::aside`].
///
/// # Errors
/// The leaf cannot be made or entered.
pub(crate) fn step_aside() -> Result<Option<PathBuf>, CgroupError> {
    match layout() {
        Ok(layout) => super::aside::step_aside(&KERNEL, &layout, std::process::id()),
        // No sandbox of this process gets a group either, and the plan says why.
        Err(_) => Ok(None),
    }
}

/// Looks for places in a known layout.
pub(super) fn probe_layout(io: &dyn ControlFiles, layout: &Layout) -> CgroupSupport {
    let v1 = |controller| layout.v1(controller).map(|mount| place_v1(io, mount));
    // Version 2 serves what no usable version 1 hierarchy has.
    let wanted: Vec<_> = Controller::ALL
        .into_iter()
        .filter(|controller| !matches!(v1(*controller), Some(Ok(_))))
        .collect();
    let unified = Unified::find(io, layout.v2.as_ref(), &wanted);
    let support = |controller| match (v1(controller), unified.support(controller)) {
        (Some(Ok(place)), _) | (Some(Err(_)) | None, Ok(place)) => Ok(place),
        // A controller that is bound to version 1 cannot be in version 2.
        (Some(Err(reason)), Err(_)) | (None, Err(reason)) => Err(reason),
    };
    CgroupSupport {
        memory: support(Controller::Memory),
        pids: support(Controller::Pids),
        cpu: support(Controller::Cpu),
        cpuacct: support(Controller::Cpuacct),
        freezer: support(Controller::Freezer),
    }
}

/// Version 1: children may stand beside processes, so the own group serves.
fn place_v1(io: &dyn ControlFiles, mount: &Mount) -> Support {
    let base = own(mount)?;
    writable(io, base)?;
    Ok(Place {
        version: Version::V1,
        base: base.to_owned(),
    })
}

fn own(mount: &Mount) -> Result<&Path, Unavailable> {
    mount
        .own
        .as_deref()
        .ok_or_else(|| Unavailable::OutsideMount {
            mount: mount.mount.clone(),
        })
}

fn writable(io: &dyn ControlFiles, path: &Path) -> Result<(), Unavailable> {
    io.writable(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Unavailable::NotWritable {
            path: path.to_owned(),
        },
        io::ErrorKind::ReadOnlyFilesystem => Unavailable::ReadOnly {
            path: path.to_owned(),
        },
        _ => unreadable(path, &error),
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Unavailable {
    Unavailable::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

/// What one version 2 group offers its children.
struct Candidate {
    dir: PathBuf,
    offers: Vec<(Controller, Result<(), Unavailable>)>,
}

/// The chosen version 2 group, or why there is none.
struct Unified(Result<Candidate, Unavailable>);

impl Unified {
    /// Walks from the own group up to the border of what belongs to the same
    /// owner and takes the group that offers most of `wanted`, the nearest
    /// first: processes may live in leaves only, so the own group, which holds
    /// this process, can rarely serve itself.
    fn find(io: &dyn ControlFiles, mount: Option<&Mount>, wanted: &[Controller]) -> Self {
        let Some(mount) = mount else {
            return Self(Err(Unavailable::NotMounted));
        };
        let start = match own(mount) {
            Ok(own) => own,
            Err(reason) => return Self(Err(reason)),
        };
        let owner = match io.owner(start) {
            Ok(owner) => owner,
            Err(error) => return Self(Err(unreadable(start, &error))),
        };
        let mut best: Option<(usize, Candidate)> = None;
        let mut first_reason = None;
        for dir in start
            .ancestors()
            .take_while(|dir| dir.starts_with(&mount.mount))
        {
            // Beyond another owner's border nothing was delegated to us.
            if !io.owner(dir).is_ok_and(|other| other == owner) {
                break;
            }
            match Candidate::look(io, dir) {
                Ok(candidate) => {
                    let score = wanted
                        .iter()
                        .filter(|c| candidate.offer(**c).is_ok())
                        .count();
                    if best.as_ref().is_none_or(|(most, _)| score > *most) {
                        best = Some((score, candidate));
                    }
                }
                Err(reason) => {
                    first_reason.get_or_insert(reason);
                }
            }
        }
        Self(match best {
            Some((_, candidate)) => Ok(candidate),
            None => Err(first_reason.unwrap_or(Unavailable::NotMounted)),
        })
    }

    fn support(&self, controller: Controller) -> Support {
        let candidate = self.0.as_ref().map_err(Clone::clone)?;
        candidate.offer(controller)?;
        Ok(Place {
            version: Version::V2,
            base: candidate.dir.clone(),
        })
    }
}

impl Candidate {
    fn look(io: &dyn ControlFiles, dir: &Path) -> Result<Self, Unavailable> {
        writable(io, dir)?;
        // Moving a process asks for write access to the common ancestor's file.
        writable(io, &dir.join("cgroup.procs"))?;
        let read = |file: &str| {
            let path = dir.join(file);
            io.read(&path).map_err(|error| unreadable(&path, &error))
        };
        // Only the real root, not that of a namespace, lacks cgroup.type.
        let is_root = match io.read(&dir.join("cgroup.type")) {
            Ok(kind) if kind.trim() == "domain" => false,
            Ok(_) => {
                return Err(Unavailable::Threaded {
                    path: dir.to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(unreadable(&dir.join("cgroup.type"), &error)),
        };
        let available = parse_controllers(&read("cgroup.controllers")?);
        let enabled = parse_controllers(&read("cgroup.subtree_control")?);
        let can_enable = if !is_root && !read("cgroup.procs")?.trim().is_empty() {
            Err(Unavailable::HasProcesses {
                path: dir.to_owned(),
            })
        } else {
            writable(io, &dir.join("cgroup.subtree_control"))
        };
        // The root has no cgroup.freeze of its own; making the group looks again.
        let has_freezer = is_root || io.read(&dir.join("cgroup.freeze")).is_ok();
        let offer = |controller: Controller| {
            if controller == Controller::Freezer && !has_freezer {
                Err(Unavailable::NoV2Freezer)
            } else if controller.is_core_in_v2() || enabled.contains(&controller) {
                Ok(())
            } else if available.contains(&controller) {
                can_enable.clone()
            } else {
                Err(Unavailable::NotOffered {
                    path: dir.to_owned(),
                })
            }
        };
        let offers = Controller::ALL
            .map(|controller| (controller, offer(controller)))
            .to_vec();
        Ok(Self {
            dir: dir.to_owned(),
            offers,
        })
    }

    fn offer(&self, controller: Controller) -> Result<(), Unavailable> {
        self.offers
            .iter()
            .find(|(offered, _)| *offered == controller)
            .map_or(Err(Unavailable::NotMounted), |(_, offer)| offer.clone())
    }
}
