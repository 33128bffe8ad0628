//! The limits of a guest and what the kernel says it holds.

use std::io;
use std::path::Path;

use super::error::CgroupError;
use super::files::{ControlFiles, read, write};
use super::tree::Dir;
use super::{Controller, Version};

/// The largest page size of a Linux kernel kavach runs on (arm64, ppc64). The
/// kernel rounds memory limits down to whole pages.
const LARGEST_PAGE: u64 = 64 * 1024;

/// Limits of a guest. `None` is "no limit"; the default limits nothing.
///
/// They hold for the sum of everything in the guest group. They do not count
/// what the agent uses, nor (memory) page cache that can be reclaimed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Memory, tmpfs pages included, in bytes.
    pub(crate) memory_bytes: Option<u64>,
    /// Tasks: processes and threads.
    pub(crate) pids_max: Option<u64>,
    /// CPU bandwidth.
    pub(crate) cpu_quota: Option<CpuQuota>,
    /// Deny swap beside the memory limit; without `memory_bytes` it has no
    /// effect on version 1, which can only cap memory and swap together.
    pub(crate) deny_swap: bool,
}

/// CPU bandwidth: `quota_us` of CPU time in every `period_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuQuota {
    /// CPU time in microseconds, at least 1000.
    pub(crate) quota_us: u64,
    /// Period in microseconds, 1000 to 1 000 000.
    pub(crate) period_us: u64,
}

impl Limits {
    /// Refuses values that no kernel holds.
    ///
    /// # Errors
    /// [`CgroupError::InvalidLimit`] naming the field.
    pub(crate) fn validate(&self) -> Result<(), CgroupError> {
        let invalid = |field, value, reason| {
            Err(CgroupError::InvalidLimit {
                field,
                value,
                reason,
            })
        };
        if let Some(bytes) = self.memory_bytes
            && !(LARGEST_PAGE..=i64::MAX as u64 / 2).contains(&bytes)
        {
            return invalid("memory_bytes", bytes, "must be 64 KiB to 4 EiB");
        }
        // The kernel's ceiling, PID_MAX_LIMIT on 64-bit machines.
        if let Some(pids) = self.pids_max
            && !(1..=4_194_304).contains(&pids)
        {
            return invalid("pids_max", pids, "must be 1 to 4194304");
        }
        if let Some(CpuQuota {
            quota_us,
            period_us,
        }) = self.cpu_quota
        {
            if !(1_000..=1_000_000).contains(&period_us) {
                return invalid("cpu_quota.period_us", period_us, "must be 1000 to 1000000");
            }
            // More CPUs than a machine has, and below the kernel's own ceiling
            // (max_bw_runtime_us of kernel/sched/core.c).
            if !(1_000..=(1 << 44) / 1000).contains(&quota_us) {
                return invalid(
                    "cpu_quota.quota_us",
                    quota_us,
                    "must be 1000 to 17592186044",
                );
            }
        }
        Ok(())
    }

    /// The controllers these limits need.
    #[cfg(test)]
    pub(crate) fn controllers(&self) -> Vec<Controller> {
        let mut needed = Vec::new();
        if self.memory_bytes.is_some() || self.deny_swap {
            needed.push(Controller::Memory);
        }
        if self.pids_max.is_some() {
            needed.push(Controller::Pids);
        }
        if self.cpu_quota.is_some() {
            needed.push(Controller::Cpu);
        }
        needed
    }
}

/// A value read back from the kernel after it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlEvidence {
    /// The controller that holds it.
    pub(crate) controller: Controller,
    /// For people: `cgroup v1 memory.limit_in_bytes = 536870912`.
    pub(crate) mechanism: String,
    /// What the control file reads, or `absent`.
    pub(crate) value_read: String,
    /// Whether this is the value that was asked for: false where the kernel
    /// rounded it or where only a weaker control exists.
    pub(crate) exact: bool,
}

/// How a value read back relates to the one asked for.
pub(super) fn compare(wrote: &str, read: &str, controller: Controller) -> Option<bool> {
    if wrote == read {
        return Some(true);
    }
    let (wrote, read) = (wrote.parse::<u64>().ok()?, read.parse::<u64>().ok()?);
    let rounded = controller == Controller::Memory && read <= wrote && wrote - read < LARGEST_PAGE;
    rounded.then_some(false)
}

/// Sets limits in one guest directory.
pub(super) struct Applier<'a> {
    pub(super) io: &'static dyn ControlFiles,
    pub(super) dir: &'a Dir,
}

