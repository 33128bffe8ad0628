//! Runs the probes: together in one sandbox of the config, once more outside, and alone those
//! that end what runs.

use std::ffi::OsString;
use std::time::Duration;

use super::answer::{self, Answer};
use super::battery::{Battery, Probe};
use super::canary::Canaries;
use super::judge::{self, Made};
use super::limits::{self, Lone};
use super::{Claims, Verification};
use crate::backend::Backend;
use crate::command::Command;
use crate::config::SandboxConfig;
use crate::credential::{CredentialProxy, InjectionMethod, SecretRef};
use crate::error::Result;
use crate::lifecycle::SandboxState;
use crate::policy::SandboxPolicy;
use crate::result::ExecResult;
use crate::sandbox::Sandbox;

/// The agent's own program: whoever starts a command is a copy of the agent until the command's
/// program runs, so that this names a sealed image that needs no file inside.
const PROGRAM: &str = "/proc/self/exe";
const PERSONALITY: &str = "probe";
/// More than an answer's line is long.
const LINE_BYTES: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures sandboxes of `config`.
pub(crate) async fn verify(config: SandboxConfig) -> Result<Verification> {
    measure(config, |claims| claims).await
}

/// Measures sandboxes of `config` against what `claims` makes of their claims: tests lie here.
pub(super) async fn measure(
    config: SandboxConfig,
    claims: impl FnOnce(Claims) -> Claims,
) -> Result<Verification> {
    let sandbox = running(config.clone()).await?;
    let claims = claims(sandbox.claims());
    let canaries = Canaries::new();
    let battery = Battery::new(&claims, &canaries, gives_descriptors(&config));
    let probes = battery.probes.iter();
    let here = probes.clone().map(|probe| &probe.arguments[..]).collect();
    let inside = tried(sandbox, here).await?;

    let compared = probes.clone().filter(|probe| probe.means.is_compared());
    let there = compared.map(Probe::arguments_outside).collect();
    let mut outside = tried(running(nothing_isolated()).await?, there)
        .await?
        .into_iter();

    let mut made: Vec<Made> = Vec::new();
    for (probe, inside) in probes.zip(inside) {
        let outside = match probe.means.is_compared() {
            true => outside.next().flatten(),
            false => None,
        };
        made.push(Made::together(probe, inside, outside, &claims));
    }
    for probe in limits::lone(&claims).0 {
        let sandbox = running(config.clone()).await?;
        let (result, answer) = alone(sandbox, &probe).await?;
        made.push(Made::alone(&probe, &result, answer));
    }
    made.extend(battery.untried.into_iter().map(Made::not));
    Ok(judge::judge(&claims, made))
}

/// Whether a command of this config has descriptors beside its standard streams.
fn gives_descriptors(config: &SandboxConfig) -> bool {
    let by_descriptor = |secret: &SecretRef| match secret.inject_via {
        InjectionMethod::Pipe { .. } | InjectionMethod::File { .. } => true,
        InjectionMethod::EnvVar { .. } | InjectionMethod::Stdin => false,
    };
    config.secrets().iter().any(by_descriptor)
}

/// Outside: no isolation, and one descriptor left open to be found.
fn nothing_isolated() -> SandboxConfig {
    let mut proxy = CredentialProxy::new();
    let name = "left open";
    proxy.register(name, "nothing");
    let left_open = SecretRef {
        name: name.into(),
        inject_via: InjectionMethod::Pipe { fd: 9 },
    };
    SandboxConfig::builder()
        .backend(Backend::Noop)
        .policy(SandboxPolicy::minimal())
        .credentials(proxy, vec![left_open])
        .build()
}

async fn running(config: SandboxConfig) -> Result<Sandbox> {
    let sandbox = Sandbox::create(config).await?;
    sandbox.handle().transition(SandboxState::Running).await?;
    Ok(sandbox)
}

fn command(arguments: impl IntoIterator<Item = OsString>) -> Command {
    Command::new(PROGRAM).arg(PERSONALITY).args(arguments)
}

/// The answers of probes that share a sandbox, which ends with them.
async fn tried(mut sandbox: Sandbox, probes: Vec<&[OsString]>) -> Result<Vec<Option<Answer>>> {
    // A policy may keep little output.
    let room = sandbox.plan().output_limit_bytes / LINE_BYTES;
    let at_once = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    let mut answers = Vec::with_capacity(probes.len());
    for part in probes.chunks(at_once) {
        let arguments = part.iter().flat_map(|arguments| arguments.iter().cloned());
        let command = command(arguments).timeout_ms(milliseconds(PATIENCE));
        let result = sandbox.exec(command).await?;
        answers.extend(answer::read(result.stdout_bytes(), part.len()));
    }
    sandbox.destroy().await?;
    Ok(answers)
}

/// How a probe with a sandbox of its own ended.
async fn alone(mut sandbox: Sandbox, probe: &Lone) -> Result<(ExecResult, Option<Answer>)> {
    let mut command = command(probe.arguments.clone());
    if let Some(timeout) = probe.timeout {
        command = command.timeout_ms(milliseconds(timeout));
    }
    let result = sandbox.exec(command).await?;
    let answer = answer::read(result.stdout_bytes(), 1).pop().flatten();
    // A limit that only ends the whole sandbox has ended it already; then this has nothing to do.
    sandbox.destroy().await?;
    Ok((result, answer))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
