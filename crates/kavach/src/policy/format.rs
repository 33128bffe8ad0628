//! Policies as text, in TOML or JSON.
//!
//! ```toml
//! version = 1
//! extends = "strict"          # a preset; `basic` where it is left out
//! network = "off"
//! accept_approximate = ["memory", "pids"]
//!
//! [syscall_filter]
//! profile = "strict"          # or "none"
//!
//! [filesystem]
//! read = ["/srv/data"]
//!
//! [limits]
//! memory_mb = 1024
//!
//! [requirements]
//! landlock = "preferred"      # "off" also drops a limit that the preset has
//! ```
//!
//! What is left out stays as in the preset. Keys that are not known are refused: a misspelt
//! limit must not be no limit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Limits, Namespaces, Network, OnOutput, SandboxPolicy, View};
use crate::control::{Control, Requirement};
use crate::error::{KavachError, Result};

/// Largest policy text, in bytes. A full policy with 512 long paths is smaller.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

/// The version of the format that is read and written.
const VERSION: u32 = 1;

/// A value of `syscall_filter.profile` that stands for no filter.
const NO_PROFILE: &str = "none";

/// How a policy is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// JSON, with the same keys.
    Json,
}

/// The text's shape. Plain values stand before sections, as TOML wants them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of policy keys")]
struct PolicyText {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extends: Option<String>,
    network: Option<Network>,
    landlock: Option<bool>,
    accept_approximate: Option<BTreeSet<Control>>,
    syscall_filter: Option<FilterText>,
    filesystem: Option<FilesystemText>,
    namespaces: Option<NamespacesText>,
    limits: Option<LimitsText>,
    requirements: Option<BTreeMap<Control, Requirement>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of system call filter keys")]
struct FilterText {
    profile: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of filesystem keys")]
struct FilesystemText {
    view: Option<View>,
    read_only_root: Option<bool>,
    read: Option<Vec<PathBuf>>,
    tmp_mb: Option<u64>,
    tmp_inodes: Option<u64>,
    shm_mb: Option<u64>,
    workspace_mb: Option<u64>,
    workspace_inodes: Option<u64>,
    write_through: Option<Vec<PathBuf>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of namespaces")]
struct NamespacesText {
    user: Option<bool>,
    pid: Option<bool>,
    mount: Option<bool>,
    ipc: Option<bool>,
    uts: Option<bool>,
    cgroup: Option<bool>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of limits")]
struct LimitsText {
    memory_mb: Option<u64>,
    cpus: Option<f64>,
    cpu_time_ms: Option<u64>,
    pids: Option<u32>,
    open_files: Option<u32>,
    file_size_mb: Option<u64>,
    output_kb: Option<u64>,
    on_output: Option<OnOutput>,
}

impl SandboxPolicy {
    /// Reads a policy from text. `source_name` stands in errors, and is the policy's name where
    /// the text gives none.
    ///
    /// # Errors
    /// [`KavachError::InvalidPolicy`] with line, column and, for an unknown key, the nearest
    /// known one; [`KavachError::UnknownPreset`] for `extends`; and what
    /// [`SandboxPolicy::validate`] finds.
    pub fn parse(text: &str, format: Format, source_name: &str) -> Result<Self> {
        let source_name = crate::names::shown(source_name);
        if text.len() > MAX_POLICY_BYTES {
            return Err(plain_error(
                &source_name,
                "",
                format!("{} bytes; at most {MAX_POLICY_BYTES} are read", text.len()),
            ));
        }
        let parsed: PolicyText = match format {
            Format::Toml => toml::from_str(text).map_err(|err| {
                let (line, column) = match err.span() {
                    Some(span) => position(text, span.start),
                    None => (None, None),
                };
                syntax_error(&source_name, line, column, err.message())
            })?,
            Format::Json => serde_json::from_str(text).map_err(|err| {
                let number = |n: usize| u32::try_from(n).ok().filter(|n| *n > 0);
                let message = err.to_string();
                // The place stands at the end of the text too; once is enough.
                let message = message.split(" at line ").next().unwrap_or(&message);
                syntax_error(
                    &source_name,
                    number(err.line()),
                    number(err.column()),
                    message,
                )
            })?,
        };
        if parsed.version != VERSION {
            return Err(plain_error(
                &source_name,
                "version",
                format!("{}; this kavach reads version {VERSION}", parsed.version),
            ));
        }
        let policy = parsed.over_preset(&source_name)?;
        policy.validate()?;
        Ok(policy)
    }

