//! Ways to run the guest program once: as a plain child, and in kavach.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kavach::policy::{Network, View};
use kavach::{Sandbox, SandboxConfig, SandboxPolicy, SandboxState};

use crate::turns::Times;

/// What tokio runs on in this program: a runtime of the caller's, as an embedder has one.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")
}

/// The static program that does nothing.
pub(crate) fn true_in(guests: &Path) -> PathBuf {
    guests.join("true")
}

/// std uses posix_spawn(3) where it can, which has vfork semantics.
pub(crate) fn child(command: &mut Command) -> Result<Duration> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    status(command)
}

/// With the streams as they are set.
pub(crate) fn status(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("{:?}", command.get_program()))?;
    let took = start.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took)
}

/// A copy of this whole process first: setting the user that it is anyhow keeps std from
/// posix_spawn.
pub(crate) fn forked(program: &Path) -> Result<Duration> {
    let uid = rustix::process::getuid().as_raw();
    child(Command::new(program).uid(uid))
}

/// Output collected over two pipes, as `Sandbox::exec` does.
pub(crate) fn captured(program: &Path) -> Result<Duration> {
    let start = Instant::now();
    let output = Command::new(program).stdin(Stdio::null()).output()?;
    let took = start.elapsed();
    ensure!(output.status.success(), "{program:?}: {}", output.status);
    Ok(took)
}

/// One control that is switched off to see what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    Filter,
    Landlock,
    NetworkNamespace,
    Limits,
    View,
    UserNamespace,
    AllButPid,
}

/// A preset that shows the guests, less one control.
pub(crate) fn policy(preset: &str, guests: &Path, without: Without) -> Result<SandboxPolicy> {
    let mut policy = SandboxPolicy::from_preset(preset)?;
    if policy.filesystem.view == View::Private {
        policy.filesystem.read.push(guests.to_owned());
    }
    match without {
        Without::Nothing => {}
        Without::Filter => policy.syscall_filter.profile = None,
        Without::Landlock => policy.landlock = false,
        Without::NetworkNamespace => policy.network = Network::On,
        Without::Limits => no_limits(&mut policy),
        Without::View => hosts_files(&mut policy),
        Without::UserNamespace => policy.namespaces.user = false,
        Without::AllButPid => {
            policy.syscall_filter.profile = None;
            policy.landlock = false;
            policy.network = Network::On;
            no_limits(&mut policy);
            hosts_files(&mut policy);
        }
    }
    Ok(policy)
}

fn no_limits(policy: &mut SandboxPolicy) {
    policy.limits.memory_mb = None;
    policy.limits.cpus = None;
    policy.limits.pids = None;
    policy.limits.open_files = None;
}

fn hosts_files(policy: &mut SandboxPolicy) {
    policy.filesystem.view = View::Host;
    policy.filesystem.read_only_root = false;
    policy.filesystem.read.clear();
    // Its rules are those of the private view.
    policy.landlock = false;
}

/// The config of a policy.
pub(crate) fn config(policy: SandboxPolicy) -> SandboxConfig {
    SandboxConfig::builder().policy(policy).build()
}

/// A sandbox that is open for commands.
pub(crate) async fn running(config: SandboxConfig) -> Result<Sandbox> {
    let mut sandbox = Sandbox::create(config).await.context("create")?;
    sandbox.transition(SandboxState::Running)?;
    Ok(sandbox)
}

/// Runs the program in a sandbox that is there.
pub(crate) async fn exec(sandbox: &Sandbox, program: &Path) -> Result<Duration> {
    let start = Instant::now();
    let result = sandbox
        .exec(kavach::Command::new(program))
        .await
        .context("exec")?;
    let took = start.elapsed();
    ensure!(result.success(), "{program:?}: {result:?}");
    Ok(took)
}

/// One whole life.
pub(crate) async fn life(config: SandboxConfig, program: &Path) -> Result<Times> {
    let start = Instant::now();
    let mut sandbox = Sandbox::create(config).await.context("create")?;
    let created = Instant::now();
    sandbox.transition(SandboxState::Running)?;
    let result = sandbox
        .exec(kavach::Command::new(program))
        .await
        .context("exec")?;
    let ended = Instant::now();
    sandbox.destroy().await.context("destroy")?;
    let destroyed = Instant::now();
    ensure!(result.success(), "{program:?}: {result:?}");
    Ok(vec![
        ("create", created - start),
        ("exec", ended - created),
        ("destroy", destroyed - ended),
        ("total", destroyed - start),
    ])
}
