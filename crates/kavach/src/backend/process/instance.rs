//! A live sandbox of the process backend.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::guest::ProcessGuest;
use super::ids::IdRange;
use super::sources::guest_ids;
use super::watch::{Room, Watch};
use crate::agent::{Agent, AgentGuest, open_terminal};
use crate::backend::{Act, Backend, Guest, Instance, Launch, Pausable, Terminal, Terminals};
use crate::cgroup::error::CgroupError;
use crate::cgroup::group::SandboxGroup;
use crate::cgroup::kill::KillOutcome;
use crate::cgroup::leaf::Leaf;
use crate::command::PtySize;
use crate::error::{KavachError, Result};
use crate::plan::Plan;
use crate::worker::Worker;
use crate::workspace::Layers;

/// The sandbox, its control groups and its ids.
#[derive(Debug)]
pub(super) struct ProcessInstance {
    agent: Arc<Agent>,
    group: Option<Arc<SandboxGroup>>,
    watch: Arc<Watch>,
    /// The guest's ids on the host, where they are not the caller's own.
    guest_ids: Option<(u32, u32)>,
    /// Held until the sandbox's processes are gone.
    range: Mutex<Option<IdRange>>,
    /// What the guest's workspace is made of; outlives its processes.
    layers: Option<Layers>,
    /// Held until nothing writes to the upper directory any more.
    upper_lock: Mutex<Option<OwnedFd>>,
    next_leaf: AtomicU64,
    /// A freeze was begun and not undone.
    frozen: AtomicBool,
}

impl ProcessInstance {
    pub(super) fn new(
        agent: Agent,
        group: Option<SandboxGroup>,
        plan: &Plan,
        range: Option<IdRange>,
        room: Room,
        (layers, upper_lock): (Option<Layers>, Option<OwnedFd>),
    ) -> Self {
        let (limits, identity) = (&plan.limits, &plan.identity);
        let guest_ids = range.as_ref().map(|range| guest_ids(identity, range));
        let agent = Arc::new(agent);
        let watch = Arc::new(Watch::new(limits, agent.pid(), room));
        watch.clone().guard_background(agent.clone());
        Self {
            agent,
            group: group.map(Arc::new),
            watch,
            guest_ids,
            range: Mutex::new(range),
            layers,
            upper_lock: Mutex::new(upper_lock),
            next_leaf: AtomicU64::new(1),
            frozen: AtomicBool::new(false),
        }
    }

    fn leaf(&self) -> Result<Option<Arc<Leaf>>> {
        let id = self.next_leaf.fetch_add(1, Ordering::Relaxed);
        let leaf = self
            .group
            .as_ref()
            .map(|group| group.leaf(id))
            .transpose()?;
        Ok(leaf.map(Arc::new))
    }

    async fn start(&self, launch: Launch) -> Result<Arc<dyn Guest>> {
        let leaf = self.leaf()?;
        let cgroups = leaf.as_ref().map(|leaf| leaf.join_fds()).transpose();
        let started = match cgroups {
            Ok(cgroups) => {
                let commands = self.agent.commands();
                let task = AgentGuest::start(commands, launch, cgroups.unwrap_or_default());
                // Whoever stops waiting for the launch wants the command gone.
                let mut launching = Launching {
                    task: Some(task),
                    agent: self.agent.clone(),
                    leaf: leaf.clone(),
                };
                launching.wait().await
            }
            Err(e) => Err(e.into()),
        };
        match started {
            Ok(guest) => Ok(Arc::new(ProcessGuest::new(
                guest,
                self.agent.clone(),
                leaf,
                self.watch.begin(),
            ))),
            Err(e) => {
                if let Some(leaf) = leaf {
                    remove_leaf(leaf).await;
                }
                Err(e)
            }
        }
    }
}

/// A launch under way. Dropped before its end, it kills what it started.
struct Launching {
    /// `None` once it is through.
    task: Option<JoinHandle<Result<AgentGuest>>>,
    agent: Arc<Agent>,
    leaf: Option<Arc<Leaf>>,
}

impl Launching {
    async fn wait(&mut self) -> Result<AgentGuest> {
        let Some(task) = self.task.as_mut() else {
            return Err(KavachError::SandboxGone {
                act: "start a command",
            });
        };
        let done = task.await;
        self.task = None;
        AgentGuest::started(done)
    }
}

