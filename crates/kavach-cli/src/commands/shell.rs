//! `kavach shell`: a shell, interactive on a terminal.

use kavach::Command;

use super::exec::{Run, in_place};
use super::workspace::Wish;
use crate::cli::ShellArgs;
use crate::error::Result;
use crate::resolve::resolve;
use crate::tty;

/// Whether there is a bash shows only inside. Arguments go through as they are.
const START: &str =
    r#"if command -v bash >/dev/null 2>&1; then exec bash "$@"; fi; exec /bin/sh "$@""#;

pub(crate) fn run(args: ShellArgs) -> Result<u8> {
    let resolved = resolve(&args.sandbox)?;
    let interactive = args.script.is_none() && !args.output.json && tty::is_wanted(&args.terminal);
    let wish = Wish::new(&args.apply, &resolved, args.output, interactive)?;
    let mut command = match args.shell {
        Some(shell) => Command::new(shell),
        None => Command::shell(START).arg("kavach-shell"),
    };
    if let Some(script) = args.script {
        command = command.arg("-c").arg(script);
    }
    let command = in_place(command.args(args.arguments), &args.place);
    let run = Run {
        sandbox: &args.sandbox,
        terminal: &args.terminal,
        how: args.output,
        resolved: &resolved,
        wish,
    };
    run.command(command)
}
