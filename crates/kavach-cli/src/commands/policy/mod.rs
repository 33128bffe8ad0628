//! `kavach policy`: policies shown, checked, explained and compared. Nothing of a guest runs.

mod check;
mod diff;
mod explain;

use std::io::IsTerminal as _;

use crate::cli::{PolicyShowArgs, PolicyVerb};
use crate::error::Result;
use crate::exit_code;
use crate::json;
use crate::output;
use crate::policy_arg;
use crate::terminal::plain;

pub(crate) fn run(verb: &PolicyVerb) -> Result<u8> {
    match verb {
        PolicyVerb::Show(args) => show(args),
        PolicyVerb::Check(args) => check::run(args),
        PolicyVerb::Explain(args) => explain::run(args),
        PolicyVerb::Diff(args) => diff::run(args),
        PolicyVerb::Schema(_) => schema(),
    }
}

/// Both forms are what a policy file can say: kavach reads them back.
fn show(args: &PolicyShowArgs) -> Result<u8> {
    let policy = policy_arg::merged("policy show", &args.policy)?.unwrap_or_default();
    if args.output.json {
        json::print_text(policy.to_json()?.trim_end())?;
        return Ok(exit_code::OK);
    }
    let toml = policy.to_toml()?;
    // A path may have characters in it that a terminal acts on. In a file they belong there.
    if std::io::stdout().is_terminal() {
        output::line(plain(&toml).trim_end())?;
    } else {
        output::line(toml.trim_end())?;
    }
    Ok(exit_code::OK)
}

fn schema() -> Result<u8> {
    json::print(&kavach::policy::json_schema())?;
    Ok(exit_code::OK)
}