impl Drop for Launching {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else {
            return;
        };
        let (agent, leaf) = (self.agent.clone(), self.leaf.take());
        tokio::spawn(async move {
            // Without a group of its own it cannot be told from the rest.
            let gone = match &leaf {
                Some(leaf) => kill_launch(leaf, &task).await,
                None => false,
            };
            if !gone {
                let leaf = leaf.clone();
                end_agent(&agent, move || thaw_leaf(leaf.as_deref())).await;
            }
            if let Some(leaf) = leaf {
                remove_leaf(leaf).await;
            }
        });
    }
}

/// Kills in the group of a launch until the launch is through: before that its process may not
/// have entered the group yet. False if something is left.
async fn kill_launch(leaf: &Arc<Leaf>, task: &JoinHandle<Result<AgentGuest>>) -> bool {
    for round in 0..ABANDON_ROUNDS {
        let through = task.is_finished();
        match kill_leaf(leaf.clone()).await {
            Ok(KillOutcome::Gone) if through => return true,
            // Frozen: it is in the group, and the signal waits for it.
            Ok(KillOutcome::PendingThaw) => return true,
            Ok(KillOutcome::Gone) => {
                tokio::time::sleep(Duration::from_millis(1 << round.min(6))).await;
            }
            Ok(KillOutcome::Alive { .. }) | Err(_) => return false,
        }
    }
    false
}

impl Instance for ProcessInstance {
    fn launch(&self, launch: Launch) -> Act<'_, Result<Arc<dyn Guest>>> {
        Box::pin(async move { self.start(launch).await })
    }

    fn drain(&self, signal: i32) -> Act<'_, Result<()>> {
        Box::pin(async move {
            let signal = u32::try_from(signal).unwrap_or(15);
            let none_left = self.agent.commands().signal_all(signal).await?;
            none_left.await.map_err(|_| KavachError::SandboxGone {
                act: "wait for its end",
            })
        })
    }

    fn destroy(&self) -> Act<'_, Result<()>> {
        Box::pin(async move {
            // A frozen cgroup v1 would keep even SIGKILL waiting: give the signal to what stands
            // still there, and let it run into it.
            if let Some(group) = self
                .group
                .clone()
                .filter(|_| self.frozen.load(Ordering::Acquire))
            {
                let (_, thawed) = blocking(move || (group.kill_all(), group.thaw())).await?;
                thawed?;
            }
            let group = self.group.clone();
            end_agent(&self.agent, move || {
                if let Some(group) = &group {
                    let _ = group.kill_all();
                }
            })
            .await;
            drop(
                self.range
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            drop(
                self.upper_lock
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            match self.group.clone() {
                Some(group) => remove_group(group).await,
                None => Ok(()),
            }
        })
    }

    fn ended(&self) -> Act<'_, ()> {
        Box::pin(self.agent.ended())
    }

    fn was_killed(&self) -> bool {
        self.agent.was_killed()
    }

    fn pausable(&self) -> Result<&dyn Pausable> {
        match &self.group {
            Some(group) if group.freezer_available() => Ok(self),
            _ => Err(KavachError::Unsupported {
                act: "pause".into(),
                backend: Backend::Process,
                reason: "this host gives no cgroup freezer to this user, and signals cannot pause \
                         a guest that does not want to be paused"
                    .into(),
                hint: Some(
                    "run as root, or in a delegated cgroup v2 (systemd-run --user --scope \
                     -p Delegate=yes)"
                        .into(),
                ),
            }),
        }
    }

    fn workspace(&self) -> Option<&Layers> {
        self.layers.as_ref()
    }

    fn terminals(&self) -> Result<&dyn Terminals> {
        Ok(self)
    }
}

impl Terminals for ProcessInstance {
    fn open(&self, size: PtySize) -> Act<'_, Result<Terminal>> {
        Box::pin(open_terminal(self.agent.commands(), size, self.guest_ids))
    }
}

