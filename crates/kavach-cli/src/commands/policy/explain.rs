//! `kavach policy explain`: what this host does about each control, and what it is worth.

use kavach::plan::{Explanation, explain};
use kavach::{ControlState, SandboxConfig};

use super::super::table::table;
use crate::cli::PolicyExplainArgs;
use crate::error::Result;
use crate::exit_code;
use crate::json;
use crate::output;
use crate::policy_arg;
use crate::resolve::backend;
use crate::terminal::plain;

pub(super) fn run(args: &PolicyExplainArgs) -> Result<u8> {
    let policy = policy_arg::merged("policy explain", &args.policy)?.unwrap_or_default();
    let config = SandboxConfig::builder()
        .backend(backend(args.backend.as_deref())?)
        .policy(policy)
        .build();
    let spec = config.validate()?;
    let facts = kavach::host::probe()
        .looking_at(spec.host_paths())
        .looking_at_directories(spec.host_directories())
        .looking_at_root(spec.rootfs());
    let explanation = explain(&spec, &facts)?;
    if args.output.json {
        json::print(&json::PolicyExplain::from(&explanation))?;
    } else {
        output::line(&text(&explanation))?;
    }
    Ok(exit_code::OK)
}

fn text(explanation: &Explanation) -> String {
    let here = match explanation.strength {
        Some(strength) => format!("{strength} here"),
        None => "does not start here".to_owned(),
    };
    let head = plain(&format!(
        "{} on {}: {here}; {} where everything holds",
        explanation.policy, explanation.backend, explanation.scale
    ));
    let mut parts = vec![head, controls(explanation)];
    let not_asked: Vec<&str> = explanation
        .controls
        .iter()
        .filter(|row| row.state.is_none())
        .map(|row| row.control.as_str())
        .collect();
    if !not_asked.is_empty() {
        parts.push(format!("not asked for: {}", not_asked.join(", ")));
    }
    parts.extend(obstacles(explanation));
    parts.push(score(explanation));
    parts.join("\n\n")
}

fn controls(explanation: &Explanation) -> String {
    let head = ["CONTROL", "ASKED", "INSISTED", "HERE", "POINTS", "BY"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for row in &explanation.controls {
        let Some(state) = row.state else {
            continue;
        };
        let blocks = row.obstacle.as_ref().is_some_and(|o| o.blocks);
        rows.push(vec![
            row.control.to_string(),
            row.requested.clone(),
            row.requirement.to_string(),
            if blocks {
                format!("{state}!")
            } else {
                state.to_string()
            },
            signed(row.points),
            match &row.obstacle {
                // Told below, in full.
                Some(_) if state == ControlState::Absent => "-".to_owned(),
                _ => row.mechanism.clone(),
            },
        ]);
    }
    table(&rows)
}

/// What stands in the way, what keeps a sandbox from starting first.
fn obstacles(explanation: &Explanation) -> Vec<String> {
    let found = |blocks: bool| {
        let rows = explanation.controls.iter();
        let rows = rows.filter_map(|row| row.obstacle.as_ref());
        rows.filter(|obstacle| obstacle.blocks == blocks)
            .map(|obstacle| {
                format!(
                    "  {}: required: {}; found: {}\n    fix: {}",
                    obstacle.control, obstacle.required, obstacle.found, obstacle.fix
                )
            })
            .collect::<Vec<_>>()
    };
    [
        (true, "Nothing starts without these"),
        (false, "Not held in full"),
    ]
    .into_iter()
    .map(|(blocks, title)| (title, found(blocks)))
    .filter(|(_, found)| !found.is_empty())
    .map(|(title, found)| plain(&format!("{title}\n{}", found.join("\n"))))
    .collect()
}

fn score(explanation: &Explanation) -> String {
    let breakdown = &explanation.breakdown;
    let mut rows: Vec<Vec<String>> = breakdown
        .items
        .iter()
        .map(|item| {
            let what = match item.control {
                Some(control) if item.points < 0 => format!("{}: {control}", item.what),
                _ => item.what.to_owned(),
            };
            vec![format!("{:>5}", signed(item.points)), what]
        })
        .collect();
    let total = breakdown.score();
    let what = if explanation.starts {
        format!("({})", total.label())
    } else {
        "if it started all the same".to_owned()
    };
    rows.push(vec![format!("{:>5}", total.value()), what]);
    format!("Score\n{}", table(&rows))
}

fn signed(points: i16) -> String {
    if points > 0 {
        format!("+{points}")
    } else {
        points.to_string()
    }
}
