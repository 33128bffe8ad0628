//! One command in a sandbox of its own, with signals and streams.

use std::time::Duration;

use kavach::policy::OnOutput;
use kavach::{Child, Command, ExecResult, Sandbox, SandboxState, Termination};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::{CliError, Result};
use crate::exit_code;
use crate::host_limits;
use crate::resolve::Resolved;
use crate::signals::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, Signals};
use crate::streams::{self, Kept};

/// How long a program may take to end after SIGTERM or SIGHUP.
const GRACE: Duration = Duration::from_secs(5);
/// How long the reader of the output of a program that a limit ended may take to take the rest.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// What becomes of the program's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// It goes to kavach's own, as it comes and without limit.
    Passed,
    /// It is kept up to the policy's limit.
    Kept,
}

/// How it went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The program ended.
    Ended(Box<Finished>),
    /// A signal ended kavach; the sandbox is gone.
    Interrupted(i32),
}

#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) result: ExecResult,
    pub(crate) sandbox: Sandbox,
    /// The signal that kavach was ended by, while the program ended in its grace.
    pub(crate) signal: Option<i32>,
}

impl Finished {
    pub(crate) fn exit_code(&self) -> u8 {
        self.signal.map_or_else(
            || exit_code::of_end(self.result.termination),
            exit_code::of_signal,
        )
    }
}

/// A runtime for one verb. The work of sandboxes is done on the library's own thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = host_limits::room_for_a_runtime()
        .and_then(|()| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
        })
        .map_err(CliError::io("start the runtime"))?;
    let done = runtime.block_on(work);
    // A write to a terminal that is stopped may still hang: nobody waits for it.
    runtime.shutdown_background();
    done
}

/// Builds the sandbox, runs the command, destroys the sandbox.
pub(crate) async fn run(resolved: &Resolved, command: Command, output: Output) -> Result<Outcome> {
    let mut signals = Signals::listen()?;
    let mut sandbox = match create(resolved, &mut signals).await? {
        Ok(sandbox) => sandbox,
        Err(signal) => return Ok(Outcome::Interrupted(signal)),
    };
    sandbox.transition(SandboxState::Running)?;
    let mut child = tokio::select! {
        biased;
        started = sandbox.spawn(command.stdin_piped()) => started?,
        // There is no program yet that a signal could go to, and the start itself may hang: on a
        // file system that does not answer, for instance.
        signal = signals.next() => {
            end(&mut sandbox, &mut signals).await?;
            return Ok(Outcome::Interrupted(signal));
        }
    };

    let limits = &resolved.config.policy().limits;
    let mut streams = Streams::start(&mut child, output, limits.output_kb);
    let kill_at_limit = output == Output::Kept && limits.on_output == OnOutput::Kill;
    let (mut result, signal) = watch(&mut child, &mut streams, &mut signals, kill_at_limit).await?;

    // What the program left in the background ends here; it may hold the streams open.
    if let Some(signal) = end(&mut sandbox, &mut signals).await? {
        return Ok(Outcome::Interrupted(signal));
    }
    let (out, err) = tokio::select! {
        biased;
        drained = streams.drain() => drained?,
        // The limit was for the whole command: a reader that does not read must not stretch it.
        // What it did not take by then is lost with the command.
        () = after_a_limit(&result) => Default::default(),
        // A reader that does not read on: the user has had enough.
        signal = signals.next() => return Ok(Outcome::Interrupted(signal)),
    };
    if output == Output::Kept {
        result = with_output(result, out, err);
    }
    Ok(Outcome::Ended(Box::new(Finished {
        result,
        sandbox,
        signal,
    })))
}

/// The sandbox, or the signal that came meanwhile. The first signal waits for the setup to end,
/// so that it can be undone in order; a second does not.
async fn create(
    resolved: &Resolved,
    signals: &mut Signals,
) -> Result<std::result::Result<Sandbox, i32>> {
    let creating = Sandbox::create(resolved.config.clone());
    tokio::pin!(creating);
    let mut interrupted = None;
    loop {
        tokio::select! {
            created = &mut creating => {
                let mut sandbox = created?;
                return match interrupted {
                    None => Ok(Ok(sandbox)),
                    Some(signal) => {
                        sandbox.destroy().await?;
                        Ok(Err(signal))
                    }
                };
            }
            signal = signals.next() => {
                if interrupted.replace(signal).is_some() {
                    return Ok(Err(signal));
                }
            }
        }
    }
}

/// Destroys the sandbox, or returns the signal that came meanwhile: the kernel ends with kavach
/// what is left by then.
async fn end(sandbox: &mut Sandbox, signals: &mut Signals) -> Result<Option<i32>> {
    tokio::select! {
        biased;
        destroyed = sandbox.destroy() => destroyed.map(|()| None).map_err(Into::into),
        signal = signals.next() => Ok(Some(signal)),
    }
}