impl Pausable for ProcessInstance {
    fn pause(&self) -> Act<'_, Result<()>> {
        Box::pin(async move {
            let Some(group) = self.group.clone() else {
                return Ok(());
            };
            self.frozen.store(true, Ordering::Release);
            group.freeze()?;
            // A process in an uninterruptible call freezes when the call returns.
            for round in 0..PAUSE_ROUNDS {
                if group.frozen()? {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_micros(100 << round.min(6))).await;
            }
            group.thaw()?;
            self.frozen.store(false, Ordering::Release);
            Err(KavachError::Cgroup {
                op: "freeze within two seconds".into(),
                path: PathBuf::from("guest"),
                source: io::ErrorKind::TimedOut.into(),
            })
        })
    }

    fn resume(&self) -> Act<'_, Result<()>> {
        Box::pin(async move {
            if let Some(group) = &self.group {
                group.thaw()?;
            }
            self.frozen.store(false, Ordering::Release);
            Ok(())
        })
    }
}

/// How long the end of a pid namespace may take before it is looked for what keeps it.
const THAW_INTERVAL: Duration = Duration::from_millis(500);
/// Looks at an abandoned launch: about two seconds in all.
const ABANDON_ROUNDS: u32 = 36;
/// Looks at a freezing group: about two seconds in all.
const PAUSE_ROUNDS: u32 = 320;
/// Tries to remove a directory whose last process has just ended.
const REMOVE_ROUNDS: u32 = 200;

/// Runs file operations that may take a while off the supervisor thread; on it, where there is no
/// other thread to be had: what must end does not wait for one.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    match Worker::new() {
        Ok(worker) => worker.run(work).await.ok_or_else(|| KavachError::HostIo {
            op: "run a file operation".into(),
            path: PathBuf::new(),
            source: io::Error::other("it panicked"),
        }),
        Err(e) => {
            tracing::warn!(error = %e, "no thread for what blocks: others wait for it");
            Ok(work())
        }
    }
}

/// Kills the agent, and with it everything. The kernel ends a pid namespace once each of its
/// processes has died, which one that stands frozen in a group of version 1 does not: `thaw` opens
/// what should not be closed any more (a freezer whose opening failed when a command was killed),
/// and is called until all have died.
pub(super) async fn end_agent(agent: &Agent, thaw: impl Fn() + Clone + Send + 'static) {
    let mut ended = std::pin::pin!(agent.kill());
    while tokio::time::timeout(THAW_INTERVAL, &mut ended)
        .await
        .is_err()
    {
        let thaw = thaw.clone();
        // An error means that it panicked; it is tried again.
        let _ = blocking(thaw).await;
    }
}

/// Kills what is in the group of a command. A tree that forks faster than it dies gets some more
/// tries; what is then still `Alive`, or an error, is the caller's to end.
pub(super) async fn kill_leaf(leaf: Arc<Leaf>) -> Result<KillOutcome> {
    const TRIES: u32 = 3;
    let mut outcome = KillOutcome::Alive { count: 0 };
    for _ in 0..TRIES {
        let dying = leaf.clone();
        outcome = blocking(move || dying.kill()).await??;
        if !matches!(outcome, KillOutcome::Alive { .. }) {
            break;
        }
    }
    Ok(outcome)
}

/// Lets what is in the group of a command run into its end.
pub(super) fn thaw_leaf(leaf: Option<&Leaf>) {
    if let Some(leaf) = leaf {
        let _ = leaf.kill();
    }
}

async fn remove_group(group: Arc<SandboxGroup>) -> Result<()> {
    for round in 0..REMOVE_ROUNDS {
        match group.remove() {
            Err(CgroupError::Busy { .. }) => {
                if round == 20 {
                    // Something lives on in a group; it must not.
                    let group = group.clone();
                    let _ = blocking(move || group.kill_all()).await?;
                }
                tokio::time::sleep(Duration::from_micros(200 << round.min(6))).await;
            }
            done => return Ok(done?),
        }
    }
    Ok(group.remove()?)
}

/// For a sandbox that did not come to life.
pub(super) fn remove_in_background(group: SandboxGroup) {
    tokio::spawn(async move {
        if let Err(e) = remove_group(Arc::new(group)).await {
            tracing::warn!(error = %e, "a control group stays until the next gc");
        }
    });
}

/// Removes the group of a command if nothing lives in it; the rest goes with the sandbox.
pub(super) async fn remove_leaf(leaf: Arc<Leaf>) {
    for round in 0..10 {
        match leaf.remove() {
            // What the command left in the background lives until the sandbox ends.
            Err(CgroupError::Busy { .. }) if !leaf.is_empty().unwrap_or(false) => return,
            Err(CgroupError::Busy { .. }) => {
                tokio::time::sleep(Duration::from_micros(100 << round)).await;
            }
            _ => return,
        }
    }
}
