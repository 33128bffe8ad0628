//! Writing changes back: select, check, prepare (copy, review), commit.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Layers;
use super::baseline::Baseline;
use super::change::Change;
use super::check::{Act, Checker, Directories, owner};
use super::content::Cancel;
use super::diff::diff;
use super::entry::EntryKind;
use super::node::Node;
use super::options::Resolved;
use super::overlay::set_opaque;
use super::refusal::{Applied, AppliedChange, Refusal, Refused};
use super::select::{selected, unmatched};
use super::stage::{Staged, read_only};
use super::temporary::Turn;
use super::write::Host;
use crate::audit::Decision;
use crate::error::{KavachError, Result};

/// How many new files are written before the first of them is synced: the disk can then do
/// several at a time.
const BATCH: usize = 64;

/// What is to become of a change, or became of it.
#[derive(Debug)]
enum State {
    Unselected,
    Selected,
    Planned(Act),
    Refused(Refusal),
    Done,
}

struct Run<'a> {
    options: &'a Resolved,
    userxattr: bool,
    changes: Vec<&'a Change>,
    states: Vec<State>,
    staged: HashMap<usize, Staged>,
    host: Host<'a>,
    upper: Directories<'a>,
    cancel: &'a Cancel,
}

/// As [`apply`](super::apply), until it is cancelled.
pub(crate) fn apply(
    layers: &Layers,
    baseline: &mut Baseline,
    mut options: Resolved,
    cancel: &Cancel,
) -> Result<Applied> {
    let changes = match options.changes.take() {
        Some(listed) => listed,
        None => diff(layers, baseline, options.limits, cancel)?,
    };
    let mut turn = Turn::take(&layers.lower)?;
    let euid = rustix::process::geteuid();
    let owner = match euid.is_root() {
        true => Some(owner(&layers.lower).map_err(|source| KavachError::HostIo {
            op: "look at".into(),
            path: "the workspace".into(),
            source,
        })?),
        false => None,
    };
    let mut run = Run {
        options: &options,
        userxattr: layers.userxattr,
        changes: changes.iter().collect(),
        states: selected(&changes, &options)
            .into_iter()
            .map(|yes| {
                if yes {
                    State::Selected
                } else {
                    State::Unselected
                }
            })
            .collect(),
        staged: HashMap::new(),
        host: Host {
            dirs: Directories::new(&layers.lower),
            owner,
            euid: euid.as_raw(),
            lost_a_name: Vec::new(),
            max_file_bytes: options.max_file_bytes,
            cancel,
        },
        upper: Directories::new(&layers.upper),
        cancel,
    };
    run.check(layers);
    let mut held_back = 0;
    if options.all_or_nothing && run.is_refused() {
        held_back = run.hold_back();
    } else if run.states.iter().any(|s| matches!(s, State::Planned(_))) {
        turn.begin()?;
        held_back = run.execute();
        run.note(baseline);
    }
    Ok(run.outcome(held_back))
}

impl<'a> Run<'a> {
    fn is_refused(&self) -> bool {
        self.states.iter().any(|s| matches!(s, State::Refused(_)))
    }

    /// Checks what is selected.
    fn check(&mut self, layers: &'a Layers) {
        let mut checker = Checker::new(layers, self.options);
        for (change, state) in self.changes.iter().zip(&mut self.states) {
            if matches!(state, State::Selected) {
                *state = match checker.check(change) {
                    _ if self.cancel.is_cancelled() => State::Refused(Refusal::Interrupted),
                    Ok(act) => State::Planned(act),
                    Err(refusal) => State::Refused(refusal),
                };
            }
        }
        // A directory goes only with all that the host has in it. From the last path to the
        // first, what is in a directory comes before it.
        let mut kept: HashSet<&[u8]> = HashSet::new();
        for (change, state) in self.changes.iter().zip(&mut self.states).rev() {
            let goes = matches!(state, State::Planned(Act::Remove | Act::PutOverDirectory));
            if goes && kept.contains(change.path.as_bytes()) {
                *state = State::Refused(Refusal::NotEmpty);
            }
            let stays = !matches!(state, State::Planned(_));
            if stays && change.before.is_some() {
                kept.insert(change.path.split().0);
            }
        }
    }

