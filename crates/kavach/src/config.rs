//! What a caller asks for, and its checked form.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod workspace;

pub use workspace::{Upper, Workspace};

use crate::audit::AuditHook;
use crate::backend::Backend;
use crate::command::{check_env, set_env};
use crate::credential::{CredentialProxy, Injections, SecretRef};
use crate::error::{KavachError, Result};
use crate::policy::{MAX_MS, Network, SandboxPolicy, range};

/// Longest `agent_id`, in bytes.
const MAX_AGENT_ID: usize = 128;
/// Most environment variables that a config may set.
const MAX_ENV: usize = 1024;
/// The host name inside, where the config sets none.
const HOSTNAME: &str = "kavach";

/// Everything a caller asks of a sandbox. Made by [`SandboxConfig::builder`].
///
/// A config may hold nonsense: what is wrong with it comes out of `Sandbox::create`, before
/// anything starts, or of [`SandboxConfig::validate`].
#[derive(Clone)]
pub struct SandboxConfig {
    backend: Backend,
    policy: SandboxPolicy,
    timeout_ms: u64,
    agent_id: String,
    hostname: String,
    env: Vec<(OsString, OsString)>,
    credentials: CredentialProxy,
    secrets: Vec<SecretRef>,
    hooks: Vec<Arc<dyn AuditHook>>,
    workspace: Option<Workspace>,
    rootfs: Option<PathBuf>,
}

impl SandboxConfig {
    /// A builder with the defaults: backend `process`, policy `basic`, no time limit.
    #[must_use]
    pub fn builder() -> SandboxConfigBuilder {
        SandboxConfigBuilder {
            config: SandboxConfig {
                backend: Backend::Process,
                policy: SandboxPolicy::basic(),
                timeout_ms: 0,
                agent_id: String::new(),
                hostname: HOSTNAME.into(),
                env: Vec::new(),
                credentials: CredentialProxy::new(),
                secrets: Vec::new(),
                hooks: Vec::new(),
                workspace: None,
                rootfs: None,
            },
        }
    }

    /// What runs the guest.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// What is asked of it.
    #[must_use]
    pub fn policy(&self) -> &SandboxPolicy {
        &self.policy
    }

    /// Time limit of each command, in milliseconds; 0: none.
    #[must_use]
    pub fn timeout_ms(&self) -> u64 {
        self.timeout_ms
    }

    /// The owner's name; empty where none was given.
    #[must_use]
    pub fn agent_id(&self) -> &str {
        &self.agent_id
    }

    /// The environment variables set over the clean environment.
    #[must_use]
    pub fn env(&self) -> &[(OsString, OsString)] {
        &self.env
    }

    /// The secrets that every command gets.
    #[must_use]
    pub fn secrets(&self) -> &[SecretRef] {
        &self.secrets
    }

    /// The hooks, in the order in which they are asked.
    #[must_use]
    pub fn hooks(&self) -> &[Arc<dyn AuditHook>] {
        &self.hooks
    }

    /// The directory that the guest works in, if there is one.
    #[must_use]
    pub fn workspace(&self) -> Option<&Workspace> {
        self.workspace.as_ref()
    }

    /// The directory whose system the guest sees instead of the host's, if there is one.
    #[must_use]
    pub fn rootfs(&self) -> Option<&Path> {
        self.rootfs.as_deref()
    }

    /// Checks everything that can be known without the host, and resolves the secrets.
    ///
    /// # Errors
    /// The first value that is out of its range or form, by field; a profile that does not
    /// exist; a secret that is not registered or cannot go where it should.
    pub fn validate(&self) -> Result<Spec> {
        self.policy.validate()?;
        if self.agent_id.len() > MAX_AGENT_ID || self.agent_id.chars().any(char::is_control) {
            return Err(KavachError::invalid(
                "agent_id",
                format!(
                    "{} bytes, or a control character in it",
                    self.agent_id.len()
                ),
                format!("at most {MAX_AGENT_ID} bytes without control characters"),
                "give the owner a short plain name",
            ));
        }
        check_hostname(&self.hostname)?;
        range("timeout_ms", self.timeout_ms, 0, MAX_MS)?;
        if self.env.len() > MAX_ENV {
            return Err(KavachError::invalid(
                "env",
                format!("{} variables", self.env.len()),
                format!("at most {MAX_ENV}"),
                "set fewer variables, or pass a file",
            ));
        }
        check_env("env", &self.env)?;
        let (workspace, rootfs) = (self.workspace.as_ref(), self.rootfs.as_deref());
        workspace::check(workspace, rootfs, &self.policy.filesystem)?;
        let injections = self.credentials.resolve(&self.secrets)?;
        Ok(Spec {
            workspace: self.workspace.clone(),
            rootfs: self.rootfs.clone(),
            backend: self.backend,
            policy: self.policy.clone(),
            timeout_ms: (self.timeout_ms != 0).then_some(self.timeout_ms),
            agent_id: self.agent_id.clone(),
            hostname: self.hostname.clone(),
            env: self.env.clone(),
            injections,
        })
    }
}

