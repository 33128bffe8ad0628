//! What holds, read from the kernel's own files about a process that has every restriction of a
//! guest, before any guest has run. Nothing the agent says is used here.
//!
//! A control that was planned as enforced and is not seen to be is an error if it is required, and
//! a loss in the report if it is preferred.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::agent::Rehearsal;
use crate::backend::Backend;
use crate::cgroup::Controller;
use crate::cgroup::group::SandboxGroup;
use crate::cgroup::layout::unescape;
use crate::control::{Control, ControlState, Requirement};
use crate::enforcement::{EnforcementReport, EnforcementRow};
use crate::error::{KavachError, Result};
use crate::plan::{MountStep, Plan, PlannedControl, Resource};
use crate::workspace::Layers;

mod room;
mod shown;

pub(super) use room::room;
use shown::Shown;

/// How root shows where this process's user namespace maps no 0 (user_namespaces(7)); the
/// kernel's default.
const OVERFLOW_ID: u32 = 65_534;

/// What was read about the rehearsing process.
struct Observed {
    status: BTreeMap<String, String>,
    own_filters: u64,
    namespaces: BTreeMap<&'static str, (String, String)>,
    mounts: Vec<MountLine>,
    /// Its root is another directory than this process's own.
    root_differs: bool,
    limits: String,
    interfaces: Vec<String>,
    agent_owner: Option<u32>,
    /// Host directories under the guest's own rights.
    shown: Vec<Shown>,
}

/// A line of proc_pid_mountinfo(5), the fields that are used.
#[derive(Debug, Clone)]
pub(super) struct MountLine {
    pub(super) target: String,
    pub(super) options: String,
    pub(super) kind: String,
    pub(super) super_options: String,
    pub(super) shared: bool,
}

/// Whether a control was seen to hold, and what was seen.
struct Seen {
    holds: bool,
    evidence: String,
}

fn seen(holds: bool, evidence: impl Into<String>) -> Seen {
    Seen {
        holds,
        evidence: evidence.into(),
    }
}

/// The report of a sandbox that waits in its rehearsal.
pub(super) fn report(
    plan: &Plan,
    rehearsal: &Rehearsal,
    group: Option<&SandboxGroup>,
    layers: Option<&Layers>,
) -> Result<EnforcementReport> {
    let mut observed = Observed::read(rehearsal)?;
    observed.shown = shown::look(plan, rehearsal, layers)?;
    let rows = plan
        .controls
        .iter()
        .map(|planned| row(planned, plan, &observed, group))
        .collect::<Result<Vec<_>>>()?;
    Ok(EnforcementReport::new(Backend::Process, rows))
}

fn row(
    planned: &PlannedControl,
    plan: &Plan,
    observed: &Observed,
    group: Option<&SandboxGroup>,
) -> Result<EnforcementRow> {
    let expected = planned.expected;
    let (state, evidence) = if expected == ControlState::Absent {
        (expected, String::new())
    } else {
        let seen = observed.look(planned, plan, group);
        if !seen.holds && planned.requirement == Requirement::Required {
            return Err(KavachError::ControlUnavailable {
                control: planned.control,
                required: planned.mechanism.clone(),
                found: format!("set up, but not seen to hold: {}", seen.evidence),
                fix: "the kernel did not do what it said; make the control `preferred` to run \
                      without it, and report this"
                    .into(),
            });
        }
        (
            if seen.holds {
                expected
            } else {
                ControlState::Absent
            },
            seen.evidence,
        )
    };
    Ok(EnforcementRow::new(
        planned.control,
        planned.requested.clone(),
        planned.requirement,
        state,
        planned.mechanism.clone(),
    )
    .with_evidence(evidence))
}

