//! `kavach exec`: one program.

use std::ffi::OsString;

use kavach::{Command, ExecResult, Termination};

use super::run::{self, Finished, Outcome, Output};
use super::workspace::Wish;
use crate::cli::{ExecArgs, OutputArgs, PlaceArgs, SandboxArgs, TerminalArgs};
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::json;
use crate::output;
use crate::resolve::{Resolved, resolve};
use crate::tty;

pub(crate) fn run(args: ExecArgs) -> Result<u8> {
    let resolved = resolve(&args.sandbox)?;
    let command = in_place(command(args.command)?, &args.place);
    let wish = Wish::new(&args.apply, &resolved, args.output, false)?;
    let run = Run {
        sandbox: &args.sandbox,
        terminal: &args.terminal,
        how: args.output,
        resolved: &resolved,
        wish,
    };
    run.command(command)
}

/// How one command is run. Shared with `shell`.
pub(super) struct Run<'a> {
    pub(super) sandbox: &'a SandboxArgs,
    pub(super) terminal: &'a TerminalArgs,
    pub(super) how: OutputArgs,
    pub(super) resolved: &'a Resolved,
    pub(super) wish: Option<Wish>,
}

impl Run<'_> {
    /// Runs it with its streams passed through, or kept for a document.
    pub(super) fn command(&self, command: Command) -> Result<u8> {
        let output = if self.how.json {
            Output::Kept
        } else {
            Output::Passed {
                terminal: tty::is_wanted(self.terminal),
                unfiltered: self.terminal.unfiltered_terminal,
            }
        };
        let wish = self.wish.as_ref();
        let outcome = run::block_on(run::run(self.resolved, command, output, self.how, wish))
            .map_err(|error| error.in_arguments(|field| self.resolved.argument(field)))?;
        match outcome {
            Outcome::Ended(finished) => self.ended(&finished),
            Outcome::Interrupted(signal) if self.how.json => Err(CliError::Interrupted { signal }),
            Outcome::Interrupted(signal) => Ok(exit_code::of_signal(signal)),
        }
    }

    /// Tells of the end; the exit code.
    fn ended(&self, finished: &Finished) -> Result<u8> {
        let code = finished.exit_code();
        if self.how.json {
            if let (Some(wish), Some(outcome)) = (&self.wish, &finished.workspace) {
                wish.write_list(outcome)?;
            }
            let policy = &self.resolved.config.policy().name;
            json::print(&json::Exec::new(finished, policy, code))?;
            return Ok(code);
        }
        say_limit(self.sandbox, self.how, self.resolved, &finished.result);
        if let (Some(wish), Some(outcome)) = (&self.wish, &finished.workspace) {
            wish.tell(outcome, finished.result.termination)?;
        }
        Ok(code)
    }
}

fn command(argv: Vec<OsString>) -> Result<Command> {
    let mut argv = argv.into_iter();
    let program = argv
        .next()
        .ok_or_else(|| CliError::argument("CMD", "no program is named", "kavach exec -- CMD"))?;
    Ok(Command::new(program).args(argv))
}

/// The command in the directory that `--cwd` names.
pub(super) fn in_place(command: Command, place: &PlaceArgs) -> Command {
    match &place.cwd {
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
