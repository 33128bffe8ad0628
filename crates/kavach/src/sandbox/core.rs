//! What a sandbox and its handles share: the state, and the one place that changes it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

use super::inject::Secrets;
use crate::audit::{Audit, AuditKind};
use crate::backend::{Instance, SandboxName};
use crate::config::Spec;
use crate::enforcement::EnforcementReport;
use crate::error::{KavachError, Result};
use crate::lifecycle::{self, SandboxState};
use crate::plan::Plan;
use crate::result::Termination;
use crate::scoring::{Circumstances, StrengthScore};
use crate::supervise::PauseClock;
use crate::supervisor::supervisor;
use crate::workspace::Baseline;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
/// How long killed processes may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Everything fixed at the creation of a sandbox.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) name: SandboxName,
    pub(super) spec: Spec,
    pub(super) plan: Plan,
    pub(super) report: EnforcementReport,
    pub(super) strength: StrengthScore,
    pub(super) circumstances: Circumstances,
    pub(super) audit: Audit,
    pub(super) secrets: Secrets,
    pub(super) instance: Arc<dyn Instance>,
}

/// A sandbox, shared.
#[derive(Debug)]
pub(super) struct Core {
    parts: Parts,
    /// Changed only while `turn` is held for writing.
    state: Mutex<SandboxState>,
    /// Launches hold it for reading, changes of state for writing: no command is half started
    /// when a sandbox freezes or ends.
    turn: RwLock<()>,
    clock: PauseClock,
    /// The caller has begun to end the sandbox: what ends from now on was killed by the caller.
    ending: AtomicBool,
    /// A stop with grace is under way: nothing new is started.
    closing: AtomicBool,
    /// Somebody wants the end at once: a grace under way is over.
    hurry: watch::Sender<bool>,
    execs: AtomicU64,
    /// How many wait for the end of what is under way, to end the sandbox.
    enders: AtomicUsize,
    /// The host's files as the first guest found them, and what was applied to them since.
    baseline: Mutex<Baseline>,
}

/// Whether the processes of a sandbox stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stillness {
    /// It does not run.
    Already,
    /// They were stopped, and have to be let go.
    Held,
    /// They run on.
    No,
}

/// Somebody who waits to end the sandbox.
struct Ender<'a>(&'a AtomicUsize);

impl Drop for Ender<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A change of state that took place.
struct Changed {
    from: SandboxState,
    /// Whether all that goes with it could be done.
    done: Result<()>,
}

