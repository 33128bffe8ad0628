//! `kavach shell`: a shell, without a terminal for now.

use std::io::{self, IsTerminal as _};

use kavach::Command;

use super::exec::{in_directory, run_one};
use crate::cli::ShellArgs;
use crate::error::Result;
use crate::output;
use crate::resolve::resolve;

/// Whether there is a bash shows only inside. Arguments go through as they are.
const START: &str =
    r#"if command -v bash >/dev/null 2>&1; then exec bash "$@"; fi; exec /bin/sh "$@""#;

pub(crate) fn run(args: ShellArgs) -> Result<u8> {
    let resolved = resolve(&args.sandbox)?;
    let mut command = Command::shell(START).arg("kavach-shell");
    match args.script {
        Some(script) => command = command.arg("-c").arg(script).args(args.arguments),
        None if io::stdin().is_terminal() => {
            let text = "no prompt and no line editing yet: type commands, Ctrl-D ends";
            output::note(args.output, text);
        }
        None => {}
    }
    let command = in_directory(command, &resolved);
    run_one(&args.sandbox, args.output, &resolved, command)
}
