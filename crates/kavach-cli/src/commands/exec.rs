//! `kavach exec`: one program.

use std::ffi::OsString;

use kavach::{Command, EnforcementRow, ExecResult, Termination};
use serde::Serialize;

use super::run::{self, Finished, Outcome, Output};
use crate::cli::{ExecArgs, SandboxArgs};
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::json;
use crate::output;
use crate::resolve::{Resolved, resolve};

pub(crate) fn run(args: ExecArgs) -> Result<u8> {
    let resolved = resolve(&args.sandbox)?;
    let command = command(args.command, &resolved)?;
    if !args.json {
        return stream(&args.sandbox, &resolved, command);
    }
    match run::block_on(run::run(&resolved, command, Output::Kept))? {
        Outcome::Ended(finished) => {
            json::print(&Document::new(&finished, &resolved))?;
            Ok(finished.exit_code())
        }
        Outcome::Interrupted(signal) => Err(CliError::Interrupted { signal }),
    }
}

/// Runs a command with its streams passed through. Shared with `shell`.
pub(super) fn stream(args: &SandboxArgs, resolved: &Resolved, command: Command) -> Result<u8> {
    match run::block_on(run::run(resolved, command, Output::Passed))? {
        Outcome::Ended(finished) => {
            say_limit(args, resolved, &finished.result);
            Ok(finished.exit_code())
        }
        Outcome::Interrupted(signal) => Ok(exit_code::of_signal(signal)),
    }
}

fn command(argv: Vec<OsString>, resolved: &Resolved) -> Result<Command> {
    let mut argv = argv.into_iter();
    let program = argv
        .next()
        .ok_or_else(|| CliError::argument("CMD", "no program is named", "kavach exec -- CMD"))?;
    Ok(in_directory(Command::new(program).args(argv), resolved))
}

/// The command in the directory that `--cwd` names.
pub(super) fn in_directory(command: Command, resolved: &Resolved) -> Command {
    match &resolved.cwd {
        Some(directory) => command.cwd(directory),
        None => command,
    }
}

/// Says which limit ended the program: 137 alone does not tell.
fn say_limit(args: &SandboxArgs, resolved: &Resolved, result: &ExecResult) {
    let limits = &resolved.config.policy().limits;
    let mb = limits.memory_mb.map(|mb| format!(" at {mb} MiB"));
    let pids = limits.pids.map(|pids| format!(" at {pids} processes"));
    let detail = match result.termination {
        Termination::TimedOut => Some(format!(" after {} ms", resolved.timeout_ms)),
        Termination::OutOfMemory => mb,
        Termination::PidsExceeded => pids,
        Termination::OutputExceeded | Termination::DiskExceeded | Termination::CpuExceeded => {
            Some(String::new())
        }
        // How the guest itself ended is for the exit code to say.
        _ => return,
    };
    let named: Vec<_> = args
        .policy
        .iter()
        .map(|name| name.to_string_lossy())
        .collect();
    let policy = match named.as_slice() {
        [] => "basic".to_owned(),
        named => named.join(" + "),
    };
    output::note(&format!(
        "the program was ended: {}{} (policy {policy})",
        result.termination,
        detail.unwrap_or_default(),
    ));
}

/// What `--json` prints; docs/cli.md has it in words. The fields are listed here one by one, so
/// that a change of the library's type does not change the document unseen.
#[derive(Serialize)]
struct Document<'a> {
    sandbox: &'a str,
    backend: kavach::Backend,
    policy: &'a str,
    strength: Strength,
    exit_code: u8,
    termination: Termination,
    timed_out: bool,
    duration_ms: u64,
    stdout: &'a str,
    stderr: &'a str,
    stdout_is_utf8: bool,
    stderr_is_utf8: bool,
    stdout_truncated: bool,
    stderr_truncated: bool,
    usage: &'a kavach::result::Usage,
    limit_events: &'a [kavach::result::LimitEvent],
    denials: &'a [kavach::result::Denial],
    verdict: &'a kavach::Verdict,
    report: &'a [EnforcementRow],
}

/// A score with its band.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Strength {
    score: u8,
    label: &'static str,
}

impl std::fmt::Display for Strength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.score, self.label)
    }
}

impl From<kavach::StrengthScore> for Strength {
    fn from(score: kavach::StrengthScore) -> Self {
        Self {
            score: score.value(),
            label: score.label(),
        }
    }
}

impl<'a> Document<'a> {
    fn new(finished: &'a Finished, resolved: &'a Resolved) -> Self {
        let Finished {
            result, sandbox, ..
        } = finished;
        Self {
            sandbox: sandbox.id(),
            backend: sandbox.report().backend,
            policy: &resolved.config.policy().name,
            strength: sandbox.strength().into(),
            exit_code: finished.exit_code(),
            termination: result.termination,
            timed_out: result.timed_out,
            duration_ms: u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX),
            stdout: &result.stdout,
            stderr: &result.stderr,
            stdout_is_utf8: result.stdout_bytes() == result.stdout.as_bytes(),
            stderr_is_utf8: result.stderr_bytes() == result.stderr.as_bytes(),
            stdout_truncated: result.stdout_truncated,
            stderr_truncated: result.stderr_truncated,
            usage: &result.usage,
            limit_events: &result.limit_events,
            denials: &result.denials,
            verdict: &result.verdict,
            report: &sandbox.report().rows,
        }
    }
}
