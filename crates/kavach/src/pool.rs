//! Sandboxes that are ready before they are wanted.
//!
//! Building a sandbox costs milliseconds, handing out one that stands ready costs microseconds.
//! A pool keeps some of one config at hand, makes new ones on a thread of its own while the
//! claimed ones work, and looks at each before it hands it out.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::audit::AuditKind;
use crate::config::SandboxConfig;
use crate::error::{KavachError, Result};
use crate::lifecycle::SandboxState;
use crate::sandbox::Sandbox;

/// Most sandboxes that a pool keeps ready: each holds processes, mounts and descriptors.
pub const MAX_READY: usize = 1024;

/// Between two tries to fill a pool whose config cannot be built at present.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Sandboxes of one config, ready to be claimed.
///
/// No sandbox ever serves two tenants: one that comes back is destroyed, or
/// ([`Claimed::give_back`]) kept for the next claim of the *same* tenant. All of a pool carry the
/// `agent_id` of its config, which is in their names from the start; the tenant of a claim is in
/// the audit event [`AuditKind::Claimed`].
///
/// Dropping the pool ends what is ready and waits for that; claimed sandboxes live on.
#[derive(Debug)]
pub struct SandboxPool {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    filler: Option<JoinHandle<()>>,
}

/// What a pool did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Sandboxes that stand ready.
    pub ready: usize,
    /// Claims served by one that stood ready.
    pub from_ready: u64,
    /// Claims served by one that the same tenant had given back.
    pub from_tenant: u64,
    /// Claims for which one had to be made.
    pub made_on_demand: u64,
    /// Ready ones that had ended before they were claimed, and were thrown away.
    pub unhealthy: u64,
    /// Tries to make one ahead that failed.
    pub failed: u64,
}

#[derive(Debug)]
struct Shared {
    config: SandboxConfig,
    /// How many should stand ready.
    target: usize,
    stock: Mutex<Stock>,
    /// The pool is being dropped: nothing is made or kept any more.
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Stock {
    ready: VecDeque<Sandbox>,
    /// Given back, by tenant, oldest first.
    kept: VecDeque<(String, Sandbox)>,
    stats: PoolStats,
}

#[derive(Debug)]
enum Job {
    /// Look whether something is missing.
    Fill,
    /// End this one, off its holder's thread.
    End(Box<Sandbox>),
    /// The pool is gone.
    Stop,
}

impl SandboxPool {
    /// A pool that keeps `ready` sandboxes of `config` at hand (1 to [`MAX_READY`]), each in state
    /// Running. Returns when all of them stand.
    ///
    /// # Errors
    /// [`KavachError::InvalidConfig`] for a number out of range; what [`Sandbox::create`] says.
    pub async fn new(config: SandboxConfig, ready: usize) -> Result<Self> {
        if !(1..=MAX_READY).contains(&ready) {
            return Err(KavachError::invalid(
                "ready",
                format!("{ready} sandboxes"),
                format!("1 to {MAX_READY}"),
                "each one that stands ready holds processes, mounts and descriptors",
            ));
        }
        let mut stock = Stock::default();
        for _ in 0..ready {
            stock.ready.push_back(make(&config).await?);
        }
        let shared = Arc::new(Shared {
            config,
            target: ready,
            stock: Mutex::new(stock),
            closing: AtomicBool::new(false),
        });
        let (jobs, wanted) = mpsc::channel();
        let on = shared.clone();
        let filler = thread::Builder::new()
            .name("kavach-pool".into())
            .spawn(move || fill(&on, &wanted))
            .map_err(|source| KavachError::HostIo {
                op: "start the thread of a pool".into(),
                path: "/proc/self/task".into(),
                source,
            })?;
        Ok(Self {
            shared,
            jobs,
            filler: Some(filler),
        })
    }

    /// A sandbox in state Running for this tenant alone: one that it gave back, else one that
    /// stands ready, else one that is made now. Its place is filled again meanwhile.
    ///
    /// # Errors
    /// A hook's veto; where one has to be made, what [`Sandbox::create`] says.
    pub async fn claim(&self, tenant: &str) -> Result<Claimed> {
        let (found, dead) = self.shared.take(tenant);
        // Before anything can fail, also a veto: what was taken is gone from the stock in any case.
        // The thread that listens ends with this value only.
        let _ = self.jobs.send(Job::Fill);
        for sandbox in dead {
            end_elsewhere(&self.jobs, sandbox);
        }
        let sandbox = match found {
            Some(sandbox) => sandbox,
            None => make(&self.shared.config).await?,
        };
        let claimed = Claimed {
            sandbox: Some(sandbox),
            tenant: tenant.to_owned(),
            shared: self.shared.clone(),
            jobs: self.jobs.clone(),
        };
        claimed.announce_claim(tenant)?;
        Ok(claimed)
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let stock = self.shared.stock();
        PoolStats {
            ready: stock.ready.len(),
            ..stock.stats
        }
    }
}

impl Drop for SandboxPool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        // An error means that the thread has ended.
        let _ = self.jobs.send(Job::Stop);
        drop(self.shared.empty());
        if let Some(filler) = self.filler.take() {
            // A panic there has been printed; nothing is left to do.
            let _ = filler.join();
        }
        // What it made at the last moment.
        drop(self.shared.empty());
    }
}

impl Shared {
    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that waits, to be ended where the lock is not held.
    fn empty(&self) -> Vec<Sandbox> {
        let mut stock = self.stock();
        let kept: Vec<_> = stock.kept.drain(..).map(|(_, sandbox)| sandbox).collect();
        stock.ready.drain(..).chain(kept).collect()
    }

