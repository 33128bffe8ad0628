//! `kavach score`: what policies are worth.

use kavach::policy::PRESETS;
use kavach::{Backend, SandboxPolicy, scoring};

use super::attempt;
use super::table::table;
use crate::cli::ScoreArgs;
use crate::error::Result;
use crate::exit_code;
use crate::json::{self, Scored};
use crate::output;
use crate::policy_arg;
use crate::resolve::backend;
use crate::terminal::plain;

pub(crate) fn run(args: &ScoreArgs) -> Result<u8> {
    if args.here { here(args) } else { scale(args) }
}

/// What each policy would give if all of it held. Runs nothing.
fn scale(args: &ScoreArgs) -> Result<u8> {
    let backends = match &args.backend {
        Some(name) => vec![backend(Some(name))?],
        None => Backend::ALL.to_vec(),
    };
    let policies = match policy_arg::merged("--policy", &args.policy)? {
        Some(policy) => vec![policy],
        None => PRESETS
            .into_iter()
            .map(SandboxPolicy::from_preset)
            .collect::<std::result::Result<_, _>>()?,
    };
    if args.output.json {
        let scored: Vec<Scored> = backends
            .iter()
            .flat_map(|backend| policies.iter().map(move |policy| (*backend, policy)))
            .map(|(backend, policy)| Scored {
                backend,
                policy: policy.name.clone(),
                strength: scoring::score_backend(backend, policy).into(),
            })
            .collect();
        json::print(&json::Score::from(scored))?;
        return Ok(exit_code::OK);
    }
    let mut head = vec!["BACKEND".to_owned(), "BASE".to_owned()];
    head.extend(policies.iter().map(|policy| policy.name.clone()));
    let mut rows = vec![head];
    for backend in backends {
        let mut row = vec![
            backend.to_string(),
            scoring::base_score(backend).to_string(),
        ];
        row.extend(
            policies
                .iter()
                .map(|policy| scoring::score_backend(backend, policy).to_string()),
        );
        rows.push(row);
    }
    output::line(&table(&rows))?;
    Ok(exit_code::OK)
}

/// What a real sandbox has on this host.
fn here(args: &ScoreArgs) -> Result<u8> {
    let backend = backend(args.backend.as_deref())?;
    let policy = policy_arg::merged("--policy", &args.policy)?;
    let policy = policy.unwrap_or_else(SandboxPolicy::basic);
    let scale = scoring::score_backend(backend, &policy);
    let built = attempt::build(args.output, backend, policy.clone())?;
    if args.output.json {
        let (strength, scale) = (built.strength.into(), scale.into());
        let rows = &built.report.rows;
        let document = json::ScoreHere::new(backend, &policy.name, strength, scale, rows);
        json::print(&document)?;
        return Ok(exit_code::OK);
    }
    output::line(&plain(&format!(
        "{backend} with {}: {} here; {scale} where everything holds\n\n{}",
        policy.name,
        built.strength,
        built.report.to_string().trim_end()
    )))?;
    Ok(exit_code::OK)
}
