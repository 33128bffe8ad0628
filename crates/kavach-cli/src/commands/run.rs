//! One command in a sandbox of its own, with signals and streams.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use kavach::policy::OnOutput;
use kavach::{Child, Command, ExecResult, PtySize, Sandbox, SandboxState, Termination};

use super::moving::{News, Streams};
use super::workspace::{self, Wish};
use crate::cli::OutputArgs;
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::host_limits;
use crate::progress::Progress;
use crate::resolve::Resolved;
use crate::signals::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH, Signals};
use crate::streams::Kept;
use crate::tty::{self, UserTerminal};

/// How long a program may take to end after SIGTERM or SIGHUP.
const GRACE: Duration = Duration::from_secs(5);
/// How long the reader of the output of a program that a limit ended may take to take the rest.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// What becomes of the program's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// It goes to kavach's own, as it comes and without limit.
    Passed {
        /// The program gets a terminal of its own.
        terminal: bool,
        /// Every escape sequence passes.
        unfiltered: bool,
    },
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
    /// What became of the workspace.
    pub(crate) workspace: Option<workspace::Outcome>,
}

impl Finished {
    pub(crate) fn exit_code(&self) -> u8 {
        let code = self.signal.map_or_else(
            || exit_code::of_end(self.result.termination),
            exit_code::of_signal,
        );
        let workspace = self.workspace.as_ref();
        // The program did its part, and kavach not all of its own.
        match workspace.is_some_and(workspace::Outcome::is_incomplete) {
            true if code == exit_code::OK => exit_code::FAILED,
            _ => code,
        }
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
pub(crate) async fn run(
    resolved: &Resolved,
    command: Command,
    output: Output,
    how: OutputArgs,
    wish: Option<&Wish>,
) -> Result<Outcome> {
    let has_terminal = matches!(output, Output::Passed { terminal: true, .. });
    let mut signals = Signals::listen(has_terminal)?;
    let progress = Progress::start(how, "building the sandbox");
    let mut sandbox = match create(resolved, &mut signals).await? {
        Ok(sandbox) => sandbox,
        Err(signal) => return Ok(Outcome::Interrupted(signal)),
    };
    drop(progress);
    sandbox.transition(SandboxState::Running)?;
    // Before the program runs: in a background job kavach is stopped here until it is resumed.
    let terminal = has_terminal.then(UserTerminal::take).transpose()?;
    let command = match terminal {
        Some(_) => with_terminal(command, resolved),
        None => command,
    };
    let progress = Progress::start(how, "starting the program");
    let mut child = tokio::select! {
        biased;
        started = sandbox.spawn(command.stdin_piped()) => started?,
        // There is no program yet that a signal could go to, and the start itself may hang: on a
        // file system that does not answer, for instance.
        signal = signals.next_end() => {
            end(&mut sandbox, &mut signals).await?;
            return Ok(Outcome::Interrupted(signal));
        }
    };
    if let Some(terminal) = &terminal {
        terminal.pass_every_key()?;
    }
    // Gone before the first byte of the program's.
    drop(progress);

    let limits = &resolved.config.policy().limits;
    let mut streams = Streams::start(&mut child, output, terminal.as_ref(), limits.output_kb);
    let kill_at_limit = output == Output::Kept && limits.on_output == OnOutput::Kill;
    let mut watching = Watching {
        signals: &mut signals,
        terminal: terminal.as_ref(),
        kill_at_limit,
    };
    let (mut result, signal) = match watching.until_it_ends(&mut child, &mut streams).await {
        Ok(ended) => ended,
        Err(error) => {
            // What the program wrote goes before the error, and before its screen is undone.
            let _ = sandbox.destroy().await;
            let _ = tokio::time::timeout(READER_PATIENCE, streams.drain()).await;
            return Err(error);
        }
    };

    // On the program's terminal it would stand among what the program wrote.
    let progress = (wish.is_some() && terminal.is_none())
        .then(|| Progress::start(how, "going through the workspace's changes"));
    let workspace = match wish {
        Some(wish) => tokio::select! {
            biased;
            done = wish.fulfil(&mut sandbox, result.termination, signal.is_some()) => done,
            signal = signals.next_end() => {
                // Ends an apply between two files.
                sandbox.destroy().await?;
                return Ok(Outcome::Interrupted(signal));
            }
        },
        None => Ok(None),
    };
    drop(progress);
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
        signal = signals.next_end() => return Ok(Outcome::Interrupted(signal)),
    };
    if output == Output::Kept {
        result = with_output(result, out, err);
    }
    Ok(Outcome::Ended(Box::new(Finished {
        result,
        sandbox,
        signal,
        workspace: workspace?,
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
            signal = signals.next_end() => {
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
        signal = signals.next_end() => Ok(Some(signal)),
    }
}

/// The command with a terminal like the user's.
fn with_terminal(mut command: Command, resolved: &Resolved) -> Command {
    command = command.pty(tty::size());
    // Redirected, it goes where it was sent.
    if !io::stderr().is_terminal() {
        command = command.stderr_apart();
    }
    let given = resolved.config.env().iter().any(|(name, _)| name == "TERM");
    match std::env::var_os("TERM") {
        Some(term) if !given && !term.is_empty() => command.env("TERM", term),
        _ => command,
    }
}

/// What is listened to while the program runs.
struct Watching<'a> {
    signals: &'a mut Signals,
    terminal: Option<&'a UserTerminal>,
    kill_at_limit: bool,
}

impl Watching<'_> {
    /// Waits for the program's end, and passes signals on meanwhile.
    async fn until_it_ends(
        &mut self,
        child: &mut Child,
        streams: &mut Streams,
    ) -> Result<(ExecResult, Option<i32>)> {
        let mut interrupted = false;
        // It may have changed since it was asked for.
        self.fit(child)?;
        loop {
            tokio::select! {
                // An end that has come goes before a signal that came with it.
                biased;
                ended = child.wait() => return Ok((ended?, None)),
                news = streams.news(self.kill_at_limit) => return told(news, child).await,
                signal = self.signals.next() => match signal {
                    SIGINT if !interrupted => {
                        interrupted = true;
                        child.signal(SIGINT).await?;
                    }
                    SIGQUIT => child.signal(SIGQUIT).await?,
                    SIGTERM | SIGHUP => {
                        let result = tokio::select! {
                            ended = child.kill(GRACE) => ended?,
                            _ = self.signals.next_end() => child.kill(Duration::ZERO).await?,
                        };
                        return Ok((result, Some(signal)));
                    }
                    SIGWINCH => self.fit(child)?,
                    SIGTSTP => self.terminal.into_iter().for_each(UserTerminal::suspend),
                    SIGCONT => self.resume(child)?,
                    _ => return Ok((child.kill(Duration::ZERO).await?, Some(signal))),
                },
            }
        }
    }

    /// Gives the program's terminal the size of the user's.
    fn fit(&self, child: &Child) -> Result<()> {
        match self.terminal {
            Some(_) => Ok(child.resize(tty::size())?),
            None => Ok(()),
        }
    }

    /// After a stop: the shell has drawn over the program's screen.
    fn resume(&self, child: &Child) -> Result<()> {
        let Some(terminal) = self.terminal else {
            return Ok(());
        };
        terminal.resume();
        // A change of size is what makes programs draw anew; none to the same size is told.
        let PtySize { rows, cols } = tty::size();
        child.resize(PtySize::new(rows, cols.saturating_add(1)))?;
        self.fit(child)
    }
}

/// Ends a program whose streams have given a reason to.
async fn told(news: News, child: &mut Child) -> Result<(ExecResult, Option<i32>)> {
    if matches!(news, News::HungUp) {
        child.signal(SIGHUP).await?;
        return Ok((child.kill(GRACE).await?, None));
    }
    let mut result = child.kill(Duration::ZERO).await?;
    match news {
        News::Failed(error) => return Err(error),
        News::Over if result.termination == Termination::Killed => {
            result.termination = Termination::OutputExceeded;
            result.exit_code = result.termination.exit_code();
        }
        News::Over | News::WayOut | News::HungUp => {}
    }
    Ok((result, None))
}

/// Resolves a moment after a command that was ended by a limit; never for one that ended by itself,
/// whose output is worth waiting for.
async fn after_a_limit(result: &ExecResult) {
    match result.termination {
        Termination::Exited(_) | Termination::Signaled(_) => std::future::pending().await,
        _ => tokio::time::sleep(READER_PATIENCE).await,
    }
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
