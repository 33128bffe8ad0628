//! The documents of `kavach policy`. `policy show --json` prints a policy file, whose schema is
//! policies/policy.schema.json.

use kavach::plan::{ExplainedControl, Explanation};
use kavach::policy::{Act, Change, Effect, PolicyProblem, ProblemKind};
use kavach::{Backend, Control, ControlState, Requirement, SandboxPolicy};
use serde::Serialize;

use super::documents::tag;
use super::parts::{Problem, Strength};

tag!(PolicyCheckTag, "kavach.policy-check/1");
tag!(PolicyExplainTag, "kavach.policy-explain/1");
tag!(PolicyDiffTag, "kavach.policy-diff/1");

/// `kavach policy check --json`: every mistake of a policy file, and what is weak about it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PolicyCheck<'a> {
    /// The name and version of this document.
    schema: PolicyCheckTag,
    /// Whether it is a policy.
    valid: bool,
    /// The policy's name; of a file that is not valid, the file's.
    policy: &'a str,
    /// The controls that it asks for; none where it is not valid.
    controls: Vec<Asked>,
    /// Everything that is wrong, in the order of the file.
    problems: Vec<FileProblem<'a>>,
    /// What is not wrong, but makes the sandbox weak or means nothing.
    warnings: Vec<FileProblem<'a>>,
    /// The first problem, as every verb's error; left out where the policy is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// A control that a policy asks for.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Asked {
    /// The control's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::controls"))]
    control: Control,
    /// How much the policy insists.
    #[cfg_attr(test, schemars(schema_with = "super::schema::requirements"))]
    requirement: Requirement,
}

/// One mistake in a policy file, or one weakness.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FileProblem<'a> {
    /// What kind of mistake it is.
    #[cfg_attr(test, schemars(schema_with = "super::schema::problem_kinds"))]
    kind: ProblemKind,
    /// The file, as it was named.
    file: &'a str,
    /// The files that led to it by `extends`, from the one that was asked for.
    extended_by: &'a [String],
    /// The line, from 1; null where the whole file is meant, or a value that no file names.
    line: Option<u32>,
    /// The column, from 1, in characters.
    column: Option<u32>,
    /// The key, for instance `limits.memory_mb`; empty where none can be named.
    key: &'a str,
    /// What is wrong.
    problem: &'a str,
    /// What is accepted; may be empty.
    required: &'a str,
    /// The known name nearest to an unknown one.
    nearest: Option<&'a str>,
    /// What to try.
    hint: Option<String>,
}

impl<'a> From<&'a PolicyProblem> for FileProblem<'a> {
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

impl<'a> PolicyCheck<'a> {
    pub(crate) fn valid(policy: &'a SandboxPolicy, warnings: &'a [PolicyProblem]) -> Self {
        let asked = Control::ALL
            .into_iter()
            .filter(|control| policy.asks_for(*control))
            .map(|control| Asked {
                control,
                requirement: policy.requirement(control),
            });
        Self {
            schema: PolicyCheckTag::Here,
            valid: true,
            policy: &policy.name,
            controls: asked.collect(),
            problems: Vec::new(),
            warnings: warnings.iter().map(Into::into).collect(),
            error: None,
        }
    }

    pub(crate) fn invalid(file: &'a str, problems: &'a [PolicyProblem], error: Problem) -> Self {
        Self {
            schema: PolicyCheckTag::Here,
            valid: false,
            policy: file,
            controls: Vec::new(),
            problems: problems.iter().map(Into::into).collect(),
            warnings: Vec::new(),
            error: Some(error),
        }
    }

    /// How many controls are asked for.
    pub(crate) fn asked(&self) -> usize {
        self.controls.len()
    }
}

/// `kavach policy explain --json`: what this host does about each control of a policy. Nothing
/// was started.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PolicyExplain<'a> {
    /// The name and version of this document.
    schema: PolicyExplainTag,
    /// The backend's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::backends"))]
    backend: Backend,
    /// The policy's name; of several, of their merge.
    policy: &'a str,
    /// Whether a sandbox can be started here: no obstacle blocks.
    starts: bool,
    /// The strength to expect here; null where nothing starts.
    strength: Option<Strength>,
    /// What the scale gives if all of the policy holds.
    scale: Strength,
    /// Every control.
    controls: Vec<Explained<'a>>,
    /// What the strength is made of: the points add up to it.
    score: Vec<ScoreItem>,
}