impl Observed {
    fn read(rehearsal: &Rehearsal) -> Result<Self> {
        let Some(pid) = rehearsal.rehearsing() else {
            return Err(KavachError::Agent {
                problem: "no rehearsing process is seen under the agent".into(),
            });
        };
        let pid = pid.as_raw_nonzero();
        let file = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            // A mount point may have any bytes in its name.
            let read = read_whole(&path).map(|text| String::from_utf8_lossy(&text).into_owned());
            read.map_err(|source| KavachError::HostIo {
                op: "read the evidence of a sandbox".into(),
                path: path.into(),
                source,
            })
        };
        let own = read_whole("/proc/self/status");
        let own = own.map(|s| parse_status(&String::from_utf8_lossy(&s)));
        let own_filters = own
            .ok()
            .and_then(|s| s.get("Seccomp_filters")?.parse().ok());
        let namespaces = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"]
            .into_iter()
            .filter_map(|name| {
                let link = |who: &str| {
                    let link = fs::read_link(format!("/proc/{who}/ns/{name}")).ok()?;
                    Some(link.to_string_lossy().into_owned())
                };
                Some((name, (link(&pid.to_string())?, link("self")?)))
            })
            .collect();
        let root = |who: &str| {
            let found = fs::metadata(format!("/proc/{who}/root/")).ok();
            found.map(|meta| (meta.dev(), meta.ino()))
        };
        let roots = (root(&pid.to_string()), root("self"));
        let agent = rehearsal.pid().as_raw_nonzero();
        Ok(Self {
            status: parse_status(&file("status")?),
            own_filters: own_filters.unwrap_or(0),
            namespaces,
            root_differs: matches!(roots, (Some(inside), Some(own)) if inside != own),
            mounts: file("mountinfo")?.lines().filter_map(parse_mount).collect(),
            limits: file("limits")?,
            interfaces: parse_interfaces(&file("net/dev").unwrap_or_default()),
            agent_owner: fs::metadata(format!("/proc/{agent}/environ"))
                .ok()
                .map(|m| m.uid()),
            shown: Vec::new(),
        })
    }

    fn look(&self, planned: &PlannedControl, plan: &Plan, group: Option<&SandboxGroup>) -> Seen {
        let approximate = planned.expected == ControlState::Approximate;
        match planned.control {
            Control::SyscallFilter => self.filter(),
            Control::FilesystemView => self.view(plan),
            Control::ReadOnlyRoot => match self.mount("/") {
                // A host may have a read-only root of its own; that one is not what was asked.
                Some(root) => seen(
                    self.own_root() && has_option(&root.options, "ro"),
                    format!("mountinfo: / is {}, {}", root.kind, root.options),
                ),
                None => seen(false, "no mount at /"),
            },
            Control::Landlock => seen(
                plan.landlock.is_some(),
                "the sandbox's first process entered the domain (landlock_restrict_self returned 0); \
                 the kernel offers nothing to read it back",
            ),
            Control::UserNamespace => self.namespace("user"),
            Control::PidNamespace => self.namespace("pid"),
            Control::MountNamespace => self.namespace("mnt"),
            Control::NetworkNamespace => self.namespace("net"),
            Control::IpcNamespace => self.namespace("ipc"),
            Control::UtsNamespace => self.namespace("uts"),
            Control::CgroupNamespace => self.namespace("cgroup"),
            Control::Network => {
                let only_loopback = self.interfaces == ["lo"];
                let own = self.namespace("net");
                seen(
                    own.holds && only_loopback,
                    format!(
                        "{}; interfaces: {}",
                        own.evidence,
                        self.interfaces.join(" ")
                    ),
                )
            }
            Control::Capabilities => self.capabilities(),
            Control::NoNewPrivs => {
                let value = self.status("NoNewPrivs");
                seen(value == "1", format!("NoNewPrivs: {value}"))
            }
            Control::AgentProtection => match self.agent_owner {
                // The kernel gives the files of an undumpable process to root (proc(5)).
                Some(owner) => seen(
                    owner == 0 || owner == OVERFLOW_ID,
                    format!("/proc files of the agent belong to uid {owner}; its image is sealed"),
                ),
                None => seen(false, "no /proc entry of the agent"),
            },
            Control::Memory if approximate => seen(true, "summed by the supervisor"),
            Control::Cpu if approximate => self.affinity(plan),
            Control::Pids if approximate => self.limit(Resource::Processes, plan),
            Control::Memory => self.held(group, Controller::Memory, plan),
            Control::Cpu => self.held(group, Controller::Cpu, plan),
            Control::Pids => self.held(group, Controller::Pids, plan),
            Control::CpuTime if approximate => self.limit(Resource::Cpu, plan),
            Control::CpuTime => match self.writable_cgroups(plan) {
                open if open.is_empty() => {
                    seen(group.is_some(), "summed by the supervisor from the cgroup")
                }
                open => seen(false, format!("writable inside: {}", open.join(" "))),
            },
            Control::OpenFiles => self.limit(Resource::OpenFiles, plan),
            Control::FileSize => self.limit(Resource::FileSize, plan),
            Control::Disk => self.disk(plan),
            Control::Output => seen(true, "captured and cut by the supervisor"),
            Control::WallTime => seen(true, "measured by the supervisor"),
            Control::Credentials => seen(true, "handed over as descriptors and environment"),
            Control::Hardware => seen(false, "this backend has no hardware protection"),
        }
    }

    fn status(&self, field: &str) -> &str {
        self.status.get(field).map_or("", String::as_str)
    }

    fn filter(&self) -> Seen {
        let mode = self.status("Seccomp");
        // Linux 5.9 and later count; a caller under a filter of its own passes that one on.
        let count = self.status("Seccomp_filters").parse::<u64>();
        let more = count.as_ref().map_or(true, |n| *n > self.own_filters);
        let count = count.map_or_else(|_| "not counted".to_owned(), |n| n.to_string());
        seen(
            mode == "2" && more,
            format!("Seccomp: {mode}, Seccomp_filters: {count}"),
        )
    }

    fn namespace(&self, name: &'static str) -> Seen {
        match self.namespaces.get(name) {
            Some((inside, own)) => seen(inside != own, format!("{inside}, the host's is {own}")),
            None => seen(false, format!("/proc/PID/ns/{name} cannot be read")),
        }
    }

    fn capabilities(&self) -> Seen {
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let text: Vec<_> = sets
            .iter()
            .map(|s| format!("{s}: {}", self.status(s)))
            .collect();
        let empty = sets
            .iter()
            .all(|s| u64::from_str_radix(self.status(s), 16) == Ok(0));
        seen(empty, text.join(", "))
    }

    fn mount(&self, target: &str) -> Option<&MountLine> {
        self.mounts.iter().rev().find(|m| m.target == target)
    }

    /// Whether the root is the sandbox's own: a tmpfs that is not the host's root, in a mount
    /// namespace of its own.
    fn own_root(&self) -> bool {
        self.root_differs
            && self.namespace("mnt").holds
            && self.mount("/").is_some_and(|root| root.kind == "tmpfs")
    }

    /// A row of the view is there only where a private one was asked for: whatever the plan says,
    /// nothing else is evidence of it.
    fn view(&self, plan: &Plan) -> Seen {
        let shared = self.mounts.iter().filter(|m| m.shared).count();
        let root = self.mount("/").map_or("nothing", |m| m.kind.as_str());
        let writable_host = self.mounts.iter().filter(|m| {
            let writable = has_option(&m.options, "rw");
            let own = ["tmpfs", "proc", "devpts"].contains(&m.kind.as_str());
            writable && !own && !m.target.starts_with("/dev/") && !self.is_meant(m, plan)
        });
        let writable: Vec<_> = writable_host.map(|m| m.target.clone()).collect();
        let meant = self.shown_as_meant();
        let evidence = format!(
            "mountinfo: / is {root}, {} mounts, {shared} shared with the host, writable host \
             mounts{}: {}",
            self.mounts.len(),
            if self.shown.is_empty() {
                ""
            } else {
                " beside those asked for"
            },
            if writable.is_empty() {
                "none".into()
            } else {
                writable.join(" ")
            }
        );
        seen(
            self.own_root() && shared == 0 && writable.is_empty() && meant.holds,
            [evidence, meant.evidence].join("; ").trim_end_matches("; "),
        )
    }

    fn tmpfs_sizes(&self, plan: &Plan) -> Seen {
        // A tmpfs of the host's below a write-through directory has what quota it has.
        let sized = |m: &&MountLine| {
            m.kind == "tmpfs" && has_option(&m.options, "rw") && !self.is_meant(m, plan)
        };
        let sizes: Vec<_> = self
            .mounts
            .iter()
            .filter(sized)
            .map(|m| {
                let size = m.super_options.split(',').find(|o| o.starts_with("size="));
                (m.target.clone(), size)
            })
            .collect();
        let all =
            self.own_root() && !sizes.is_empty() && sizes.iter().all(|(_, size)| size.is_some());
        let text: Vec<_> = sizes
            .iter()
            .map(|(t, s)| format!("{t} {}", s.unwrap_or("unlimited")))
            .collect();
        seen(all, text.join(", "))
    }

    /// The limit is there, and is no more than was planned.
    fn limit(&self, resource: Resource, plan: &Plan) -> Seen {
        let planned = plan.rlimits.iter().find(|l| l.resource == resource);
        let name = match resource {
            Resource::Cpu => "Max cpu time",
            Resource::FileSize => "Max file size",
            Resource::Core => "Max core file size",
            Resource::Processes => "Max processes",
            Resource::OpenFiles => "Max open files",
        };
        match self.limits.lines().find(|line| line.starts_with(name)) {
            Some(line) => {
                let rest = line.strip_prefix(name).unwrap_or_default();
                let mut values = rest.split_ascii_whitespace();
                // "unlimited" is no number.
                let mut next = || values.next().and_then(|v| v.parse::<u64>().ok());
                let (soft, hard) = (next(), next());
                let holds = match (planned, soft, hard) {
                    (Some(most), Some(soft), Some(hard)) => soft <= most.soft && hard <= most.hard,
                    _ => false,
                };
                let words: Vec<_> = line.split_ascii_whitespace().collect();
                seen(holds, words.join(" "))
            }
            None => seen(false, format!("no `{name}` in /proc/PID/limits")),
        }
    }

    /// A limit as the kernel has it, in a group that the guest cannot write itself out of.
    fn held(&self, group: Option<&SandboxGroup>, controller: Controller, plan: &Plan) -> Seen {
        let open = self.writable_cgroups(plan);
        if !open.is_empty() {
            return seen(false, format!("writable inside: {}", open.join(" ")));
        }
        let evidence: Vec<_> = group
            .iter()
            .flat_map(|g| g.evidence())
            .filter(|e| e.controller == controller)
            .map(|e| e.mechanism.clone())
            .collect();
        seen(!evidence.is_empty(), evidence.join(", "))
    }

    /// The mounts of control groups that the plan makes read-only and that are not.
    fn writable_cgroups(&self, plan: &Plan) -> Vec<&str> {
        let planned = plan.view.mounts.iter().filter_map(|step| match step {
            MountStep::ReadOnlyRemount { target } => self.mount(&target.to_string_lossy()),
            _ => None,
        });
        planned
            .filter(|m| m.kind.starts_with("cgroup") && !has_option(&m.options, "ro"))
            .map(|m| m.target.as_str())
            .collect()
    }

    fn affinity(&self, plan: &Plan) -> Seen {
        let list = self.status("Cpus_allowed_list");
        let holds = match (plan.limits.affinity_cpus, count_cpus(list)) {
            (Some(most), Some(count)) => (1..=most).contains(&count),
            _ => false,
        };
        seen(holds, format!("Cpus_allowed_list: {list}"))
    }
}