    /// Takes back what is planned, because of what is refused. How much it was.
    fn hold_back(&mut self) -> usize {
        for (_, staged) in self.staged.drain() {
            self.host.discard(&staged);
        }
        let mut count = 0;
        for state in &mut self.states {
            if matches!(state, State::Planned(_)) {
                *state = State::Unselected;
                count += 1;
            }
        }
        count
    }

    /// Does what is planned. How much was held back after all.
    fn execute(&mut self) -> usize {
        let eager = self.options.all_or_nothing;
        if eager {
            let all: Vec<usize> = (0..self.changes.len()).collect();
            for batch in all.chunks(BATCH) {
                self.prepare(batch, true);
            }
            if self.is_refused() {
                return self.hold_back();
            }
        }
        let made = self.planned(|act, _| act == Act::MakeDirectory);
        let put = self.planned(|act, _| act == Act::Put);
        let files = self.planned(|act, change| act == Act::Chmod && !becomes_directory(change));
        // What is in a directory goes before it.
        let mut gone = self.planned(|act, _| matches!(act, Act::Remove | Act::PutOverDirectory));
        gone.reverse();
        // The permissions of directories at the end: they may keep the rest out.
        let mut directories =
            self.planned(|act, change| act == Act::Chmod && becomes_directory(change));
        directories.reverse();
        for group in [&made, &put, &files, &gone, &directories] {
            for batch in group.chunks(BATCH) {
                if !eager {
                    self.prepare(batch, false);
                }
                for at in batch {
                    self.commit(*at);
                }
            }
        }
        self.close(&made);
        self.sync_directories();
        0
    }

    /// The changes that are planned and so, in the order of paths.
    fn planned(&self, is: impl Fn(Act, &Change) -> bool) -> Vec<usize> {
        let with_state = self.changes.iter().zip(&self.states).enumerate();
        let planned = with_state.filter(|(_, (change, state))| match state {
            State::Planned(act) => is(*act, change),
            _ => false,
        });
        planned.map(|(at, _)| at).collect()
    }

    /// Copies and reviews a batch. `early`: the directories of new files may be still to be made.
    fn prepare(&mut self, batch: &[usize], early: bool) {
        for at in batch {
            if let Some(State::Planned(act)) = self.states.get(*at)
                && let Some(change) = self.changes.get(*at).copied()
                && let Err(refusal) = self.prepare_one(*at, *act, change, early)
            {
                self.refuse(*at, refusal);
            }
        }
        for at in batch {
            let file = self
                .staged
                .get_mut(at)
                .and_then(|staged| staged.file.take());
            if let Some(Err(e)) = file.map(|file| file.sync_all()) {
                self.refuse(*at, Refusal::host("write it to the disk")(e));
            }
        }
    }

    fn prepare_one(
        &mut self,
        at: usize,
        act: Act,
        change: &Change,
        early: bool,
    ) -> std::result::Result<(), Refusal> {
        if self.cancel.is_cancelled() {
            return Err(Refusal::Interrupted);
        }
        let mut content = None;
        if matches!(act, Act::Put | Act::PutOverDirectory) {
            let source = self.source(change)?;
            let staged = self.host.stage(change, &source, early)?;
            let file = staged.file.as_ref().map(read_only).transpose();
            self.staged.insert(at, staged);
            content = file.map_err(Refusal::host("open the copy"))?;
        }
        self.ask(change, content.as_ref())
    }

    /// The guest's entry, which must still be the listed one.
    fn source(&mut self, change: &Change) -> std::result::Result<Node, Refusal> {
        let (dir, name) = change.path.split();
        let node = self.upper.open(dir).and_then(|dir| Node::look(&*dir, name));
        let node = node.map_err(|_| Refusal::Stale)?;
        let now = node.entry().map_err(|_| Refusal::Stale)?;
        match &change.after {
            Some(after) if after.is(&now) => Ok(node),
            _ => Err(Refusal::Stale),
        }
    }

    /// Asks the caller's review.
    fn ask(&self, change: &Change, content: Option<&File>) -> std::result::Result<(), Refusal> {
        let Some(review) = &self.options.review else {
            return Ok(());
        };
        let reason = match catch_unwind(AssertUnwindSafe(|| review.review(change, content))) {
            Ok(Decision::Allow) => return Ok(()),
            Ok(Decision::Veto(reason)) => reason,
            Err(_) => "the review panicked".into(),
        };
        Err(Refusal::Declined { reason })
    }

