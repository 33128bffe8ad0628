//! Ends a test that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Has to be fed.
pub(crate) struct Watchdog(Arc<AtomicU64>);

impl Watchdog {
    pub(crate) fn feed(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Aborts this process when it was not fed for so long.
pub(crate) fn start(patience: Duration) -> Watchdog {
    let fed = Arc::new(AtomicU64::new(0));
    let watched = fed.clone();
    thread::spawn(move || {
        let mut last = (0, Instant::now());
        loop {
            thread::sleep(Duration::from_millis(500));
            let now = watched.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            }
            if last.1.elapsed() > patience {
                eprintln!("nothing has ended for {patience:?}: a deadlock");
                std::process::abort();
            }
        }
    });
    Watchdog(fed)
}
