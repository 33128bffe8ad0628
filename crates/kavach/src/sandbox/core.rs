//! What a sandbox and its handles share: the state, and the one place that changes it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, watch};

use super::inject::Secrets;
use crate::audit::{Audit, AuditKind};
use crate::backend::{Instance, SandboxName};
use crate::config::Spec;
use crate::enforcement::EnforcementReport;
use crate::error::{KavachError, Result};
use crate::lifecycle::{self, SandboxState};
use crate::plan::Plan;
use crate::result::Termination;
use crate::scoring::StrengthScore;
use crate::supervise::PauseClock;
use crate::supervisor::supervisor;

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

    /// The right to start something, as long as it is held.
    pub(super) async fn running(&self, act: &'static str) -> Result<RwLockReadGuard<'_, ()>> {
        if self.closing.load(Ordering::Acquire) {
            // As it answers from now on.
            let state = SandboxState::Stopped;
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
        if matches!(to, SandboxState::Stopped | SandboxState::Destroyed) {
            self.hurry.send_replace(true);
        }
        let _turn = self.turn.write().await;
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
            _ => {}
        }
        self.set_state(to);
        Ok(Changed { from, done: Ok(()) })
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
        let _turn = self.turn.write().await;
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
        self.hurry.send_replace(true);
        let _turn = self.turn.write().await;
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
    async fn ended_by_itself(&self) {
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
