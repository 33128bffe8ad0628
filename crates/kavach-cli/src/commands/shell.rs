//! `kavach shell`: a shell, interactive on a terminal.

use kavach::Command;

use super::exec::{in_directory, run_one};
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
    let interactive = args.script.is_none() && tty::is_wanted(&args.terminal);
    let wish = Wish::new(&args.apply, &resolved, args.output.json, interactive)?;
    let mut command = match args.shell {
        Some(shell) => Command::new(shell),
        None => Command::shell(START).arg("kavach-shell"),
    };
    if let Some(script) = args.script {
        command = command.arg("-c").arg(script);
    }
    let command = in_directory(command.args(args.arguments), &resolved);
    run_one(
        &args.sandbox,
        &args.terminal,
        args.output,
        &resolved,
        command,
        wish,
    )
}