    fn refuse(&mut self, at: usize, refusal: Refusal) {
        if let Some(staged) = self.staged.remove(&at) {
            self.host.discard(&staged);
        }
        if let Some(state) = self.states.get_mut(at) {
            *state = State::Refused(refusal);
        }
    }

    /// Makes a prepared change take effect.
    fn commit(&mut self, at: usize) {
        let (Some(State::Planned(act)), Some(change)) =
            (self.states.get(at), self.changes.get(at).copied())
        else {
            return;
        };
        let done = match (act, self.staged.get(&at)) {
            _ if self.cancel.is_cancelled() => Err(Refusal::Interrupted),
            (Act::MakeDirectory, _) => self.make_directory(change),
            (Act::Chmod, _) => self.host.chmod(change),
            (Act::Remove, _) => self.host.remove(change),
            (Act::Put, Some(staged)) => self.host.put(change, staged),
            (Act::PutOverDirectory, Some(staged)) => self.host.put_over_directory(change, staged),
            // It is staged where it is planned.
            (Act::Put | Act::PutOverDirectory, None) => Err(Refusal::Interrupted),
        };
        match done {
            Ok(()) => {
                self.staged.remove(&at);
                if let Some(state) = self.states.get_mut(at) {
                    *state = State::Done;
                }
            }
            Err(refusal) => self.refuse(at, refusal),
        }
    }

    fn make_directory(&mut self, change: &Change) -> std::result::Result<(), Refusal> {
        let source = self.source(change)?;
        set_opaque(&source, self.userxattr).map_err(Refusal::host("mark it as the guest's own"))?;
        self.host.make_directory(change)
    }

    /// Gives new directories permissions that would have kept files out.
    fn close(&mut self, made: &[usize]) {
        for at in made.iter().rev() {
            if let (Some(State::Done), Some(change)) = (self.states.get(*at), self.changes.get(*at))
                && matches!(&change.after, Some(after) if after.mode & 0o700 != 0o700)
                && let Err(refusal) = self.host.close_directory(change)
            {
                self.refuse(*at, refusal);
            }
        }
    }

    fn done(&self) -> impl Iterator<Item = &'a Change> {
        let all = self.changes.iter().zip(&self.states);
        all.filter(|(_, state)| matches!(state, State::Done))
            .map(|(change, _)| *change)
    }

    /// Has the new names reach the disk. The changes have taken effect already: what fails here
    /// can only be lost with the machine's power.
    fn sync_directories(&mut self) {
        let mut parents: Vec<&[u8]> = self.done().map(|change| change.path.split().0).collect();
        parents.dedup();
        for parent in parents {
            if let Err(e) = self.host.sync_directory(parent)
                && !super::node::is_gone(&e)
            {
                tracing::warn!(error = %e, "a changed directory was not synced");
            }
        }
    }

    /// Tells later listings what was kavach's own doing.
    fn note(&mut self, baseline: &mut Baseline) {
        for change in self.done().collect::<Vec<_>>() {
            if change.after.is_some()
                && let Some(entry) = self.host.look(change)
            {
                baseline.own(&entry);
            }
        }
        for entry in &self.host.lost_a_name {
            baseline.own(entry);
        }
    }

    fn outcome(self, held_back: usize) -> Applied {
        let mut outcome = Applied {
            held_back,
            ..Applied::default()
        };
        let mut unselected: usize = 0;
        let mut paths: Vec<&[u8]> = Vec::new();
        for (change, state) in self.changes.iter().zip(self.states) {
            paths.push(change.path.as_bytes());
            let (path, kind) = (change.path.clone(), change.kind);
            match state {
                State::Done => outcome.applied.push(AppliedChange { path, kind }),
                State::Refused(reason) => outcome.refused.push(Refused { path, kind, reason }),
                State::Unselected | State::Selected | State::Planned(_) => unselected += 1,
            }
        }
        outcome.unselected = unselected.saturating_sub(held_back);
        outcome.unmatched = unmatched(self.options, &self.changes);
        outcome
    }
}

fn becomes_directory(change: &Change) -> bool {
    matches!(&change.after, Some(after) if after.kind == EntryKind::Directory)
}
