//! The form of a policy file: every key optional, but for the version.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::control::{Control, Requirement};
use crate::policy::section::Section as _;
use crate::policy::sections::{FilesystemText, LimitsText, NamespacesText};
use crate::policy::{Network, SandboxPolicy};

/// The version of the format that is read and written.
pub(super) const VERSION: u32 = 1;

/// A value of `syscall_filter.profile` that stands for no filter.
pub(super) const NO_PROFILE: &str = "none";

/// A policy of kavach: what a sandbox is asked to enforce. What is left out stays as in the policy
/// that this one extends.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table of policy keys")]
pub(crate) struct PolicyText {
    /// Where the JSON Schema of this format is; for editors, and of no other meaning.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub(super) schema: Option<String>,

    /// The version of the format: 1.
    pub(super) version: u32,

    /// The policy's name in reports and messages. Left out, it is the file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,

    /// The policy that this one changes: a preset (`minimal`, `basic`, `strict`), or another
    /// policy file, named with a `/` or a `.` and relative to this one. Left out, it is `basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extends: Option<String>,

    /// Whether the guest reaches a network.
    pub(super) network: Option<Network>,

    /// Path rules of Landlock behind the filesystem view. They cannot deny below an allowed
    /// path, and `ld.so ./program` runs what has no execute right.
    pub(super) landlock: Option<bool>,

    /// The controls that may also be held by a weaker mechanism, which the report names: memory,
    /// cpu, cpu_time, pids or disk. The list replaces that of the extended policy.
    pub(super) accept_approximate: Option<BTreeSet<Control>>,

    /// Which system calls the guest may make.
    pub(super) syscall_filter: Option<FilterText>,

    /// What the guest sees of files.
    pub(super) filesystem: Option<FilesystemText>,

    /// Which namespaces are the sandbox's own. The network namespace follows `network`.
    pub(super) namespaces: Option<NamespacesText>,

    /// How much the guest may use. A limit that neither this file nor the extended policy sets is
    /// none.
    pub(super) limits: Option<LimitsText>,

    /// How much each control is insisted on. `required`, which is where none is named: nothing
    /// starts where it cannot be enforced. `preferred`: the loss is recorded. `off`: it is not
    /// asked for, whatever the rest says; this also drops a limit of the extended policy.
    pub(super) requirements: Option<BTreeMap<Control, Requirement>>,
}

/// Which system calls the guest may make.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table of system call filter keys")]
pub(crate) struct FilterText {
    /// The allowlist: `basic`, `strict`, or `none` for no filter.
    pub(super) profile: Option<String>,
}

impl PolicyText {
    /// Lays what this text says over `policy`; the rest stays.
    pub(super) fn over(self, policy: &mut SandboxPolicy) {
        let Self {
            schema: _,
            version: _,
            name,
            extends: _,
            network,
            landlock,
            accept_approximate,
            syscall_filter,
            filesystem,
            namespaces,
            limits,
            requirements,
        } = self;
        set(&mut policy.name, name);
        set(&mut policy.network, network);
        set(&mut policy.landlock, landlock);
        set(&mut policy.accept_approximate, accept_approximate);
        if let Some(profile) = syscall_filter.and_then(|filter| filter.profile) {
            policy.syscall_filter.profile = (profile != NO_PROFILE).then_some(profile);
        }
        policy.filesystem.overlay(filesystem.unwrap_or_default());
        policy.namespaces.overlay(namespaces.unwrap_or_default());
        policy.limits.overlay(limits.unwrap_or_default());
        policy
            .requirements
            .extend(requirements.into_iter().flatten());
    }
}

/// The whole policy. What it says by leaving out, `basic` says too.
impl From<&SandboxPolicy> for PolicyText {
    fn from(policy: &SandboxPolicy) -> Self {
        let SandboxPolicy {
            name,
            syscall_filter,
            filesystem,
            landlock,
            network,
            namespaces,
            limits,
            requirements,
            accept_approximate,
        } = policy;
        let profile = syscall_filter.profile.as_deref().unwrap_or(NO_PROFILE);
        Self {
            schema: None,
            version: VERSION,
            name: Some(name.clone()),
            extends: None,
            network: Some(*network),
            landlock: Some(*landlock),
            accept_approximate: Some(accept_approximate.clone()),
            syscall_filter: Some(FilterText {
                profile: Some(profile.to_owned()),
            }),
            filesystem: Some(filesystem.text()),
            namespaces: Some(namespaces.text()),
            limits: Some(limits.text()),
            requirements: Some(requirements.clone()),
        }
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}
