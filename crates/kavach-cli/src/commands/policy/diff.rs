//! `kavach policy diff`: what changes from one policy to another, with witnesses.

use kavach::SandboxPolicy;
use kavach::policy::{Act, Change, Effect};

use super::super::table::table;
use crate::cli::PolicyDiffArgs;
use crate::error::Result;
use crate::exit_code;
use crate::json::{self, Relation};
use crate::output;
use crate::policy_arg;
use crate::terminal::plain;

pub(super) fn run(args: &PolicyDiffArgs) -> Result<u8> {
    let from = policy_arg::load("policy diff", &args.from)?;
    let to = policy_arg::load("policy diff", &args.to)?;
    let changes = from.diff(&to);
    let document = json::PolicyDiff::new(&from.name, &to.name, &changes);
    if args.output.json {
        json::print(&document)?;
    } else {
        output::line(&text(&from, &to, &changes, document.relation))?;
    }
    Ok(match document.relation {
        Relation::Equal | Relation::Stricter => exit_code::OK,
        Relation::Weaker | Relation::Both => exit_code::NOT_OK,
    })
}

fn text(
    from: &SandboxPolicy,
    to: &SandboxPolicy,
    changes: &[Change],
    relation: Relation,
) -> String {
    let (from, to) = (&from.name, &to.name);
    let head = match relation {
        Relation::Equal if changes.is_empty() => format!("{to} is {from}"),
        Relation::Equal => format!("{to} allows and denies what {from} does"),
        Relation::Stricter => format!("{to} is stricter than {from}: it allows nothing more"),
        Relation::Weaker => format!("{to} is weaker than {from}: it denies nothing more"),
        Relation::Both => format!("{to} allows what {from} denies, and denies what it allows"),
    };
    let mut parts = vec![plain(&head)];
    let parts_of = [
        (Effect::Weaker, "Weaker"),
        (Effect::Both, "Different"),
        (Effect::Stricter, "Stricter"),
        (Effect::None, "Without effect"),
    ];
    for (effect, title) in parts_of {
        let rows: Vec<Vec<String>> = changes
            .iter()
            .filter(|change| change.effect == effect)
            .flat_map(|change| lines(change, from, to))
            .collect();
        if !rows.is_empty() {
            parts.push(format!("{title}\n{}", table(&rows)));
        }
    }
    parts.join("\n\n")
}

/// A change, and below it what each policy allows that the other denies.
fn lines(change: &Change, from: &str, to: &str) -> Vec<Vec<String>> {
    let mut lines = vec![vec![format!(
        "  {}: {} -> {}",
        change.key, change.from, change.to
    )]];
    let mut witness = |allows: &str, denies: &str, act: &Option<Act>| {
        if let Some(act) = act {
            lines.push(vec![format!(
                "    {allows} lets the guest {act}; {denies} does not"
            )]);
        }
    };
    witness(to, from, &change.allows);
    witness(from, to, &change.denies);
    lines
}
