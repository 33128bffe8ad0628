//! `kavach backends`: which can be used here.

use kavach::backend::{Unavailable, availability};
use kavach::host::HostFacts;
use kavach::{Backend, KavachError, SandboxPolicy, scoring};

use super::attempt;
use super::table::table;
use crate::cli::OutputArgs;
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::json::{self, BackendRow, BackendStatus};
use crate::output;

pub(crate) fn run(args: &OutputArgs) -> Result<u8> {
    let rows = rows(*args, &kavach::host::probe());
    if args.json {
        json::print(&json::Backends::from(rows))?;
        return Ok(exit_code::OK);
    }
    let head = ["BACKEND", "BASE", "COMPILED IN", "USABLE HERE", ""];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in &rows {
        let reason = match (&row.reason, &row.hint) {
            (Some(reason), Some(hint)) if row.status == BackendStatus::Unusable => {
                format!("{reason} ({hint})")
            }
            (Some(reason), _) => reason.clone(),
            (None, _) => String::new(),
        };
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        lines.push(vec![
            row.backend.to_string(),
            row.base_score.to_string(),
            yes(row.compiled_in),
            yes(row.usable),
            reason,
        ]);
    }
    output::line(&table(&lines))?;
    Ok(exit_code::OK)
}

/// A row per backend. What the facts call usable is built once: nothing else can tell.
pub(super) fn rows(how: OutputArgs, facts: &HostFacts) -> Vec<BackendRow> {
    Backend::ALL
        .into_iter()
        .map(|backend| row(backend, check(how, backend, facts)))
        .collect()
}

fn check(how: OutputArgs, backend: Backend, facts: &HostFacts) -> Result<()> {
    availability(backend, facts)?;
    attempt::build(how, backend, SandboxPolicy::minimal()).map(drop)
}

fn row(backend: Backend, checked: Result<()>) -> BackendRow {
    let error = checked.err();
    let status = match &error {
        None => BackendStatus::Usable,
        Some(CliError::Kavach(error)) => match &**error {
            KavachError::BackendUnavailable {
                reason: Unavailable::Planned { .. },
                ..
            } => BackendStatus::Planned,
            KavachError::BackendUnavailable {
                reason: Unavailable::NotCompiled { .. },
                ..
            } => BackendStatus::NotCompiled,
            _ => BackendStatus::Unusable,
        },
        Some(_) => BackendStatus::Unusable,
    };
    let reason = error.as_ref().map(|error| match error {
        CliError::Kavach(error) => match &**error {
            KavachError::BackendUnavailable { reason, .. } => reason.to_string(),
            other => other.to_string(),
        },
        other => other.to_string(),
    });
    BackendRow {
        backend,
        base_score: scoring::base_score(backend),
        compiled_in: backend.compiled_in(),
        usable: error.is_none(),
        status,
        reason: match (status, backend) {
            (BackendStatus::Usable, Backend::Noop) => {
                Some("isolates nothing; runs with `minimal` alone".into())
            }
            _ => reason,
        },
        hint: error.as_ref().and_then(CliError::hint),
    }
}
