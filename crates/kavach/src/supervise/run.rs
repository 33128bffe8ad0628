//! From a started command to its end: the first cause wins.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use super::clock::Stopwatch;
use crate::backend::{Guest, GuestEnd};
use crate::error::Result;
use crate::result::{LimitEvent, Termination, Usage};

/// How long a killed command may take to be reported as ended.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// What a command is watched for.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Its time.
    pub(crate) clock: Stopwatch,
    /// How much of it there is.
    pub(crate) wall: Option<Duration>,
    /// Turns true when an output limit that ends the command was passed.
    pub(crate) too_much_output: watch::Receiver<bool>,
    /// Turns true when the caller wants the command gone.
    pub(crate) cancelled: watch::Receiver<bool>,
    /// RLIMIT_CPU is set, alone or beside a cgroup.
    pub(crate) cpu_by_rlimit: bool,
    /// RLIMIT_FSIZE is set.
    pub(crate) file_size: bool,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) termination: Termination,
    pub(crate) duration: Duration,
    pub(crate) usage: Usage,
    pub(crate) limit_events: Vec<LimitEvent>,
}

/// Watches a command to its end. `died` says what the end of the whole sandbox under it means.
pub(crate) async fn watch(
    guest: &dyn Guest,
    mut w: Watched,
    died: impl Fn() -> Result<Termination>,
) -> Result<Finished> {
    let cause = first_cause(guest, &mut w).await;
    let termination = match cause {
        Cause::Ended(Ok(end)) => guest.breach(false).unwrap_or_else(|| meaning(end, &w)),
        Cause::Ended(Err(_)) => died()?,
        Cause::Limit(termination) => {
            // What has held it until now is an event too, and cannot be seen after the kill; a
            // crowd that keeps the host busy may not have been counted once before.
            if termination != Termination::OutOfMemory {
                let _ = guest.breach(true);
            }
            if let Err(e) = guest.kill().await {
                tracing::warn!(error = %e, "a command was not killed at once");
            }
            // Its own end is awaited, so that its usage is whole and nothing of it is left. If
            // the kill took the sandbox along, there is nothing to wait for.
            let _ = tokio::time::timeout(KILL_PATIENCE, guest.wait()).await;
            termination
        }
    };
    let finished = Finished {
        termination,
        duration: w.clock.elapsed(),
        usage: guest.usage(),
        limit_events: guest.limit_events(),
    };
    Ok(finished)
}

/// Waits until a launch is through, for as long as the command has. The inner error is what ended
/// the command before its program ran: a guest of the same sandbox can stop the new process at
/// that moment (`kill(-1, SIGSTOP)`), and no limit may depend on its goodwill.
pub(crate) async fn started<T>(
    launch: impl Future<Output = Result<T>>,
    w: &mut Watched,
) -> Result<std::result::Result<T, Termination>> {
    tokio::pin!(launch);
    loop {
        let running = w.clock.is_running();
        let left = w.wall.map(|wall| wall.saturating_sub(w.clock.elapsed()));
        tokio::select! {
            biased;
            done = &mut launch => return done.map(Ok),
            () = is_true(&mut w.cancelled) => return Ok(Err(Termination::Killed)),
            () = w.clock.changed() => {}
            () = after(left), if running => return Ok(Err(Termination::TimedOut)),
        }
    }
}

enum Cause {
    Ended(Result<GuestEnd>),
    Limit(Termination),
}

async fn first_cause(guest: &dyn Guest, w: &mut Watched) -> Cause {
    let ended = guest.wait();
    tokio::pin!(ended);
    loop {
        let running = w.clock.is_running();
        let left = w.wall.map(|wall| wall.saturating_sub(w.clock.elapsed()));
        let look = guest.watch_interval();
        tokio::select! {
            // An end that has already come goes before a limit that would come now.
            biased;
            end = &mut ended => return Cause::Ended(end),
            () = is_true(&mut w.cancelled) => return Cause::Limit(Termination::Killed),
            () = is_true(&mut w.too_much_output) => {
                return Cause::Limit(Termination::OutputExceeded);
            }
            () = w.clock.changed() => {}
            () = after(left), if running => return Cause::Limit(Termination::TimedOut),
            () = after(look), if running => {
                if let Some(termination) = guest.breach(true) {
                    return Cause::Limit(termination);
                }
            }
        }
    }
}

async fn is_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|value| *value).await.is_err() {
        // Nobody is left who could set it.
        std::future::pending::<()>().await;
    }
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// An end of the guest's own, or one that a per-process limit of the kernel caused.
fn meaning(end: GuestEnd, w: &Watched) -> Termination {
    const SIGXCPU: i32 = 24;
    const SIGXFSZ: i32 = 25;
    match end {
        GuestEnd::Exited(code) => Termination::Exited(code),
        GuestEnd::Signaled(SIGXCPU) if w.cpu_by_rlimit => Termination::CpuExceeded,
        GuestEnd::Signaled(SIGXFSZ) if w.file_size => Termination::DiskExceeded,
        GuestEnd::Signaled(signal) => Termination::Signaled(signal),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::clock::PauseClock;
    use super::*;
    use crate::backend::Act;
    use crate::control::Control;

    /// Ends when it is killed, and was too many from the start: whoever looks sees it.
    #[derive(Debug, Default)]
    struct Crowd {
        killed: AtomicBool,
        seen: AtomicBool,
    }

    impl Guest for Crowd {
        fn wait(&self) -> Act<'_, Result<GuestEnd>> {
            Box::pin(async {
                while !self.killed.load(Ordering::Relaxed) {
                    tokio::task::yield_now().await;
                }
                Ok(GuestEnd::Signaled(9))
            })
        }

        fn signal(&self, _: i32) -> Act<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn kill(&self) -> Act<'_, Result<()>> {
            self.killed.store(true, Ordering::Relaxed);
            Box::pin(async { Ok(()) })
        }

        fn watch_interval(&self) -> Option<Duration> {
            Some(Duration::from_secs(3600))
        }

        fn breach(&self, _: bool) -> Option<Termination> {
            let there = !self.killed.load(Ordering::Relaxed);
            self.seen.fetch_or(there, Ordering::Relaxed);
            None
        }

        fn usage(&self) -> Usage {
            Usage::default()
        }

        fn limit_events(&self) -> Vec<LimitEvent> {
            let seen = self.seen.load(Ordering::Relaxed);
            let event = || LimitEvent::new(Control::Pids, 1, "full");
            seen.then(event).into_iter().collect()
        }

        fn release(&self) -> Act<'_, ()> {
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn what_held_a_command_is_told_though_nobody_looked_before_its_end() {
        let clock = PauseClock::new();
        let (_output, too_much_output) = watch::channel(false);
        let (_cancel, cancelled) = watch::channel(false);
        let watched = Watched {
            clock: clock.start(),
            wall: Some(Duration::ZERO),
            too_much_output,
            cancelled,
            cpu_by_rlimit: false,
            file_size: false,
        };
        let finished = watch(&Crowd::default(), watched, || Ok(Termination::Killed))
            .await
            .unwrap();
        assert_eq!(finished.termination, Termination::TimedOut);
        assert_eq!(finished.limit_events.len(), 1);
    }
}
