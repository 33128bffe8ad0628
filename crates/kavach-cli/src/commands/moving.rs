//! The tasks that move a program's streams.

use std::io::{self, IsTerminal as _};

use kavach::Child;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::run::Output;
use crate::error::{CliError, Result};
use crate::keys::{KeysEnd, from_keys};
use crate::streams::{self, Filter, Kept};
use crate::tty::UserTerminal;

/// What can happen to the streams.
pub(super) enum News {
    /// One of them failed on kavach's side.
    Failed(CliError),
    /// More came than is kept.
    Over,
    /// Nobody reads the terminal any more.
    HungUp,
    /// The user wants it ended, whatever it does with the keys.
    WayOut,
}

/// The tasks that move the program's streams.
pub(super) struct Streams {
    tasks: JoinHandle<Result<(Kept, Kept)>>,
    stdin: Option<JoinHandle<Result<KeysEnd>>>,
    drained: Option<Result<(Kept, Kept)>>,
    is_terminal: bool,
    over: mpsc::Receiver<()>,
}

impl Streams {
    pub(super) fn start(
        child: &mut Child,
        output: Output,
        terminal: Option<&UserTerminal>,
        limit_kb: u64,
    ) -> Self {
        let (tell, over) = mpsc::channel(1);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let limit = usize::try_from(limit_kb.saturating_mul(1024)).unwrap_or(usize::MAX);
        let tasks = match output {
            Output::Passed { unfiltered, .. } => {
                let to_terminal = io::stdout().is_terminal();
                let out_filter = match terminal {
                    Some(terminal) if to_terminal => Filter::Screen {
                        screen: terminal.screen(),
                        passes_all: unfiltered,
                    },
                    Some(_) => Filter::Nothing,
                    None => Filter::lines(to_terminal, unfiltered),
                };
                let err_filter = Filter::lines(io::stderr().is_terminal(), unfiltered);
                tokio::spawn(async move {
                    let out = out.map(|out| streams::to_stdout(out, out_filter));
                    let err = err.map(|err| streams::to_stderr(err, err_filter));
                    tokio::try_join!(if_any(out), if_any(err))
                })
            }
            Output::Kept => tokio::spawn(async move {
                let out = out.map(|out| streams::keep(out, limit, tell.clone()));
                let err = err.map(|err| streams::keep(err, limit, tell.clone()));
                tokio::try_join!(if_any(out), if_any(err))
            }),
        };
        // Keys are typed by somebody who may want to get out; a file is not.
        let keys = terminal.is_some() && io::stdin().is_terminal();
        let stdin = child.stdin.take().map(|stdin| match keys {
            true => tokio::spawn(from_keys(stdin)),
            false => tokio::spawn(async move {
                streams::from_stdin(stdin).await?;
                Ok(KeysEnd::Over)
            }),
        });
        Self {
            tasks,
            stdin,
            drained: None,
            is_terminal: terminal.is_some(),
            over,
        }
    }

    /// Returns when something has to be done about the program. Cancel safe.
    pub(super) async fn news(&mut self, tell_of_limit: bool) -> News {
        loop {
            tokio::select! {
                done = &mut self.tasks, if self.drained.is_none() => match joined(done) {
                    Err(error) => {
                        // There is nothing left to wait for.
                        self.drained = Some(Ok(Default::default()));
                        return News::Failed(error);
                    }
                    done => {
                        let gone = done.as_ref().is_ok_and(|(out, _)| out.reader_gone);
                        self.drained = Some(done);
                        // A pipe would tell the program itself.
                        if gone && self.is_terminal {
                            return News::HungUp;
                        }
                    }
                },
                done = finished(&mut self.stdin) => {
                    self.stdin = None;
                    match done {
                        Ok(KeysEnd::Over) => {}
                        Ok(KeysEnd::WayOut) => return News::WayOut,
                        Err(error) => return News::Failed(error),
                    }
                }
                Some(()) = self.over.recv(), if tell_of_limit => return News::Over,
                // Nothing is left that could happen to the streams.
                else => std::future::pending().await,
            }
        }
    }

    /// What was kept, after the end of the streams. Cancel safe.
    pub(super) async fn drain(&mut self) -> Result<(Kept, Kept)> {
        match self.drained.take() {
            Some(drained) => drained,
            None => joined((&mut self.tasks).await),
        }
    }
}

/// Waits for a stream that there may not be.
async fn if_any<T: Default>(stream: Option<impl Future<Output = Result<T>>>) -> Result<T> {
    match stream {
        Some(stream) => stream.await,
        None => Ok(T::default()),
    }
}

async fn finished(task: &mut Option<JoinHandle<Result<KeysEnd>>>) -> Result<KeysEnd> {
    match task {
        Some(task) => joined(task.await),
        None => std::future::pending().await,
    }
}

fn joined<T>(done: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    done.unwrap_or_else(|error| Err(CliError::io("move the program's streams")(error.into())))
}
