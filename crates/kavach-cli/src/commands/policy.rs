//! `kavach policy show` and `kavach policy check`.

use kavach::SandboxPolicy;
use kavach::control::{Control, Requirement};
use serde::Serialize;

use crate::cli::{PolicyArg, PolicyVerb};
use crate::error::Result;
use crate::exit_code;
use crate::json;
use crate::output;
use crate::policy_arg;

pub(crate) fn run(verb: &PolicyVerb) -> Result<u8> {
    match verb {
        PolicyVerb::Show(args) => show(args),
        PolicyVerb::Check(args) => check(args),
    }
}

/// Both forms are what a policy file can say: kavach reads them back.
fn show(args: &PolicyArg) -> Result<u8> {
    let policy = policy_arg::load("policy show", &args.policy)?;
    if args.output.json {
        output::line(policy.to_json()?.trim_end())?;
    } else {
        output::line(policy.to_toml()?.trim_end())?;
    }
    Ok(exit_code::OK)
}

#[derive(Serialize)]
struct Checked<'a> {
    valid: bool,
    policy: &'a str,
    controls: Vec<Asked>,
}

#[derive(Serialize)]
struct Asked {
    control: Control,
    requirement: Requirement,
}

/// Whether this host can keep a valid policy is another question: `kavach score --here`.
fn check(args: &PolicyArg) -> Result<u8> {
    let policy = policy_arg::load("policy check", &args.policy)?;
    policy.validate()?;
    let controls = asked(&policy);
    if args.output.json {
        json::print(&Checked {
            valid: true,
            policy: &policy.name,
            controls,
        })?;
    } else {
        output::line(&format!(
            "valid: {} ({} controls asked for)",
            crate::terminal::plain(&policy.name),
            controls.len()
        ))?;
    }
    Ok(exit_code::OK)
}

fn asked(policy: &SandboxPolicy) -> Vec<Asked> {
    Control::ALL
        .into_iter()
        .filter(|control| policy.asks_for(*control))
        .map(|control| Asked {
            control,
            requirement: policy.requirement(control),
        })
        .collect()
}