/// Values of variables may be secrets: their names alone are shown.
impl std::fmt::Debug for SandboxConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxConfig")
            .field("backend", &self.backend)
            .field("policy", &self.policy)
            .field("timeout_ms", &self.timeout_ms)
            .field("agent_id", &self.agent_id)
            .field("workspace", &self.workspace)
            .field("rootfs", &self.rootfs)
            .field(
                "env",
                &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

/// Builds a [`SandboxConfig`]. Changes apply in the order of the calls: a later `policy`
/// replaces what earlier calls changed in it.
#[derive(Debug, Clone)]
pub struct SandboxConfigBuilder {
    config: SandboxConfig,
}

impl SandboxConfigBuilder {
    /// What runs the guest. Default: process.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.config.backend = backend;
        self
    }

    /// Replaces the whole policy. Default: [`SandboxPolicy::basic`].
    #[must_use]
    pub fn policy(mut self, policy: SandboxPolicy) -> Self {
        self.config.policy = policy;
        self
    }

    /// Changes the policy's system call allowlist: `basic` or `strict`.
    #[must_use]
    pub fn policy_seccomp(mut self, profile: &str) -> Self {
        self.config.policy.syscall_filter.profile = Some(profile.to_owned());
        self
    }

    /// `false`: no network. `true`: the host's network, which costs its points.
    #[must_use]
    pub fn network(mut self, on: bool) -> Self {
        self.config.policy.network = if on { Network::On } else { Network::Off };
        self
    }

    /// Time limit of each command on the wall clock, in milliseconds; 0, the default: none.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.config.timeout_ms = timeout_ms;
        self
    }

    /// The owner's name: any UTF-8 up to 128 bytes without control characters. It is in every
    /// audit event and in the sandbox's visible name.
    #[must_use]
    pub fn agent_id(mut self, agent_id: &str) -> Self {
        self.config.agent_id = agent_id.to_owned();
        self
    }

    /// The host name inside. Default: `kavach`.
    #[must_use]
    pub fn hostname(mut self, hostname: &str) -> Self {
        self.config.hostname = hostname.to_owned();
        self
    }

    /// Sets an environment variable over the clean environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        set_env(&mut self.config.env, name.into(), value.into());
        self
    }

    /// Shows a host path read-only at its own place.
    #[must_use]
    pub fn read(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.policy.filesystem.read.push(path.into());
        self
    }

    /// Gives the guest a directory of the host to work in, which stays as it is on the host.
    /// At most one: a later call replaces an earlier one.
    #[must_use]
    pub fn workspace(mut self, workspace: Workspace) -> Self {
        self.config.workspace = Some(workspace);
        self
    }

    /// Shows a directory of the host at its own place, to be written to. A weakening: what the
    /// guest writes is on the host at once, and nothing but the file system limits how much.
    /// What it makes there belongs to the directory's owner. It needs a system call filter,
    /// which keeps setuid bits, sockets and devices from being made there.
    #[must_use]
    pub fn write_through(mut self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        self.config.policy.filesystem.write_through.push(directory);
        self
    }

    /// Shows the system of this directory (its `/usr`, `/bin`, `/etc` and so on) read-only
    /// instead of the host's. `/proc`, `/dev`, `/tmp`, `/run` and the home stay the sandbox's own.
    #[must_use]
    pub fn rootfs(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.rootfs = Some(directory.into());
        self
    }

    /// Limits what a workspace takes up in memory, in MiB.
    #[must_use]
    pub fn workspace_mb(mut self, workspace_mb: u64) -> Self {
        self.config.policy.filesystem.workspace_mb = workspace_mb;
        self
    }

    /// Limits the memory of all processes together, in MiB.
    #[must_use]
    pub fn memory_mb(mut self, memory_mb: u64) -> Self {
        self.config.policy.limits.memory_mb = Some(memory_mb);
        self
    }

    /// Limits the CPUs' worth of time at a time.
    #[must_use]
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.config.policy.limits.cpus = Some(cpus);
        self
    }

    /// Limits the CPU time in all, in milliseconds.
    #[must_use]
    pub fn cpu_time_ms(mut self, cpu_time_ms: u64) -> Self {
        self.config.policy.limits.cpu_time_ms = Some(cpu_time_ms);
        self
    }

    /// Limits the processes and threads at a time.
    #[must_use]
    pub fn pids(mut self, pids: u32) -> Self {
        self.config.policy.limits.pids = Some(pids);
        self
    }

    /// Limits the captured bytes of each output stream, in KiB. Default 1024.
    #[must_use]
    pub fn output_limit_kb(mut self, output_kb: u64) -> Self {
        self.config.policy.limits.output_kb = output_kb;
        self
    }

    /// Adds a hook that sees every act and may forbid it. Hooks are asked in the order of these
    /// calls.
    #[must_use]
    pub fn hook(mut self, hook: Arc<dyn AuditHook>) -> Self {
        self.config.hooks.push(hook);
        self
    }

    /// Gives every command these secrets.
    #[must_use]
    pub fn credentials(mut self, proxy: CredentialProxy, secrets: Vec<SecretRef>) -> Self {
        self.config.credentials = proxy;
        self.config.secrets = secrets;
        self
    }

    /// The config. Cannot fail: what is wrong with it comes out of `Sandbox::create`.
    #[must_use]
    pub fn build(self) -> SandboxConfig {
        self.config
    }
}