/// Waits for the program's end, and passes signals on meanwhile.
async fn watch(
    child: &mut Child,
    streams: &mut Streams,
    signals: &mut Signals,
    kill_at_limit: bool,
) -> Result<(ExecResult, Option<i32>)> {
    let mut interrupted = false;
    loop {
        tokio::select! {
            // An end that has come goes before a signal that came with it.
            biased;
            ended = child.wait() => return Ok((ended?, None)),
            news = streams.news(kill_at_limit) => {
                if let News::Failed(error) = news {
                    child.kill(Duration::ZERO).await?;
                    return Err(error);
                }
                let mut result = child.kill(Duration::ZERO).await?;
                if result.termination == Termination::Killed {
                    result.termination = Termination::OutputExceeded;
                    result.exit_code = result.termination.exit_code();
                }
                return Ok((result, None));
            }
            signal = signals.next() => match signal {
                SIGINT if !interrupted => {
                    interrupted = true;
                    child.signal(SIGINT).await?;
                }
                SIGQUIT => child.signal(SIGQUIT).await?,
                SIGTERM | SIGHUP => {
                    let result = tokio::select! {
                        ended = child.kill(GRACE) => ended?,
                        _ = signals.next() => child.kill(Duration::ZERO).await?,
                    };
                    return Ok((result, Some(signal)));
                }
                _ => return Ok((child.kill(Duration::ZERO).await?, Some(signal))),
            },
        }
    }
}

/// What can happen to the streams.
enum News {
    /// One of them failed on kavach's side.
    Failed(CliError),
    /// More came than is kept.
    Over,
}

/// Resolves a moment after a command that was ended by a limit; never for one that ended by itself,
/// whose output is worth waiting for.
async fn after_a_limit(result: &ExecResult) {
    match result.termination {
        Termination::Exited(_) | Termination::Signaled(_) => std::future::pending().await,
        _ => tokio::time::sleep(READER_PATIENCE).await,
    }
}

/// The tasks that move the program's streams.
struct Streams {
    tasks: JoinHandle<Result<(Kept, Kept)>>,
    stdin: Option<JoinHandle<Result<()>>>,
    drained: Option<Result<(Kept, Kept)>>,
    over: mpsc::Receiver<()>,
}

impl Streams {
    fn start(child: &mut Child, output: Output, limit_kb: u64) -> Self {
        let (tell, over) = mpsc::channel(1);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let limit = usize::try_from(limit_kb.saturating_mul(1024)).unwrap_or(usize::MAX);
        let tasks = tokio::spawn(async move {
            let (Some(out), Some(err)) = (out, err) else {
                return Ok(Default::default());
            };
            match output {
                Output::Passed => {
                    tokio::try_join!(streams::to_stdout(out), streams::to_stderr(err))?;
                    Ok(Default::default())
                }
                Output::Kept => tokio::try_join!(
                    streams::keep(out, limit, tell.clone()),
                    streams::keep(err, limit, tell)
                ),
            }
        });
        let stdin = child
            .stdin
            .take()
            .map(|stdin| tokio::spawn(streams::from_stdin(stdin)));
        Self {
            tasks,
            stdin,
            drained: None,
            over,
        }
    }

    /// Returns when something has to be done about the program. Cancel safe.
    async fn news(&mut self, tell_of_limit: bool) -> News {
        loop {
            tokio::select! {
                done = &mut self.tasks, if self.drained.is_none() => match joined(done) {
                    Err(error) => return News::Failed(error),
                    done => self.drained = Some(done),
                },
                done = finished(&mut self.stdin) => {
                    self.stdin = None;
                    if let Err(error) = done {
                        return News::Failed(error);
                    }
                }
                Some(()) = self.over.recv(), if tell_of_limit => return News::Over,
                // Nothing is left that could happen to the streams.
                else => std::future::pending().await,
            }
        }
    }

    /// What was kept, after the end of the streams. Cancel safe.
    async fn drain(&mut self) -> Result<(Kept, Kept)> {
        match self.drained.take() {
            Some(drained) => drained,
            None => joined((&mut self.tasks).await),
        }
    }
}

async fn finished(task: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    match task {
        Some(task) => joined(task.await),
        None => std::future::pending().await,
    }
}

fn joined<T>(done: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    done.unwrap_or_else(|error| Err(CliError::io("move the program's streams")(error.into())))
}

fn with_output(mut from: ExecResult, out: Kept, err: Kept) -> ExecResult {
    let mut result = ExecResult::new(from.termination, out.bytes, err.bytes, from.duration);
    result.stdout_truncated = out.truncated;
    result.stderr_truncated = err.truncated;
    result.usage = from.usage;
    result.limit_events = std::mem::take(&mut from.limit_events);
    result.denials = std::mem::take(&mut from.denials);
    result.verdict = from.verdict;
    result
}
