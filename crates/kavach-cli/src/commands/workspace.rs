//! What becomes of the workspace when the program has ended: listed, applied, or lost.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kavach::{Applied, ApplyOptions, Changes, Sandbox, Termination};
use rustix::fs::OFlags;

use crate::cli::{ApplyArgs, ApplyWhen, OutputArgs};
use crate::error::{CliError, Result};
use crate::json;
use crate::output;
use crate::resolve::Resolved;

/// How many refusals are named on standard error.
const NAMED: usize = 50;

/// Where the list of changes goes.
#[derive(Debug)]
enum List {
    File(File),
    Stdout,
}

/// What is to become of the workspace.
#[derive(Debug)]
pub(crate) struct Wish {
    apply: Option<ApplyWhen>,
    allow: Vec<PathBuf>,
    list: Option<List>,
    /// The exit code is that of the last command somebody typed.
    interactive: bool,
    /// Whether a list is wanted by nobody but a person who looks.
    for_people_only: bool,
    how: OutputArgs,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) changes: Changes,
    pub(crate) applied: Option<Applied>,
}

impl Wish {
    /// `None` where there is no workspace, or nobody who wants to know. Opens the file for the
    /// list: before the program runs, so that no program can put something in its place.
    pub(crate) fn new(
        args: &ApplyArgs,
        resolved: &Resolved,
        how: OutputArgs,
        interactive: bool,
    ) -> Result<Option<Self>> {
        if resolved.config.workspace().is_none() {
            return Ok(None);
        }
        let list = args.changes.as_deref().map(open).transpose()?;
        if how.json && matches!(list, Some(List::Stdout)) {
            return Err(CliError::argument(
                "--changes",
                "standard output is taken by the document of --json",
                "name a file, or leave it out: that document has the changes too",
            ));
        }
        let for_people_only = args.apply.is_none() && list.is_none() && !how.json;
        if for_people_only && (how.quiet || !io::stderr().is_terminal()) {
            return Ok(None);
        }
        Ok(Some(Self {
            apply: args.apply,
            allow: args.apply_allow.clone(),
            list,
            interactive,
            for_people_only,
            how,
        }))
    }

    /// Whether a program that ended so has its changes applied.
    fn applies(&self, end: Termination, interrupted: bool) -> bool {
        match self.apply {
            None => false,
            Some(ApplyWhen::Always) => true,
            Some(ApplyWhen::Success) => match end {
                _ if interrupted => false,
                Termination::Exited(code) => code == 0 || self.interactive,
                _ => false,
            },
        }
    }

    /// Ends every process of the sandbox, lists and applies. `None` where the list was for people
    /// only and could not be made.
    pub(super) async fn fulfil(
        &self,
        sandbox: &mut Sandbox,
        end: Termination,
        interrupted: bool,
    ) -> Result<Option<Outcome>> {
        // What runs in the background would go on changing what is listed.
        sandbox.stop(Duration::ZERO).await?;
        let changes = match sandbox.changes().await {
            Ok(changes) => changes,
            Err(_) if self.for_people_only => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let applied = if self.applies(end, interrupted) {
            let options = ApplyOptions::new().changes(changes.clone());
            Some(sandbox.apply(options.allow(&self.allow)).await?)
        } else {
            None
        };
        Ok(Some(Outcome { changes, applied }))
    }

    /// Writes the list, and tells a person what was and was not applied.
    pub(super) fn tell(&self, outcome: &Outcome, end: Termination) -> Result<()> {
        self.write_list(outcome)?;
        let summary = outcome.changes.summary();
        let Some(applied) = &outcome.applied else {
            if !outcome.changes.is_empty() {
                match self.apply {
                    Some(_) => output::warning(&format!(
                        "not applied: {summary}: the program {end}; --apply=always applies all \
                         the same"
                    )),
                    None if io::stderr().is_terminal() => output::note(
                        self.how,
                        &format!(
                            "the workspace's changes are not applied: {summary}; --apply writes \
                             them back"
                        ),
                    ),
                    None => {}
                }
            }
            return Ok(());
        };
        for refused in applied.refused.iter().take(NAMED) {
            output::warning(&format!("not applied: {refused}"));
        }
        let more = applied.refused.len().saturating_sub(NAMED);
        if more > 0 {
            output::warning(&format!("not applied: {more} more (--changes lists all)"));
        }
        if !applied.refused.is_empty() {
            output::warning(&format!(
                "applied {} of {} changes",
                applied.applied.len(),
                outcome.changes.len()
            ));
        } else if io::stderr().is_terminal() {
            output::note(self.how, &format!("applied: {summary}"));
        }
        Ok(())
    }

    /// Writes the list where one is wanted.
    pub(super) fn write_list(&self, outcome: &Outcome) -> Result<()> {
        let Some(list) = &self.list else {
            return Ok(());
        };
        let document = json::Changes::new(outcome);
        match list {
            List::Stdout => json::print(&document),
            List::File(file) => {
                let text = json::text(&document)?;
                writeln!(&*file, "{text}").map_err(CliError::io("write the list of changes"))
            }
        }
    }
}

impl Outcome {
    /// Whether something that was to be applied was not.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.applied
            .as_ref()
            .is_some_and(|done| !done.is_complete())
    }
}

fn open(path: &Path) -> Result<List> {
    if path == Path::new("-") {
        return Ok(List::Stdout);
    }
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(nofollow)
        .open(path);
    opened.map(List::File).map_err(|error| {
        CliError::argument(
            "--changes",
            format!("cannot write {path:?}: {error}"),
            "name a file, not a link, or `-` for standard output",
        )
    })
}