/// A config whose every value is in its range and form. Made by [`SandboxConfig::validate`].
#[derive(Clone)]
pub struct Spec {
    pub(crate) backend: Backend,
    pub(crate) policy: SandboxPolicy,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) agent_id: String,
    pub(crate) hostname: String,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) injections: Injections,
    pub(crate) workspace: Option<Workspace>,
    pub(crate) rootfs: Option<PathBuf>,
}

impl Spec {
    /// What runs the guest.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// What is asked of it.
    #[must_use]
    pub fn policy(&self) -> &SandboxPolicy {
        &self.policy
    }

    /// The host name inside, where it has one of its own.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Time limit of each command, in milliseconds.
    #[must_use]
    pub fn timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }

    /// The owner's name; empty where none was given.
    #[must_use]
    pub fn agent_id(&self) -> &str {
        &self.agent_id
    }

    /// The secrets of every command.
    #[must_use]
    pub fn injections(&self) -> &Injections {
        &self.injections
    }

    /// The environment of every command, before the command's own: the plan's clean one, with
    /// what the config sets laid over it. Secrets come on top, at the exec.
    #[must_use]
    pub fn environment(&self, plan: &crate::plan::Plan) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = plan
            .env
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        for (name, value) in &self.env {
            set_env(&mut env, name.clone(), value.clone());
        }
        env
    }

    /// The host paths that a plan asks about beside the system's own.
    pub fn host_paths(&self) -> impl Iterator<Item = &Path> {
        self.policy.filesystem.read.iter().map(PathBuf::as_path)
    }

    /// The host directories that a plan shows under the guest's own rights, or writes to.
    pub fn host_directories(&self) -> impl Iterator<Item = &Path> {
        let workspace = self.workspace.as_ref();
        let upper = workspace.and_then(Workspace::upper_directory);
        let write_through = self.policy.filesystem.write_through.iter();
        write_through
            .map(PathBuf::as_path)
            .chain(workspace.map(Workspace::directory))
            .chain(upper)
            .chain(self.rootfs.as_deref())
    }

    /// The directory that the guest works in, if there is one.
    #[must_use]
    pub fn workspace(&self) -> Option<&Workspace> {
        self.workspace.as_ref()
    }

    /// The directory whose system the guest sees, if it is not the host's.
    #[must_use]
    pub fn rootfs(&self) -> Option<&Path> {
        self.rootfs.as_deref()
    }
}

/// Values of variables may be secrets: their names alone are shown.
impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec")
            .field("backend", &self.backend)
            .field("policy", &self.policy)
            .field("timeout_ms", &self.timeout_ms)
            .field("agent_id", &self.agent_id)
            .field("hostname", &self.hostname)
            .field("workspace", &self.workspace)
            .field("rootfs", &self.rootfs)
            .field(
                "env",
                &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("injections", &self.injections)
            .finish()
    }
}

/// `sethostname(2)` takes 64 bytes; names are letters, digits, `-` and `.` (`hostname(7)`).
fn check_hostname(hostname: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let good = (1..=64).contains(&hostname.len())
        && hostname.bytes().all(plain)
        && hostname.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(KavachError::invalid(
        "hostname",
        format!("{:?}", crate::names::shown(hostname)),
        "1 to 64 letters, digits, `-` and `.`, beginning with a letter or digit",
        "choose a plain name",
    ))
}

#[cfg(test)]
mod tests;