/// One control: what is asked, and what becomes of it here.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Explained<'a> {
    /// The control's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::controls"))]
    control: Control,
    /// What the policy asks for, in its own words; empty if nothing.
    requested: &'a str,
    /// How much the policy insists; `off` where it does not ask.
    #[cfg_attr(test, schemars(schema_with = "super::schema::requirements"))]
    requirement: Requirement,
    /// What is expected of it: `enforced`, `inherent`, `approximate` or `absent`; null where it is
    /// not asked for.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    state: Option<ControlState>,
    /// What will hold it; for an absent control, what is missing.
    mechanism: &'a str,
    /// What stands in the way.
    obstacle: Option<Obstacle<'a>>,
    /// What it adds to the score here; negative where its loss costs more than it brings.
    points: i16,
}

/// What keeps a control from being held in full.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Obstacle<'a> {
    /// What the control needs.
    required: &'a str,
    /// What is here.
    found: &'a str,
    /// How to get it.
    fix: &'a str,
    /// Whether nothing starts because of it.
    blocks: bool,
}

/// One line of a score.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ScoreItem {
    /// What the points are for, or why they are lost.
    what: &'static str,
    /// The control that they belong to, where it is one.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    control: Option<Control>,
    /// The points; negative where they are lost.
    points: i16,
}

impl<'a> From<&'a Explanation> for PolicyExplain<'a> {
    fn from(explanation: &'a Explanation) -> Self {
        let items = explanation.breakdown.items.iter().map(|item| ScoreItem {
            what: item.what,
            control: item.control,
            points: item.points,
        });
        Self {
            schema: PolicyExplainTag::Here,
            backend: explanation.backend,
            policy: &explanation.policy,
            starts: explanation.starts,
            strength: explanation.strength.map(Strength::from),
            scale: explanation.scale.into(),
            controls: explanation.controls.iter().map(Into::into).collect(),
            score: items.collect(),
        }
    }
}

impl<'a> From<&'a ExplainedControl> for Explained<'a> {
    fn from(row: &'a ExplainedControl) -> Self {
        Self {
            control: row.control,
            requested: &row.requested,
            requirement: row.requirement,
            state: row.state,
            mechanism: &row.mechanism,
            obstacle: row.obstacle.as_ref().map(|obstacle| Obstacle {
                required: &obstacle.required,
                found: &obstacle.found,
                fix: &obstacle.fix,
                blocks: obstacle.blocks,
            }),
            points: row.points,
        }
    }
}

/// `kavach policy diff --json`: what changes from one policy to another.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PolicyDiff<'a> {
    /// The name and version of this document.
    schema: PolicyDiffTag,
    /// The name of the policy to start from.
    from: &'a str,
    /// The name of the policy that was compared with it.
    to: &'a str,
    /// How the second stands to the first.
    pub(crate) relation: Relation,
    /// Every difference.
    changes: Vec<ChangeRow<'a>>,
}

/// How one policy stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Relation {
    /// Neither allows what the other denies.
    Equal,
    /// It denies what the other allows, and allows nothing more.
    Stricter,
    /// It allows what the other denies, and denies nothing more.
    Weaker,
    /// Each allows something that the other denies.
    Both,
}

/// One difference.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ChangeRow<'a> {
    /// The key that makes it.
    key: &'a str,
    /// Its value in the first policy, for people.
    from: &'a str,
    /// Its value in the second.
    to: &'a str,
    /// Which way it goes.
    #[cfg_attr(test, schemars(schema_with = "super::schema::effects"))]
    effect: Effect,
    /// Something that the second lets the guest do and the first does not.
    allows: Option<String>,
    /// Something that the first lets the guest do and the second does not.
    denies: Option<String>,
}

impl<'a> PolicyDiff<'a> {
    pub(crate) fn new(from: &'a str, to: &'a str, changes: &'a [Change]) -> Self {
        let words = |act: &Option<Act>| act.as_ref().map(Act::to_string);
        let rows = changes.iter().map(|change| ChangeRow {
            key: &change.key,
            from: &change.from,
            to: &change.to,
            effect: change.effect,
            allows: words(&change.allows),
            denies: words(&change.denies),
        });
        let allows = changes.iter().any(|change| change.allows.is_some());
        let denies = changes.iter().any(|change| change.denies.is_some());
        Self {
            schema: PolicyDiffTag::Here,
            from,
            to,
            relation: match (allows, denies) {
                (false, false) => Relation::Equal,
                (false, true) => Relation::Stricter,
                (true, false) => Relation::Weaker,
                (true, true) => Relation::Both,
            },
            changes: rows.collect(),
        }
    }
}