    /// The whole policy as TOML, with nothing left to a preset but what it does not have:
    /// [`SandboxPolicy::parse`] reads the same policy back.
    ///
    /// # Errors
    /// [`KavachError::InvalidConfig`] for a policy that [`SandboxPolicy::validate`] refuses, or
    /// for a read path that is not UTF-8, which no TOML can hold.
    pub fn to_toml(&self) -> Result<String> {
        self.validate()?;
        toml::to_string(&PolicyText::from(self)).map_err(|err| unwritable(&err))
    }
}

impl SandboxPolicy {
    /// The whole policy as JSON, with the keys of the TOML form.
    ///
    /// # Errors
    /// As [`SandboxPolicy::to_toml`].
    pub fn to_json(&self) -> Result<String> {
        self.validate()?;
        serde_json::to_string_pretty(&PolicyText::from(self)).map_err(|err| unwritable(&err))
    }
}

/// The one part of a valid policy that no text format may be able to hold.
fn unwritable(err: &dyn std::error::Error) -> KavachError {
    KavachError::invalid(
        "filesystem.read",
        err.to_string(),
        "paths that are valid UTF-8",
        "rename the path, or leave it out of the policy",
    )
}

impl PolicyText {
    /// The preset with this text's values over its own.
    fn over_preset(self, source_name: &str) -> Result<SandboxPolicy> {
        let mut policy = match &self.extends {
            Some(preset) => SandboxPolicy::from_preset(preset)?,
            None => SandboxPolicy::basic(),
        };
        policy.name = self.name.unwrap_or_else(|| source_name.to_owned());
        set(&mut policy.network, self.network);
        set(&mut policy.landlock, self.landlock);
        set(&mut policy.accept_approximate, self.accept_approximate);
        if let Some(profile) = self.syscall_filter.and_then(|filter| filter.profile) {
            policy.syscall_filter.profile = (profile != NO_PROFILE).then_some(profile);
        }
        if let Some(fs) = self.filesystem {
            set(&mut policy.filesystem.view, fs.view);
            set(&mut policy.filesystem.read_only_root, fs.read_only_root);
            set(&mut policy.filesystem.read, fs.read);
            set(&mut policy.filesystem.tmp_mb, fs.tmp_mb);
            set(&mut policy.filesystem.tmp_inodes, fs.tmp_inodes);
            set(&mut policy.filesystem.shm_mb, fs.shm_mb);
            set(&mut policy.filesystem.workspace_mb, fs.workspace_mb);
            set(&mut policy.filesystem.workspace_inodes, fs.workspace_inodes);
            set(&mut policy.filesystem.write_through, fs.write_through);
        }
        if let Some(ns) = self.namespaces {
            set(&mut policy.namespaces.user, ns.user);
            set(&mut policy.namespaces.pid, ns.pid);
            set(&mut policy.namespaces.mount, ns.mount);
            set(&mut policy.namespaces.ipc, ns.ipc);
            set(&mut policy.namespaces.uts, ns.uts);
            set(&mut policy.namespaces.cgroup, ns.cgroup);
        }
        if let Some(limits) = self.limits {
            let own = &mut policy.limits;
            own.memory_mb = limits.memory_mb.or(own.memory_mb);
            own.cpus = limits.cpus.or(own.cpus);
            own.cpu_time_ms = limits.cpu_time_ms.or(own.cpu_time_ms);
            own.pids = limits.pids.or(own.pids);
            own.open_files = limits.open_files.or(own.open_files);
            own.file_size_mb = limits.file_size_mb.or(own.file_size_mb);
            set(&mut own.output_kb, limits.output_kb);
            set(&mut own.on_output, limits.on_output);
        }
        policy
            .requirements
            .extend(self.requirements.into_iter().flatten());
        Ok(policy)
    }
}

impl From<&SandboxPolicy> for PolicyText {
    fn from(policy: &SandboxPolicy) -> Self {
        let fs = &policy.filesystem;
        let Namespaces {
            user,
            pid,
            mount,
            ipc,
            uts,
            cgroup,
        } = policy.namespaces;
        let Limits {
            memory_mb,
            cpus,
            cpu_time_ms,
            pids,
            open_files,
            file_size_mb,
            output_kb,
            on_output,
        } = policy.limits;
        let profile = policy
            .syscall_filter
            .profile
            .as_deref()
            .unwrap_or(NO_PROFILE);
        Self {
            version: VERSION,
            name: Some(policy.name.clone()),
            extends: None,
            network: Some(policy.network),
            landlock: Some(policy.landlock),
            accept_approximate: Some(policy.accept_approximate.clone()),
            syscall_filter: Some(FilterText {
                profile: Some(profile.to_owned()),
            }),
            filesystem: Some(FilesystemText {
                view: Some(fs.view),
                read_only_root: Some(fs.read_only_root),
                read: Some(fs.read.clone()),
                tmp_mb: Some(fs.tmp_mb),
                tmp_inodes: Some(fs.tmp_inodes),
                shm_mb: Some(fs.shm_mb),
                workspace_mb: Some(fs.workspace_mb),
                workspace_inodes: Some(fs.workspace_inodes),
                write_through: Some(fs.write_through.clone()),
            }),
            namespaces: Some(NamespacesText {
                user: Some(user),
                pid: Some(pid),
                mount: Some(mount),
                ipc: Some(ipc),
                uts: Some(uts),
                cgroup: Some(cgroup),
            }),
            limits: Some(LimitsText {
                memory_mb,
                cpus,
                cpu_time_ms,
                pids,
                open_files,
                file_size_mb,
                output_kb: Some(output_kb),
                on_output: Some(on_output),
            }),
            requirements: Some(policy.requirements.clone()),
        }
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Line and column, from 1, of a byte; the column counts characters.
fn position(text: &str, byte: usize) -> (Option<u32>, Option<u32>) {
    let Some(before) = text.get(..byte) else {
        return (None, None);
    };
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (u32::try_from(line).ok(), u32::try_from(column).ok())
}

fn plain_error(source_name: &str, field: &str, problem: String) -> KavachError {
    KavachError::InvalidPolicy {
        source_name: source_name.to_owned(),
        line: None,
        column: None,
        field: field.to_owned(),
        problem,
        nearest: None,
    }
}

/// The error of a parser. Serde names an unknown key and the known ones only in its text, each
/// in backquotes: ``unknown field `a`, expected one of `b`, `c` ``.
fn syntax_error(
    source_name: &str,
    line: Option<u32>,
    column: Option<u32>,
    message: &str,
) -> KavachError {
    let message: String = message
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(512)
        .collect();
    let unknown = ["field", "variant"]
        .into_iter()
        .zip(["key", "value"])
        .find_map(|(serde, ours)| {
            message
                .strip_prefix("unknown ")?
                .strip_prefix(serde)
                .map(|rest| (ours, rest))
        });
    let (problem, nearest) = match unknown {
        Some((kind, rest)) => {
            let mut quoted = rest.split('`').skip(1).step_by(2);
            let wrong = quoted.next().unwrap_or_default();
            let known: Vec<&str> = quoted.collect();
            let nearest = crate::names::nearest(wrong, known.iter().copied());
            let shown = crate::names::shown(wrong);
            (
                format!("unknown {kind} `{shown}`; known: {}", known.join(", ")),
                nearest,
            )
        }
        None => (without_controls(&message), None),
    };
    KavachError::InvalidPolicy {
        source_name: source_name.to_owned(),
        line,
        column,
        field: String::new(),
        problem,
        nearest,
    }
}

/// The parsers' own text, in which they quote the file's. Quotes stay as they are.
fn without_controls(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for c in message.chars() {
        match c {
            '"' | '\'' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests;
