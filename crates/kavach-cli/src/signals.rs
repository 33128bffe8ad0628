//! The signals that a user or a service manager sends to kavach.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{CliError, Result};

pub(crate) const SIGHUP: i32 = 1;
pub(crate) const SIGINT: i32 = 2;
pub(crate) const SIGQUIT: i32 = 3;
pub(crate) const SIGTERM: i32 = 15;

pub(crate) const SIGCONT: i32 = 18;
pub(crate) const SIGTSTP: i32 = 20;
pub(crate) const SIGWINCH: i32 = 28;

/// Listens from its creation on.
#[derive(Debug)]
pub(crate) struct Signals {
    ends: [Option<Signal>; 4],
    /// Those of a terminal.
    jobs: [Option<Signal>; 3],
}

impl Signals {
    /// A signal that was ignored when kavach was started stays ignored: `nohup` and the
    /// background jobs of scripts rely on it. With a terminal, also to those that stop and
    /// resume a job, and to changes of size.
    pub(crate) fn listen(terminal: bool) -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored(&status);
        let on = |number: i32| {
            if ignored & 1 << (number - 1) != 0 {
                return Ok(None);
            }
            signal(SignalKind::from_raw(number))
                .map(Some)
                .map_err(CliError::io("listen to signals"))
        };
        Ok(Self {
            ends: [on(SIGINT)?, on(SIGQUIT)?, on(SIGTERM)?, on(SIGHUP)?],
            jobs: match terminal {
                true => [on(SIGWINCH)?, on(SIGTSTP)?, on(SIGCONT)?],
                false => [None, None, None],
            },
        })
    }

    /// The next signal's number. Cancel safe.
    pub(crate) async fn next(&mut self) -> i32 {
        let ([int, quit, term, hup], [winch, tstp, cont]) = (&mut self.ends, &mut self.jobs);
        tokio::select! {
            () = received(int) => SIGINT,
            () = received(quit) => SIGQUIT,
            () = received(term) => SIGTERM,
            () = received(hup) => SIGHUP,
            () = received(winch) => SIGWINCH,
            () = received(tstp) => SIGTSTP,
            () = received(cont) => SIGCONT,
        }
    }

    /// The next one that asks kavach to end. Cancel safe.
    pub(crate) async fn next_end(&mut self) -> i32 {
        loop {
            let signal = self.next().await;
            if !matches!(signal, SIGWINCH | SIGTSTP | SIGCONT) {
                return signal;
            }
        }
    }
}

async fn received(listener: &mut Option<Signal>) {
    let some = match listener {
        Some(listener) => listener.recv().await,
        None => None,
    };
    if some.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The set of ignored signals of `/proc/PID/status` (`proc_pid_status(5)`).
fn ignored(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_set_is_read() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored("garbage"), 0);
    }
}