impl Core {
    /// The sandbox of these parts, in state Created. Must be called on the supervisor thread.
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let core = Arc::new(Self {
            baseline: Mutex::new(Baseline::now()),
            enders: AtomicUsize::new(0),
            parts,
            state: Mutex::new(SandboxState::Created),
            turn: RwLock::new(()),
            clock: PauseClock::new(),
            ending: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            hurry: watch::Sender::new(false),
            execs: AtomicU64::new(0),
        });
        let watched = Arc::downgrade(&core);
        let instance = core.parts.instance.clone();
        tokio::spawn(async move {
            instance.ended().await;
            if let Some(core) = watched.upgrade() {
                core.ended_by_itself().await;
            }
        });
        core
    }

    pub(super) const fn name(&self) -> &SandboxName {
        &self.parts.name
    }

    pub(super) const fn spec(&self) -> &Spec {
        &self.parts.spec
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.parts.plan
    }

    pub(super) const fn report(&self) -> &EnforcementReport {
        &self.parts.report
    }

    pub(super) const fn strength(&self) -> StrengthScore {
        self.parts.strength
    }

    pub(super) const fn circumstances(&self) -> Circumstances {
        self.parts.circumstances
    }

    pub(super) const fn audit(&self) -> &Audit {
        &self.parts.audit
    }

    pub(super) const fn secrets(&self) -> &Secrets {
        &self.parts.secrets
    }

    pub(super) fn instance(&self) -> &dyn Instance {
        &*self.parts.instance
    }

    pub(super) const fn clock(&self) -> &PauseClock {
        &self.clock
    }

    pub(super) fn next_exec(&self) -> u64 {
        self.execs.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn state(&self) -> SandboxState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_state(&self, to: SandboxState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    pub(super) fn baseline(&self) -> Baseline {
        let baseline = self.baseline.lock();
        baseline.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_baseline(&self, baseline: Baseline) {
        *self.baseline.lock().unwrap_or_else(PoisonError::into_inner) = baseline;
    }

    /// Has every process stand still without a change of state, where the sandbox runs and can be
    /// paused. The turn must be held for writing.
    pub(super) async fn hold_still(&self) -> Stillness {
        if self.state() != SandboxState::Running {
            return Stillness::Already;
        }
        let Ok(pausable) = self.instance().pausable() else {
            return Stillness::No;
        };
        match pausable.pause().await {
            Ok(()) => {
                self.clock.set_paused(true);
                Stillness::Held
            }
            Err(e) => {
                tracing::warn!(error = %e, "the guests run on while changes are applied");
                Stillness::No
            }
        }
    }

    /// Lets those go on that were held still.
    pub(super) async fn let_go(&self, stillness: Stillness) {
        let (Stillness::Held, Ok(pausable)) = (stillness, self.instance().pausable()) else {
            return;
        };
        match pausable.resume().await {
            Ok(()) => self.clock.set_paused(false),
            Err(e) => {
                // So that the caller sees it and can try again.
                tracing::warn!(error = %e, "a sandbox stays paused");
                self.set_state(SandboxState::Paused);
            }
        }
    }

    /// The right to be the only one at work on the sandbox, as long as it is held.
    pub(super) async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.turn.write().await
    }

    /// The right to start something, as long as it is held.
    pub(super) async fn running(&self, act: &'static str) -> Result<RwLockReadGuard<'_, ()>> {
        if self.closing.load(Ordering::Acquire) {
            // As it answers from now on.
            let state = match self.state() {
                state if state.is_live() => SandboxState::Stopped,
                ended => ended,
            };
            return Err(KavachError::NotRunning { state, act });
        }
        let turn = self.turn.read().await;
        match self.state() {
            SandboxState::Running => Ok(turn),
            state => Err(KavachError::NotRunning { state, act }),
        }
    }

    /// What it means for a command that the sandbox under it has ended.
    pub(super) fn end_of_a_command(&self) -> Result<Termination> {
        if self.ending.load(Ordering::Acquire) || self.instance().was_killed() {
            Ok(Termination::Killed)
        } else {
            Err(KavachError::AgentDied {
                how: "while a command ran".into(),
            })
        }
    }

    pub(super) fn transition_blocking(self: &Arc<Self>, to: SandboxState) -> Result<()> {
        self.announce(to)?;
        let core = self.clone();
        supervisor()?
            .wait(async move { core.told(core.change(to).await, to).await })
            .ok_or(KavachError::SandboxGone {
                act: "change its state",
            })?
    }

    pub(super) async fn transition(self: &Arc<Self>, to: SandboxState) -> Result<()> {
        self.announce(to)?;
        let core = self.clone();
        on_supervisor("change its state", async move {
            core.told(core.change(to).await, to).await
        })
        .await
    }

    pub(super) async fn stop(self: &Arc<Self>, grace: Duration) -> Result<()> {
        let to = SandboxState::Stopped;
        self.announce(to)?;
        let core = self.clone();
        on_supervisor("stop", async move {
            core.told(core.stop_after(grace).await, to).await
        })
        .await
    }

    pub(super) async fn destroy(self: &Arc<Self>) -> Result<()> {
        for to in lifecycle::path_to_destroyed(self.state())? {
            match self.transition(*to).await {
                // Somebody else was faster, or the sandbox ended by itself: go on from there.
                Err(KavachError::InvalidTransition { from, .. }) if from == *to => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Checks a change and asks the hooks. The end of a sandbox is told but not asked for: no
    /// hook can keep a sandbox alive.
    fn announce(&self, to: SandboxState) -> Result<()> {
        let from = self.state();
        lifecycle::check(from, to)?;
        let asked = self.audit().before(AuditKind::Transition { from, to });
        match to {
            SandboxState::Stopped | SandboxState::Destroyed => {
                if let Err(e) = asked {
                    tracing::warn!(error = %e, "a hook cannot keep a sandbox from ending");
                }
                Ok(())
            }
            _ => asked,
        }
    }

    /// Tells the hooks of a change of state, from where it was made: also when its caller is gone,
    /// and also when something could not be removed.
    async fn told(&self, changed: Result<Changed>, to: SandboxState) -> Result<()> {
        let Changed { from, done } = changed?;
        self.audit()
            .after_elsewhere(vec![AuditKind::Transition { from, to }])
            .await;
        done
    }

    /// On the supervisor thread: makes the change.
    async fn change(&self, to: SandboxState) -> Result<Changed> {
        let ends = matches!(to, SandboxState::Stopped | SandboxState::Destroyed);
        let ender = ends.then(|| self.hurry());
        let _turn = self.turn.write().await;
        drop(ender);
        let from = self.state();
        lifecycle::check(from, to)?;
        match (from, to) {
            (_, SandboxState::Stopped) => {
                let done = self.end().await;
                return Ok(Changed { from, done });
            }
            (SandboxState::Running, SandboxState::Paused) => {
                self.instance().pausable()?.pause().await?;
                self.clock.set_paused(true);
            }
            (SandboxState::Paused, SandboxState::Running) => {
                self.instance().pausable()?.resume().await?;
                self.clock.set_paused(false);
            }
            // What the host changed until now is what guests will find: a sandbox may have stood
            // ready for long.
            (SandboxState::Created, SandboxState::Running) => {
                self.set_baseline(Baseline::now());
            }
            _ => {}
        }
        self.set_state(to);
        Ok(Changed { from, done: Ok(()) })
    }

    /// Has what is under way end at once, for somebody who wants to end the sandbox.
    fn hurry(&self) -> Ender<'_> {
        self.enders.fetch_add(1, Ordering::AcqRel);
        self.hurry.send_replace(true);
        Ender(&self.enders)
    }

    /// Resolves when somebody waits to end the sandbox.
    pub(super) async fn hurried(&self) {
        // In this order: who comes after the question is seen by the signal.
        let mut signal = self.hurry.subscribe();
        if self.enders.load(Ordering::Acquire) == 0 {
            // The sender lives as long as this value.
            let _ = signal.changed().await;
        }
    }

    /// Kills every guest process; the sandbox goes on.
    pub(super) async fn end_processes(&self) -> Result<()> {
        let act = "end its processes";
        // Nothing is started meanwhile.
        let _turn = self.turn.write().await;
        match self.state() {
            SandboxState::Running => {}
            state => return Err(KavachError::NotRunning { state, act }),
        }
        tokio::time::timeout(KILL_PATIENCE, self.instance().drain(SIGKILL))
            .await
            .unwrap_or(Err(KavachError::SandboxGone { act }))
    }

    async fn stop_after(&self, grace: Duration) -> Result<Changed> {
        // What is under way has its part of the grace too.
        let _turn = match tokio::time::timeout(grace, self.turn.write()).await {
            Ok(turn) => turn,
            Err(_) => {
                let _ender = self.hurry();
                self.turn.write().await
            }
        };
        let from = self.state();
        lifecycle::check(from, SandboxState::Stopped)?;
        if from == SandboxState::Running && !grace.is_zero() {
            self.closing.store(true, Ordering::Release);
            let mut hurry = self.hurry.subscribe();
            // All gone, the agent gone, out of patience or somebody in a hurry: in each case the
            // rest follows.
            tokio::select! {
                _ = tokio::time::timeout(grace, self.instance().drain(SIGTERM)) => {}
                _ = hurry.wait_for(|now| *now) => {}
            }
        }
        let done = self.end().await;
        Ok(Changed { from, done })
    }

    /// Kills everything. The state changes even if something could not be removed, which is said.
    async fn end(&self) -> Result<()> {
        self.ending.store(true, Ordering::Release);
        let ended = self.instance().destroy().await;
        self.set_state(SandboxState::Stopped);
        ended
    }

    /// For a drop: whatever the state, to Destroyed.
    pub(super) async fn end_now(&self) {
        let ender = self.hurry();
        let _turn = self.turn.write().await;
        drop(ender);
        if !matches!(
            self.state(),
            SandboxState::Stopped | SandboxState::Destroyed
        ) && let Err(e) = self.end().await
        {
            tracing::warn!(error = %e, "something of a sandbox stays until the next gc");
        }
        self.set_state(SandboxState::Destroyed);
    }

    /// The agent is gone without having been told: remove what is left.
    pub(super) async fn ended_by_itself(&self) {
        let turn = self.turn.write().await;
        let from = self.state();
        let to = SandboxState::Stopped;
        if lifecycle::can(from, to) {
            if let Err(e) = self.instance().destroy().await {
                tracing::warn!(error = %e, "something of a sandbox stays until the next gc");
            }
            self.set_state(to);
            drop(turn);
            self.audit()
                .after_elsewhere(vec![AuditKind::Transition { from, to }])
                .await;
        }
    }
}

/// Runs a part of an act on the supervisor thread and waits for it. The act is not cancelled when
/// the waiting is.
pub(super) async fn on_supervisor<T: Send + 'static>(
    act: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    supervisor()?
        .spawn(work)
        .await
        .map_err(|_| KavachError::SandboxGone { act })?
}
