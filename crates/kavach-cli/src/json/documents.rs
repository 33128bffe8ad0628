//! The documents of errors, of running a program, and of completions and manual pages.
//! docs/cli.md has them all in words.

use kavach::{Backend, Termination, Verdict};
use serde::Serialize;

use super::parts::{Denial, LimitEvent, Problem, Row, Strength, Usage, milliseconds};
use super::workspace::Workspace;
use crate::commands::run::Finished;
use crate::commands::workspace::Outcome;

/// A document's first key: its name and version. One type of one value for each, so that the
/// schema knows it too.
macro_rules! tag {
    ($name:ident, $text:literal) => {
        #[derive(Debug, Clone, Copy, Serialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(inline))]
        pub(crate) enum $name {
            #[serde(rename = $text)]
            Here,
        }
    };
}

pub(super) use tag;

tag!(ExecTag, "kavach.exec/1");
tag!(ChangesTag, "kavach.changes/1");
tag!(CompletionsTag, "kavach.completions/1");
tag!(ManTag, "kavach.man/1");
tag!(ErrorTag, "kavach.error/1");

/// What every verb prints with `--json` when it fails.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Failure {
    /// The name and version of this document.
    schema: ErrorTag,
    /// What failed.
    error: Problem,
}

impl From<Problem> for Failure {
    fn from(error: Problem) -> Self {
        Self {
            schema: ErrorTag::Here,
            error,
        }
    }
}

/// `kavach exec --json`: how the program ended.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Exec<'a> {
    /// The name and version of this document.
    schema: ExecTag,
    /// The sandbox's name on this host.
    sandbox: &'a str,
    /// The backend it ran under.
    #[cfg_attr(test, schemars(schema_with = "super::schema::backends"))]
    backend: Backend,
    /// The name of the policy it ran under.
    policy: &'a str,
    /// The strength of this sandbox on this host.
    strength: Strength,
    /// kavach's own exit code.
    exit_code: u8,
    /// What ended the program.
    #[cfg_attr(test, schemars(schema_with = "super::schema::termination"))]
    termination: Termination,
    /// Whether the wall clock limit ended it.
    timed_out: bool,
    /// Time on the wall clock, in milliseconds.
    duration_ms: u64,
    /// Its standard output, up to the limit; bytes that are not UTF-8 replaced by U+FFFD.
    stdout: &'a str,
    /// Its standard error, likewise.
    stderr: &'a str,
    /// Whether nothing had to be replaced in `stdout`.
    stdout_is_utf8: bool,
    /// Whether nothing had to be replaced in `stderr`.
    stderr_is_utf8: bool,
    /// Whether more came on standard output than was kept.
    stdout_truncated: bool,
    /// Whether more came on standard error than was kept.
    stderr_truncated: bool,
    /// What it used.
    usage: Usage,
    /// Limits that were hit and survived.
    limit_events: Vec<LimitEvent>,
    /// Refusals that could be seen; an empty list does not say that nothing was refused.
    denials: Vec<Denial>,
    /// Whether the output may leave.
    #[cfg_attr(test, schemars(schema_with = "super::schema::verdict"))]
    verdict: &'a Verdict,
    /// What the program changed in the workspace; null where it had none.
    workspace: Option<Workspace>,
    /// Every control of the sandbox, with what holds it.
    report: Vec<Row>,
}

impl<'a> Exec<'a> {
    pub(crate) fn new(
        Finished {
            result,
            sandbox,
            workspace,
            ..
        }: &'a Finished,
        policy: &'a str,
        exit_code: u8,
    ) -> Self {
        Self {
            schema: ExecTag::Here,
            sandbox: sandbox.id(),
            backend: sandbox.report().backend,
            policy,
            strength: sandbox.strength().into(),
            exit_code,
            termination: result.termination,
            timed_out: result.timed_out,
            duration_ms: milliseconds(result.duration),
            stdout: &result.stdout,
            stderr: &result.stderr,
            stdout_is_utf8: result.stdout_bytes() == result.stdout.as_bytes(),
            stderr_is_utf8: result.stderr_bytes() == result.stderr.as_bytes(),
            stdout_truncated: result.stdout_truncated,
            stderr_truncated: result.stderr_truncated,
            usage: (&result.usage).into(),
            limit_events: result.limit_events.iter().map(Into::into).collect(),
            denials: result.denials.iter().map(Into::into).collect(),
            verdict: &result.verdict,
            workspace: workspace.as_ref().map(Workspace::from),
            report: Row::all(&sandbox.report().rows),
        }
    }
}

/// The file of `--changes`: what the program changed in the workspace.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Changes {
    /// The name and version of this document.
    schema: ChangesTag,
    /// What it changed, and what became of that.
    workspace: Workspace,
}

impl Changes {
    pub(crate) fn new(outcome: &Outcome) -> Self {
        Self {
            schema: ChangesTag::Here,
            workspace: outcome.into(),
        }
    }
}

/// `kavach completions --json`: the completion script of a shell.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Completions {
    /// The name and version of this document.
    schema: CompletionsTag,
    /// The shell's name.
    shell: String,
    /// What the shell is to read.
    script: String,
}

impl Completions {
    pub(crate) const fn new(shell: String, script: String) -> Self {
        Self {
            schema: CompletionsTag::Here,
            shell,
            script,
        }
    }
}

/// `kavach man --json`: manual pages.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Man {
    /// The name and version of this document.
    schema: ManTag,
    /// The page that was asked for, or all that were written.
    pages: Vec<Page>,
}

/// One manual page.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Page {
    /// Its file's name: `kavach-exec.1`.
    pub(crate) name: String,
    /// Where it was written; null if it was not.
    pub(crate) path: Option<String>,
    /// The page in the format of man(7); null if it was written to a file.
    pub(crate) text: Option<String>,
}

impl From<Vec<Page>> for Man {
    fn from(pages: Vec<Page>) -> Self {
        Self {
            schema: ManTag::Here,
            pages,
        }
    }
}