impl Applier<'_> {
    /// Sets every limit whose controller this directory stands for.
    pub(super) fn apply(&self, limits: &Limits) -> Result<Vec<ControlEvidence>, CgroupError> {
        let mut evidence = Vec::new();
        for controller in self.dir.controllers.iter().copied() {
            match (controller, self.dir.version) {
                (Controller::Memory, Version::V1) => self.memory_v1(limits, &mut evidence)?,
                (Controller::Memory, Version::V2) => self.memory_v2(limits, &mut evidence)?,
                (Controller::Pids, _) => {
                    if let Some(pids) = limits.pids_max {
                        evidence.push(self.set(controller, "pids.max", &pids.to_string())?);
                    }
                }
                (Controller::Cpu, version) => {
                    if let Some(quota) = limits.cpu_quota {
                        self.cpu(version, quota, &mut evidence)?;
                    }
                }
                (Controller::Cpuacct | Controller::Freezer, _) => {}
            }
        }
        Ok(evidence)
    }

    fn memory_v1(
        &self,
        limits: &Limits,
        evidence: &mut Vec<ControlEvidence>,
    ) -> Result<(), CgroupError> {
        let Some(bytes) = limits.memory_bytes else {
            return Ok(());
        };
        let value = bytes.to_string();
        // memsw may never be below the memory limit, so the limit comes first.
        evidence.push(self.set(Controller::Memory, "memory.limit_in_bytes", &value)?);
        if limits.deny_swap {
            let memsw = "memory.memsw.limit_in_bytes";
            if self.exists(memsw) {
                evidence.push(self.set(Controller::Memory, memsw, &value)?);
            } else {
                evidence.push(absent(Controller::Memory, Version::V1, memsw));
            }
        }
        Ok(())
    }

    fn memory_v2(
        &self,
        limits: &Limits,
        evidence: &mut Vec<ControlEvidence>,
    ) -> Result<(), CgroupError> {
        if let Some(bytes) = limits.memory_bytes {
            evidence.push(self.set(Controller::Memory, "memory.max", &bytes.to_string())?);
        }
        if limits.deny_swap {
            let swap = "memory.swap.max";
            if self.exists(swap) {
                evidence.push(self.set(Controller::Memory, swap, "0")?);
            } else {
                evidence.push(absent(Controller::Memory, Version::V2, swap));
            }
        }
        Ok(())
    }

    fn cpu(
        &self,
        version: Version,
        quota: CpuQuota,
        evidence: &mut Vec<ControlEvidence>,
    ) -> Result<(), CgroupError> {
        let CpuQuota {
            quota_us,
            period_us,
        } = quota;
        match version {
            Version::V1 => {
                // The period first: while there is no quota every period is legal.
                let period = period_us.to_string();
                evidence.push(self.set(Controller::Cpu, "cpu.cfs_period_us", &period)?);
                let quota = quota_us.to_string();
                evidence.push(self.set(Controller::Cpu, "cpu.cfs_quota_us", &quota)?);
            }
            Version::V2 => {
                let value = format!("{quota_us} {period_us}");
                evidence.push(self.set(Controller::Cpu, "cpu.max", &value)?);
            }
        }
        Ok(())
    }

    /// Writes a value and reads it back.
    fn set(
        &self,
        controller: Controller,
        file: &str,
        value: &str,
    ) -> Result<ControlEvidence, CgroupError> {
        let path = self.dir.path.join(file);
        let (value_read, exact) = set_and_check(self.io, &path, value, controller)?;
        let version = self.dir.version;
        Ok(ControlEvidence {
            controller,
            mechanism: format!("cgroup {version} {file} = {value_read}"),
            value_read,
            exact,
        })
    }

    fn exists(&self, file: &str) -> bool {
        !matches!(
            self.io.read(&self.dir.path.join(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound
        )
    }
}

/// Writes `value`, reads it back, and says what it reads and whether exactly so.
pub(super) fn set_and_check(
    io: &dyn ControlFiles,
    path: &Path,
    value: &str,
    controller: Controller,
) -> Result<(String, bool), CgroupError> {
    write(io, path, value)?;
    let read = read(io, path)?.trim().to_owned();
    match compare(value, &read, controller) {
        Some(exact) => Ok((read, exact)),
        None => Err(CgroupError::Readback {
            path: path.to_owned(),
            wrote: value.to_owned(),
            read,
        }),
    }
}

/// Evidence that a swap limit does not exist: the kernel counts no swap.
fn absent(controller: Controller, version: Version, file: &str) -> ControlEvidence {
    ControlEvidence {
        controller,
        mechanism: format!("cgroup {version} {file} is absent: swap is not counted"),
        value_read: "absent".to_owned(),
        exact: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_rounding_is_accepted_and_marked() {
        assert_eq!(
            compare("1000000", "999424", Controller::Memory),
            Some(false)
        );
        assert_eq!(compare("4096", "4096", Controller::Memory), Some(true));
        assert_eq!(compare("100000000", "4096", Controller::Memory), None);
        assert_eq!(
            compare("999424", "1000000", Controller::Memory),
            None,
            "never more"
        );
        assert_eq!(
            compare("64", "63", Controller::Pids),
            None,
            "only memory is rounded"
        );
        assert_eq!(compare("64", "max", Controller::Memory), None);
    }

    #[test]
    fn impossible_limits_name_their_field() {
        let field = |limits: Limits| match limits.validate() {
            Err(CgroupError::InvalidLimit { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        let quota = |quota_us, period_us| Limits {
            cpu_quota: Some(CpuQuota {
                quota_us,
                period_us,
            }),
            ..Limits::default()
        };
        let memory = |bytes| Limits {
            memory_bytes: Some(bytes),
            ..Limits::default()
        };
        let pids = |pids| Limits {
            pids_max: Some(pids),
            ..Limits::default()
        };
        assert_eq!(field(memory(0)), "memory_bytes");
        assert_eq!(field(memory(u64::MAX)), "memory_bytes");
        assert_eq!(field(pids(0)), "pids_max");
        assert_eq!(field(pids(u64::MAX)), "pids_max");
        assert_eq!(field(quota(1, 100_000)), "cpu_quota.quota_us");
        assert_eq!(field(quota(100_000, 0)), "cpu_quota.period_us");
        assert!(quota(200_000, 100_000).validate().is_ok());
    }
}
