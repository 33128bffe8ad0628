//! `kavach exec`: one program.

use std::ffi::OsString;

use kavach::{Command, ExecResult, Termination};

use super::run::{self, Outcome, Output};
use super::workspace::Wish;
use crate::cli::{ExecArgs, SandboxArgs, TerminalArgs};
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::json;
use crate::output;
use crate::resolve::{Resolved, resolve};
use crate::tty;

pub(crate) fn run(args: ExecArgs) -> Result<u8> {
    let resolved = resolve(&args.sandbox)?;
    let command = command(args.command, &resolved)?;
    let wish = Wish::new(&args.apply, &resolved, args.json, false)?;
    if !args.json {
        return stream(&args.sandbox, &args.terminal, &resolved, command, wish);
    }
    match run::block_on(run::run(&resolved, command, Output::Kept, wish.as_ref()))? {
        Outcome::Ended(finished) => {
            let code = finished.exit_code();
            let policy = &resolved.config.policy().name;
            let document = json::Exec::new(&finished, policy, code);
            json::print(&document)?;
            Ok(code)
        }
        Outcome::Interrupted(signal) => Err(CliError::Interrupted { signal }),
    }
}

/// Runs a command with its streams passed through. Shared with `shell`.
pub(super) fn stream(
    args: &SandboxArgs,
    terminal: &TerminalArgs,
    resolved: &Resolved,
    command: Command,
    wish: Option<Wish>,
) -> Result<u8> {
    let passed = Output::Passed {
        terminal: tty::is_wanted(terminal),
        unfiltered: terminal.unfiltered_terminal,
    };
    match run::block_on(run::run(resolved, command, passed, wish.as_ref()))? {
        Outcome::Ended(finished) => {
            say_limit(args, resolved, &finished.result);
            if let (Some(wish), Some(outcome)) = (&wish, &finished.workspace) {
                wish.tell(outcome, finished.result.termination)?;
            }
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
