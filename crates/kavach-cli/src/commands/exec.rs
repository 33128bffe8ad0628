//! `kavach exec`: one program.

use std::ffi::OsString;

use kavach::{Command, ExecResult, Termination};

use super::run::{self, Outcome, Output};
use super::workspace::Wish;
use crate::cli::{ExecArgs, OutputArgs, SandboxArgs, TerminalArgs};
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::json;
use crate::output;
use crate::resolve::{Resolved, resolve};
use crate::tty;

pub(crate) fn run(args: ExecArgs) -> Result<u8> {
    let resolved = resolve(&args.sandbox)?;
    let command = command(args.command, &resolved)?;
    let wish = Wish::new(&args.apply, &resolved, args.output.json, false)?;
    run_one(
        &args.sandbox,
        &args.terminal,
        args.output,
        &resolved,
        command,
        wish,
    )
}

/// Runs one command, with its streams passed through or kept for a document. Shared with `shell`.
pub(super) fn run_one(
    args: &SandboxArgs,
    terminal: &TerminalArgs,
    how: OutputArgs,
    resolved: &Resolved,
    command: Command,
    wish: Option<Wish>,
) -> Result<u8> {
    let output = if how.json {
        Output::Kept
    } else {
        Output::Passed {
            terminal: tty::is_wanted(terminal),
            unfiltered: terminal.unfiltered_terminal,
        }
    };
    let outcome = run::block_on(run::run(resolved, command, output, wish.as_ref(), how))
        .map_err(|error| error.in_arguments(|field| resolved.argument(field)))?;
    match outcome {
        Outcome::Ended(finished) if how.json => {
            let code = finished.exit_code();
            let policy = &resolved.config.policy().name;
            let document = json::Exec::new(&finished, policy, code);
            json::print(&document)?;
            Ok(code)
        }
        Outcome::Ended(finished) => {
            say_limit(args, how, resolved, &finished.result);
            if let (Some(wish), Some(outcome)) = (&wish, &finished.workspace) {
                wish.tell(how, outcome, finished.result.termination)?;
            }
            Ok(finished.exit_code())
        }
        Outcome::Interrupted(signal) if how.json => Err(CliError::Interrupted { signal }),
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
fn say_limit(args: &SandboxArgs, how: OutputArgs, resolved: &Resolved, result: &ExecResult) {
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
    let text = format!(
        "the program was ended: {}{} (policy {policy})",
        result.termination,
        detail.unwrap_or_default(),
    );
    output::note(how, &text);
}
