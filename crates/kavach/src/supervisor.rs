//! kavach's own thread, on which every sandbox is started and watched.
//!
//! The kernel ties a child's parent-death signal to the *thread* that created the child
//! (PR_SET_PDEATHSIG(2const)): started from a worker of the caller's executor, a sandbox would die
//! when that worker retires. So one thread per process, which never ends, starts all of them. It
//! runs a tokio runtime of its own: the work of a sandbox never depends on the caller's executor,
//! and a caller that blocks its executor delays nothing here.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::{KavachError, Result};

/// The thread, seen from outside.
#[derive(Debug)]
pub(crate) struct Supervisor {
    runtime: Handle,
    thread: ThreadId,
    process: u32,
}

static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();
/// Held while the thread is started, so that there is one.
static STARTING: Mutex<()> = Mutex::new(());

/// The supervisor of this process, started on first use. A failure is not kept: what is scarce
/// now may be plenty later.
pub(crate) fn supervisor() -> Result<&'static Supervisor> {
    let failed = |source| KavachError::HostIo {
        op: "start the supervisor thread".into(),
        path: "/proc/self/task".into(),
        source,
    };
    let started = match SUPERVISOR.get() {
        Some(started) => started,
        None => {
            let _turn = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
            match SUPERVISOR.get() {
                Some(started) => started,
                None => {
                    let started = start().map_err(failed)?;
                    SUPERVISOR.get_or_init(|| started)
                }
            }
        }
    };
    if started.process != std::process::id() {
        // A fork copies this value but not the thread.
        return Err(failed(io::Error::other(
            "the process was forked after kavach was first used; use it first in the child",
        )));
    }
    Ok(started)
}

fn start() -> io::Result<Supervisor> {
    let (made, handle) = mpsc::sync_channel(1);
    // The runtime is made and dropped on the thread: dropped here, where a caller's own runtime
    // may be at work, it would panic.
    let run = move || match runtime() {
        Ok(runtime) => {
            // The receiver waits below.
            let _ = made.send(Ok(runtime.handle().clone()));
            runtime.block_on(std::future::pending::<()>());
        }
        Err(e) => {
            let _ = made.send(Err(e));
        }
    };
    let thread = thread::Builder::new().name("kavach".into()).spawn(run)?;
    let runtime = handle.recv().map_err(io::Error::other)??;
    Ok(Supervisor {
        runtime,
        thread: thread.thread().id(),
        process: std::process::id(),
    })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}

impl Supervisor {
    /// Runs a task on the thread. Dropping the handle detaches the task.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(task)
    }

    /// Runs a task on the thread and blocks the calling thread until it is done. `None` from the
    /// supervisor thread itself, which would wait for itself, and when the task panicked.
    pub(crate) fn wait<F>(&self, task: F) -> Option<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if self.is_current() {
            return None;
        }
        let (done, result) = mpsc::sync_channel(1);
        self.spawn(async move {
            // The receiver is waiting below.
            let _ = done.send(task.await);
        });
        result.recv().ok()
    }

    /// Whether the calling thread is the supervisor's.
    pub(crate) fn is_current(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// As [`Supervisor::wait`], for at most this long; the task goes on after that. From the
    /// supervisor thread itself it is only started.
    pub(crate) fn wait_at_most<F>(&self, patience: Duration, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (done, result) = mpsc::sync_channel(1);
        self.spawn(async move {
            task.await;
            // The receiver may have lost patience.
            let _ = done.send(());
        });
        if !self.is_current() {
            let _ = result.recv_timeout(patience);
        }
    }
}