    /// One for this tenant, if there is one, and those that turned out to have ended.
    fn take(&self, tenant: &str) -> (Option<Sandbox>, Vec<Sandbox>) {
        let mut dead = Vec::new();
        let mut stock = self.stock();
        let healthy = |sandbox: &Sandbox| sandbox.state() == SandboxState::Running;
        while let Some(at) = stock.kept.iter().position(|(owner, _)| owner == tenant) {
            match stock.kept.remove(at) {
                Some((_, sandbox)) if healthy(&sandbox) => {
                    stock.stats.from_tenant += 1;
                    return (Some(sandbox), dead);
                }
                ended => dead.extend(ended.map(|(_, sandbox)| sandbox)),
            }
            stock.stats.unhealthy += 1;
        }
        while let Some(sandbox) = stock.ready.pop_front() {
            if healthy(&sandbox) {
                stock.stats.from_ready += 1;
                return (Some(sandbox), dead);
            }
            stock.stats.unhealthy += 1;
            dead.push(sandbox);
        }
        stock.stats.made_on_demand += 1;
        (None, dead)
    }
}

/// A sandbox ready for use.
async fn make(config: &SandboxConfig) -> Result<Sandbox> {
    let sandbox = Sandbox::create(config.clone()).await?;
    sandbox.handle().transition(SandboxState::Running).await?;
    Ok(sandbox)
}

fn end_elsewhere(jobs: &Sender<Job>, sandbox: Sandbox) {
    // Where the pool is gone the sandbox comes back in the error, and ends here.
    drop(jobs.send(Job::End(Box::new(sandbox))));
}

/// The pool's thread. Not the supervisor's: hooks are called where a sandbox is made, and they may
/// take their time.
fn fill(shared: &Shared, jobs: &Receiver<Job>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::warn!(error = %e, "a pool cannot be filled; its sandboxes are made on demand");
            return;
        }
    };
    let mut pause = FIRST_PAUSE;
    let mut failing = false;
    loop {
        let job = if failing {
            match jobs.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => Job::Fill,
                other => other.unwrap_or(Job::Stop),
            }
        } else {
            jobs.recv().unwrap_or(Job::Stop)
        };
        match job {
            Job::Stop => return,
            Job::End(sandbox) => drop(sandbox),
            Job::Fill => {
                failing = !runtime.block_on(fill_up(shared));
                pause = if failing {
                    (pause * 2).min(LONGEST_PAUSE)
                } else {
                    FIRST_PAUSE
                };
            }
        }
    }
}

/// Makes what is missing; false if that failed.
async fn fill_up(shared: &Shared) -> bool {
    while !shared.closing.load(Ordering::Acquire) && shared.stock().ready.len() < shared.target {
        match make(&shared.config).await {
            Ok(sandbox) => shared.stock().ready.push_back(sandbox),
            Err(e) => {
                tracing::warn!(error = %e, "a pool could not be filled");
                shared.stock().stats.failed += 1;
                return false;
            }
        }
    }
    true
}

/// A claimed sandbox: used as a [`Sandbox`], destroyed on the pool's thread when dropped. It cannot
/// be had as `&mut`: two tenants' could be swapped. Its state is changed through
/// [`Sandbox::handle`].
#[derive(Debug)]
pub struct Claimed {
    /// `None` once it was given away.
    sandbox: Option<Sandbox>,
    tenant: String,
    shared: Arc<Shared>,
    jobs: Sender<Job>,
}

impl Claimed {
    /// Keeps the sandbox for the tenant's next claim: every process in it is killed, its files
    /// stay as they are. A pool keeps as many as it keeps ready; the one that waits longest goes.
    /// A [`SandboxHandle`](crate::SandboxHandle) that was taken of it before stays good, and with
    /// it a command that it is just starting: both are the same tenant's.
    ///
    /// # Errors
    /// It is not running any more, or its processes could not be ended; it is destroyed then.
    pub async fn give_back(mut self) -> Result<()> {
        let Some(sandbox) = self.sandbox.take() else {
            return Ok(());
        };
        if let Err(e) = sandbox.end_processes().await {
            end_elsewhere(&self.jobs, sandbox);
            return Err(e);
        }
        let too_many = {
            let mut stock = self.shared.stock();
            if self.shared.closing.load(Ordering::Acquire) {
                Some(sandbox)
            } else {
                stock.kept.push_back((self.tenant.clone(), sandbox));
                let over = stock.kept.len() > self.shared.target;
                over.then(|| stock.kept.pop_front())
                    .flatten()
                    .map(|(_, oldest)| oldest)
            }
        };
        if let Some(sandbox) = too_many {
            end_elsewhere(&self.jobs, sandbox);
        }
        Ok(())
    }

    /// The sandbox as one of its own, which the caller ends.
    #[must_use]
    pub fn into_sandbox(mut self) -> Sandbox {
        self.sandbox.take().expect(HELD)
    }

    fn announce_claim(&self, tenant: &str) -> Result<()> {
        self.announce(AuditKind::Claimed {
            tenant: tenant.to_owned(),
        })
    }
}

/// Why there is a sandbox: it is taken out by methods that consume the claim, and by its drop.
const HELD: &str = "a claim holds its sandbox until it ends";

impl Deref for Claimed {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        self.sandbox.as_ref().expect(HELD)
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            end_elsewhere(&self.jobs, sandbox);
        }
    }
}
