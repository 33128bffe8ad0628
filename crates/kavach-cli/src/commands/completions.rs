//! `kavach completions`: what a shell needs to complete kavach's arguments.

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory as _, ValueHint};
use clap_complete::Shell;
use kavach::Backend;
use kavach::policy::PRESETS;

use crate::cli::{Cli, CompletionsArgs};
use crate::error::Result;
use crate::exit_code;
use crate::json;
use crate::output;

pub(crate) fn run(args: &CompletionsArgs) -> Result<u8> {
    let script = script(args.shell);
    if args.output.json {
        json::print(&json::Completions::new(args.shell.to_string(), script))?;
    } else {
        output::line(script.trim_end())?;
    }
    Ok(exit_code::OK)
}

/// The script. It is plain text without calls back to kavach: what is completed is what this
/// version knows.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut command = with_names(Cli::command());
    clap_complete::generate(shell, &mut command, "kavach", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // bash completes file names where no name fits (`complete -o default`).
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script),
        _ => script,
    }
}

/// A policy may also be a file.
fn zsh(script: &str) -> String {
    let presets = PRESETS.join(" ");
    let function = format!(
        "autoload -U is-at-least\n\n_kavach_policy() {{\n    _alternative \
         'presets:preset:({presets})' 'files:file:_files'\n}}\n"
    );
    script
        .replace(&format!(":({presets})'"), ":_kavach_policy'")
        .replacen("autoload -U is-at-least\n", &function, 1)
}

/// Likewise. `-f` is "no files" to fish, `-F` is "files too".
fn fish(script: &str) -> String {
    let first = PRESETS[0];
    script.replace(
        &format!("-r -f -a \"{first}"),
        &format!("-r -F -a \"{first}"),
    )
}

/// Names of presets and backends, for completion alone: a policy may also be a file, and an
/// unknown name is for the library to refuse, with the nearest one.
fn with_names(mut command: Command) -> Command {
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, with_names);
    }
    command.mut_args(|arg| match arg.get_id().as_str() {
        // Without the hint of a file: clap_complete's script for bash would then take all the
        // names for one.
        "policy" => arg
            .value_parser(PossibleValuesParser::new(PRESETS))
            .value_hint(ValueHint::Unknown),
        "backend" => arg.value_parser(PossibleValuesParser::new(Backend::ALL.map(Backend::as_str))),
        // What is no path is not completed as one.
        _ if arg.get_action().takes_values() && arg.get_value_hint() == ValueHint::Unknown => {
            arg.value_hint(ValueHint::Other)
        }
        _ => arg,
    })
}
