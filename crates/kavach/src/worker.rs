//! Work that blocks, off the supervisor thread.
//!
//! Not tokio's pool: where the system refuses it the first thread it panics, in the middle of
//! whatever was to be done (an apply left its sandbox frozen, a command outlived its limit), and
//! where it has some thread the work waits for that one, which may be in a hook that never
//! returns.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one piece of work. Dropped without any, it ends.
#[derive(Debug)]
pub(crate) struct Worker(Sender<Job>);

impl Worker {
    /// A thread that waits for its work. In two steps, so that the work is still the caller's
    /// where there is no thread to be had.
    pub(crate) fn new() -> io::Result<Self> {
        let (give, jobs) = mpsc::channel::<Job>();
        let run = move || {
            if let Ok(job) = jobs.recv() {
                job();
            }
        };
        // Detached: it ends with its work.
        let thread = thread::Builder::new().name("kavach-work".into());
        thread.spawn(run).map(|_detached| Self(give))
    }

    /// Does the work; `None` if it panicked. What was begun goes on when nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Who waited for it may be gone.
            let _ = done.send(work());
        });
        self.0.send(job).ok()?;
        result.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_on_another_thread_and_a_panic_is_no_answer() {
        let here = thread::current().id();
        let there = Worker::new().unwrap().run(|| thread::current().id()).await;
        assert!(there.is_some_and(|there| there != here));
        let none: Option<()> = Worker::new()
            .unwrap()
            .run(|| std::panic::resume_unwind(Box::new("a test's panic")))
            .await;
        assert!(none.is_none());
    }
}
