//! `kavach policy check`: every mistake of a policy file, and what is weak about it.

use kavach::{KavachError, SandboxPolicy};

use crate::cli::PolicyCheckArgs;
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::json::{self, Problem};
use crate::output;
use crate::policy_arg;
use crate::terminal::plain;

/// Whether this host can keep a valid policy is another question: `kavach policy explain`.
pub(super) fn run(args: &PolicyCheckArgs) -> Result<u8> {
    let name = &args.policy;
    let (policy, problems, warnings) = if policy_arg::is_file(name) {
        let check = SandboxPolicy::check_file(name)?;
        (check.policy, check.problems, check.warnings)
    } else {
        let preset = policy_arg::load("policy check", name)?;
        let warnings = preset.warnings();
        (Some(preset), Vec::new(), warnings)
    };
    let Some(policy) = policy else {
        let told = problems.clone();
        let error = CliError::from(KavachError::InvalidPolicy { problems });
        if !args.output.json {
            return Err(error);
        }
        let file = name.to_string_lossy();
        json::print(&json::PolicyCheck::invalid(
            &file,
            &told,
            Problem::from(&error),
        ))?;
        return Ok(error.exit_code());
    };
    let document = json::PolicyCheck::valid(&policy, &warnings);
    if args.output.json {
        json::print(&document)?;
        return Ok(exit_code::OK);
    }
    warnings.iter().for_each(output::problem);
    output::line(&format!(
        "valid: {} ({} controls asked for{})",
        plain(&policy.name),
        document.asked(),
        match warnings.len() {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            many => format!(", {many} warnings"),
        }
    ))?;
    Ok(exit_code::OK)
}