/// A file of /proc, with room from the start: the standard library would begin with 32 bytes.
fn read_whole(path: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::with_capacity(16 * 1024);
    fs::File::open(path)?.read_to_end(&mut text)?;
    Ok(text)
}

/// How many CPUs a list such as `0-3,8` names.
pub(super) fn count_cpus(list: &str) -> Option<u32> {
    list.split(',').try_fold(0u32, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

fn has_option(options: &str, option: &str) -> bool {
    options.split(',').any(|o| o == option)
}

pub(super) fn parse_status(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

pub(super) fn parse_mount(line: &str) -> Option<MountLine> {
    let (own, of_super) = line.split_once(" - ")?;
    let mut fields = own.split(' ').skip(4);
    let target = unescape(fields.next()?.as_bytes());
    let target = String::from_utf8_lossy(&target).into_owned();
    let options = fields.next()?.to_owned();
    let shared = fields.any(|tag| tag.starts_with("shared:") || tag.starts_with("master:"));
    let mut of_super = of_super.splitn(3, ' ');
    let kind = of_super.next()?.to_owned();
    let super_options = of_super.nth(1)?.to_owned();
    Some(MountLine {
        target,
        options,
        kind,
        super_options,
        shared,
    })
}

pub(super) fn parse_interfaces(text: &str) -> Vec<String> {
    text.lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests;
