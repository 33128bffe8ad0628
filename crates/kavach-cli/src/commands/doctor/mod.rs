//! `kavach doctor`: what this host can enforce, and how to get the rest.

mod binaries;
mod host;

use kavach::policy::PRESETS;
use kavach::{Backend, SandboxPolicy};

use super::attempt;
use super::table::table;
use crate::cli::OutputArgs;
use crate::error::Result;
use crate::exit_code;
use crate::json::{self, Check, CheckStatus, Doctor, Problem, Row, Tried};
use crate::output;

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::with(name, CheckStatus::Ok, found, None)
    }

    fn info(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::with(name, CheckStatus::Info, found, None)
    }

    fn missing(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::with(name, CheckStatus::Missing, found, Some(fix.into()))
    }

    fn with(
        name: impl Into<String>,
        status: CheckStatus,
        found: impl Into<String>,
        fix: Option<String>,
    ) -> Self {
        Self {
            name: name.into(),
            status,
            found: found.into(),
            fix,
        }
    }
}

pub(crate) fn run(args: &OutputArgs) -> Result<u8> {
    let facts = kavach::host::probe();
    let presets: Vec<Tried> = PRESETS
        .into_iter()
        .map(|preset| attempt(*args, preset))
        .collect();
    let document = Doctor::new(
        host::checks(&facts),
        super::backends::rows(*args, &facts),
        binaries::checks(),
        presets,
    );
    if args.json {
        json::print(&document)?;
    } else {
        output::line(&text(&document))?;
    }
    Ok(if document.healthy {
        exit_code::OK
    } else {
        exit_code::NOT_OK
    })
}

fn attempt(how: OutputArgs, name: &'static str) -> Tried {
    let built = SandboxPolicy::from_preset(name)
        .map_err(Into::into)
        .and_then(|policy| attempt::build(how, Backend::Process, policy));
    match built {
        Ok(built) => Tried {
            policy: name,
            works: true,
            strength: Some(built.strength.into()),
            losses: Row::all(built.report.losses()),
            report: Row::all(&built.report.rows),
            error: None,
        },
        Err(error) => Tried {
            policy: name,
            works: false,
            strength: None,
            losses: Vec::new(),
            report: Vec::new(),
            error: Some(Problem::from(&error)),
        },
    }
}

fn text(document: &Doctor) -> String {
    let mut parts = vec![
        format!("Host\n{}", checks(&document.host)),
        format!(
            "Programs of backends that are still to come (not needed now)\n{}",
            checks(&document.binaries)
        ),
        "Sandboxes of the process backend, built just now".to_owned(),
    ];
    for tried in &document.presets {
        parts.push(preset(tried));
    }
    parts.push(if document.healthy {
        "`strict` works here.".into()
    } else {
        "`strict` does not work here.".into()
    });
    parts.join("\n\n")
}

fn checks(checks: &[Check]) -> String {
    let mut rows = Vec::new();
    for check in checks {
        let status = match check.status {
            CheckStatus::Ok => "  ok",
            CheckStatus::Missing => "  missing",
            CheckStatus::Info => "  -",
        };
        rows.push(vec![status.into(), check.name.clone(), check.found.clone()]);
        if let Some(fix) = &check.fix {
            rows.push(vec![String::new(), String::new(), format!("fix: {fix}")]);
        }
    }
    table(&rows)
}

fn preset(tried: &Tried) -> String {
    if let Some(error) = &tried.error {
        let mut text = format!("  {}: does not work\n    {}", tried.policy, error.message);
        if let Some(hint) = &error.hint {
            text.push_str(&format!("\n    fix: {hint}"));
        }
        return crate::terminal::plain(&text);
    }
    let strength = tried.strength.map(|s| s.to_string()).unwrap_or_default();
    let rows: Vec<Vec<String>> = tried
        .report
        .iter()
        .filter(|row| row.is_requested())
        .map(|row| {
            vec![
                "   ".into(),
                row.control.to_string(),
                row.state.to_string(),
                row.mechanism.clone(),
            ]
        })
        .collect();
    format!("  {}: {strength}\n{}", tried.policy, table(&rows))
}
