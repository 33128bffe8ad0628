//! The kavach command line: arguments in, the library's acts, exit codes out.

mod cli;
mod commands;
mod decoder;
mod duration;
mod error;
mod exit_code;
mod help;
mod host_limits;
mod json;
mod keys;
mod number;
mod output;
mod policy_arg;
mod progress;
mod resolve;
mod screen;
mod secret;
mod signals;
mod streams;
mod terminal;
mod tty;

use std::ffi::OsString;

use clap::Parser as _;

use crate::cli::{Cli, Verb};
use crate::error::CliError;

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // First, while little of the stack is used.
    let code = match host_limits::check() {
        Ok(()) => begin(&arguments),
        Err(error) => output::failed(error, output::wants_json(&arguments)),
    };
    leave(code);
}

/// A frame of its own: parsing takes much of the stack.
#[inline(never)]
fn begin(arguments: &[OsString]) -> u8 {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => run(cli.verb),
        Err(_) if arguments.len() <= 1 => output::greeting(),
        Err(refusal) => output::refusal(&refusal, arguments),
    }
}

/// Runs one verb; its exit code.
fn run(verb: Verb) -> u8 {
    let json = verb.output().json;
    if verb.makes_sandboxes() {
        // Before any other process is started. Where it fails, the plan names what is in the way.
        let _ = kavach::host::step_aside();
    }
    let done = match verb {
        Verb::Exec(args) => commands::exec::run(args),
        Verb::Shell(args) => commands::shell::run(args),
        Verb::Backends(args) => commands::backends::run(&args),
        Verb::Score(args) => commands::score::run(&args),
        Verb::Verify(args) => commands::verify::run(&args),
        Verb::Doctor(args) => commands::doctor::run(&args),
        Verb::Policy(args) => commands::policy::run(&args.verb),
        Verb::Gc(args) => commands::gc::run(&args),
        Verb::Completions(args) => commands::completions::run(&args),
        Verb::Man(args) => commands::man::run(&args),
    };
    done.unwrap_or_else(|error: CliError| output::failed(error, json))
}

/// Ends the process at once.
///
/// A thread may still wait for a terminal's next line, which nobody can interrupt: returning
/// from `main` through the runtime would wait for it. Sandboxes were destroyed before.
#[allow(
    clippy::exit,
    reason = "the one way out, after everything was cleaned up"
)]
fn leave(code: u8) -> ! {
    std::process::exit(i32::from(code))
}
