//! `kavach policy check`: every mistake of a policy file, and what is weak about it.

use kavach::control::{Control, Requirement};
use kavach::policy::{PolicyProblem, ProblemKind};
use kavach::{KavachError, SandboxPolicy};
use serde::Serialize;

use crate::cli::PolicyCheckArgs;
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::json;
use crate::output;
use crate::policy_arg;
use crate::terminal::plain;

/// docs/cli.md has it in words.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    valid: bool,
    /// The policy's name; of a file that is not valid, the file's.
    policy: &'a str,
    controls: Vec<Asked>,
    problems: Vec<Problem<'a>>,
    warnings: Vec<Problem<'a>>,
    /// The first problem, in the form of every verb's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<First>,
}

#[derive(Serialize)]
struct Asked {
    control: Control,
    requirement: Requirement,
}

#[derive(Serialize)]
struct Problem<'a> {
    kind: ProblemKind,
    file: &'a str,
    extended_by: &'a [String],
    line: Option<u32>,
    column: Option<u32>,
    key: &'a str,
    problem: &'a str,
    required: &'a str,
    nearest: Option<&'a str>,
    hint: Option<String>,
}

#[derive(Serialize)]
struct First {
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl<'a> From<&'a PolicyProblem> for Problem<'a> {
    fn from(problem: &'a PolicyProblem) -> Self {
        Self {
            kind: problem.kind,
            file: &problem.source_name,
            extended_by: &problem.extended_by,
            line: problem.line,
            column: problem.column,
            key: &problem.key,
            problem: &problem.problem,
            required: &problem.required,
            nearest: problem.nearest.as_deref(),
            hint: problem.hint(),
        }
    }
}

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
        let file = name.to_string_lossy();
        return refuse(&file, problems, &warnings, args.json);
    };
    let controls = asked(&policy);
    if args.json {
        json::print(&Document {
            schema: "kavach.policy-check/1",
            valid: true,
            policy: &policy.name,
            controls,
            problems: Vec::new(),
            warnings: warnings.iter().map(Problem::from).collect(),
            error: None,
        })?;
        return Ok(exit_code::OK);
    }
    warnings.iter().for_each(output::problem);
    output::line(&format!(
        "valid: {} ({} controls asked for{})",
        plain(&policy.name),
        controls.len(),
        match warnings.len() {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            many => format!(", {many} warnings"),
        }
    ))?;
    Ok(exit_code::OK)
}

fn refuse(
    file: &str,
    problems: Vec<PolicyProblem>,
    warnings: &[PolicyProblem],
    as_json: bool,
) -> Result<u8> {
    let shown = problems.clone();
    let error = CliError::from(KavachError::InvalidPolicy { problems });
    if !as_json {
        return Err(error);
    }
    json::print(&Document {
        schema: "kavach.policy-check/1",
        valid: false,
        policy: file,
        controls: Vec::new(),
        problems: shown.iter().map(Problem::from).collect(),
        warnings: warnings.iter().map(Problem::from).collect(),
        error: Some(First {
            code: error.code(),
            message: error.to_string(),
            hint: error.hint(),
        }),
    })?;
    Ok(error.exit_code())
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
