//! Time that stands still while a sandbox is paused.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Tells the commands of a sandbox whether it is paused.
#[derive(Debug)]
pub(crate) struct PauseClock {
    paused: watch::Sender<bool>,
}

impl PauseClock {
    pub(crate) fn new() -> Self {
        Self {
            paused: watch::Sender::new(false),
        }
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    pub(crate) fn start(&self) -> Stopwatch {
        let mut paused = self.paused.subscribe();
        let stands = *paused.borrow_and_update();
        let since = (!stands).then(Instant::now);
        Stopwatch {
            paused,
            before: Duration::ZERO,
            since,
        }
    }
}

/// The running time of one command.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    paused: watch::Receiver<bool>,
    /// Time until the last pause.
    before: Duration,
    /// Since when it runs; `None` while paused.
    since: Option<Instant>,
}

impl Stopwatch {
    pub(crate) fn elapsed(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.since.is_some()
    }

    /// Resolves after the next pause or resume, which it has then taken into account.
    pub(crate) async fn changed(&mut self) {
        if self.paused.changed().await.is_err() {
            // The sandbox is gone; its command is about to end.
            std::future::pending::<()>().await;
        }
        self.before = self.elapsed();
        let stands = *self.paused.borrow_and_update();
        self.since = (!stands).then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn paused_time_does_not_count() {
        let clock = PauseClock::new();
        let mut watch = clock.start();
        tokio::time::advance(Duration::from_secs(3)).await;
        clock.set_paused(true);
        watch.changed().await;
        assert!(!watch.is_running());
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(watch.elapsed(), Duration::from_secs(3));
        clock.set_paused(false);
        watch.changed().await;
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(watch.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_started_while_paused_waits_for_its_time() {
        let clock = PauseClock::new();
        clock.set_paused(true);
        let watch = clock.start();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(watch.elapsed(), Duration::ZERO);
    }
}
