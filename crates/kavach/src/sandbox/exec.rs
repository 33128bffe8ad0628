//! Running a command in a sandbox.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::child::{Child, Streams};
use super::core::{Core, on_supervisor};
use super::stdio::{GuestEnds, pipe_failed, pipes, sources, type_in};
use crate::audit::AuditKind;
use crate::backend::{Guest, Launch};
use crate::command::{Command, Stdin, set_env};
use crate::error::{KavachError, Result};
use crate::lifecycle::SandboxState;
use crate::plan::Resource;
use crate::policy::OnOutput;
use crate::result::{ExecResult, Termination};
use crate::supervise::{Captured, Finished, Master, Source, Watched, capture, started, watch};

/// Kills the command when the caller no longer waits for it.
#[derive(Debug)]
struct CancelOnDrop(Option<watch::Sender<bool>>);

impl CancelOnDrop {
    /// From here on the command lives by its handle.
    fn keep(mut self) -> Option<watch::Sender<bool>> {
        self.0.take()
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.send_replace(true);
        }
    }
}

/// Checks a command and asks the hooks, on the caller's thread. Its number.
fn admit(core: &Core, command: &Command) -> Result<u64> {
    command.validate(&core.spec().environment(core.plan()))?;
    let stdin_is_used = !matches!(command.get_stdin(), Stdin::Empty);
    if stdin_is_used && core.spec().injections().stdin.is_some() {
        return Err(KavachError::SecretUndeliverable {
            name: "the secret for standard input".into(),
            reason: "the command has an input of its own".into(),
        });
    }
    if command.get_pty().is_some() && core.spec().injections().stdin.is_some() {
        return Err(KavachError::SecretUndeliverable {
            name: "the secret for standard input".into(),
            reason: "the command's input is a terminal, which shows what is typed".into(),
        });
    }
    let exec = core.next_exec();
    let argv = command
        .get_argv()
        .iter()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    core.audit().before(AuditKind::Exec { exec, argv })?;
    for event in core.secrets().events(exec) {
        core.audit().before(event)?;
    }
    Ok(exec)
}

pub(super) async fn exec(core: &Arc<Core>, command: Command) -> Result<ExecResult> {
    if matches!(command.get_stdin(), Stdin::Piped) {
        return Err(KavachError::invalid(
            "stdin",
            "a piped input needs somebody who writes to it",
            "bytes, or nothing",
            "use `spawn`, or `stdin_bytes`",
        ));
    }
    let exec = admit(core, &command)?;
    let (cancel, cancelled) = watch::channel(false);
    let guard = CancelOnDrop(Some(cancel));
    let on = core.clone();
    let result = on_supervisor("run a command", async move {
        let result = run(&on, command, cancelled).await;
        // Told from here, so that a command whose caller is gone is told of as well.
        report(&on, exec, &result).await;
        result
    })
    .await;
    drop(guard.keep());
    result
}

/// Tells the hooks of a finished command.
async fn report(core: &Core, exec: u64, result: &Result<ExecResult>) {
    let mut events = Vec::new();
    match result {
        Ok(result) => {
            for limit in &result.limit_events {
                events.push(AuditKind::Limit {
                    exec,
                    limit: limit.clone(),
                });
            }
            for denial in &result.denials {
                events.push(AuditKind::Denied {
                    exec,
                    denial: denial.clone(),
                });
            }
            events.push(AuditKind::Verdict {
                exec,
                verdict: result.verdict.clone(),
            });
            events.push(AuditKind::ExecEnded {
                exec,
                termination: result.termination,
            });
        }
        Err(e) => events.push(AuditKind::ExecFailed {
            exec,
            code: e.code(),
        }),
    }
    core.audit().after_elsewhere(events).await;
}

/// On the supervisor thread: start, capture, watch.
async fn run(
    core: &Core,
    command: Command,
    cancelled: watch::Receiver<bool>,
) -> Result<ExecResult> {
    let (guest_ends, host_ends) = pipes(core, &command)?;
    let limit = core.plan().output_limit_bytes;
    let (ended, end) = watch::channel(false);
    let (over, too_much) = watch::channel(false);
    let mut w = watched(core, &command, too_much, cancelled);
    let (guest, terminal) = match launch(core, &command, guest_ends, &mut w).await? {
        Ok(launched) => launched,
        Err(termination) => {
            let elapsed = w.clock.elapsed();
            return Ok(ExecResult::new(
                termination,
                Vec::new(),
                Vec::new(),
                elapsed,
            ));
        }
    };
    let (out, err) = match sources(host_ends, terminal, &command, &end) {
        Ok(sources) => sources,
        Err(e) => {
            // Nobody would take its output or hold it to its limits.
            let _ = guest.kill().await;
            return Err(e);
        }
    };
    // A program may close its terminal before it ends. Were this end closed then, too, the program
    // would be ended by the hang-up.
    let terminal = match &out {
        Some(Source::Terminal(master)) => Some(master.clone()),
        _ => None,
    };
    let captured = |from: Source| tokio::spawn(capture(from, limit, end.clone(), over.clone()));
    let (out, err) = (out.map(captured), err.map(captured));
    let finished = watch(&*guest, w, || core.end_of_a_command()).await;
    drop(terminal);
    ended.send_replace(true);
    let (out, err) = (taken(out).await?, taken(err).await?);
    release_later(guest);
    Ok(result(finished?, out, err))
}

/// Gives back what the command had for itself, while its caller already has the result. The end
/// of the sandbox does not wait for it: it removes all there is.
fn release_later(guest: Arc<dyn Guest>) {
    tokio::spawn(async move { guest.release().await });
}

async fn taken(task: Option<tokio::task::JoinHandle<Captured>>) -> Result<Captured> {
    let Some(task) = task else {
        return Ok(Captured::default());
    };
    task.await.map_err(|_| KavachError::SandboxGone {
        act: "read its output",
    })
}

fn result(finished: Finished, out: Captured, err: Captured) -> ExecResult {
    let mut result = ExecResult::new(
        finished.termination,
        out.bytes,
        err.bytes,
        finished.duration,
    );
    result.stdout_truncated = out.truncated;
    result.stderr_truncated = err.truncated;
    result.usage = finished.usage;
    result.usage.wall = finished.duration;
    result.limit_events = finished.limit_events;
    result
}

/// What a command is watched for. Its time begins here.
fn watched(
    core: &Core,
    command: &Command,
    too_much_output: watch::Receiver<bool>,
    cancelled: watch::Receiver<bool>,
) -> Watched {
    let plan = core.plan();
    // A command's own limit replaces the sandbox's; 0 is none.
    let wall = command
        .get_timeout_ms()
        .or(plan.wall_limit_ms)
        .filter(|ms| *ms > 0);
    let by_rlimit = |r| plan.rlimits.iter().any(|limit| limit.resource == r);
    // Only a policy that wants it ends a command for its output.
    let too_much_output = match plan.on_output {
        OnOutput::Kill => too_much_output,
        _ => watch::channel(false).1,
    };
    Watched {
        clock: core.clock().start(),
        wall: wall.map(Duration::from_millis),
        too_much_output,
        cancelled,
        // Also beside a cgroup: the kernel's signal may come before the supervisor's look.
        cpu_by_rlimit: by_rlimit(Resource::Cpu),
        file_size: by_rlimit(Resource::FileSize),
    }
}

/// A guest and the controlling end of its terminal, or what ended the command before its program
/// ran.
type Launched = std::result::Result<(Arc<dyn Guest>, Option<OwnedFd>), Termination>;

async fn launch(
    core: &Core,
    command: &Command,
    stdio: GuestEnds,
    w: &mut Watched,
) -> Result<Launched> {
    let (extra, secret_env) = core.secrets().give(core.spec()).map_err(pipe_failed)?;
    let mut env = core.spec().environment(core.plan());
    for (name, value) in command.get_env() {
        set_env(&mut env, name.clone(), value.clone());
    }
    let is_secret = |name: &[u8]| {
        secret_env
            .iter()
            .any(|var| var.strip_prefix(name).is_some_and(|v| v.starts_with(b"=")))
    };
    let mut vars: Vec<Zeroizing<Vec<u8>>> = Vec::with_capacity(env.len() + secret_env.len());
    for (name, value) in env {
        if !is_secret(name.as_bytes()) {
            let mut var = name.into_vec();
            var.push(b'=');
            var.extend_from_slice(value.as_bytes());
            vars.push(Zeroizing::new(var));
        }
    }
    vars.extend(secret_env);
    let cwd = command
        .get_cwd()
        .unwrap_or(&core.plan().identity.cwd)
        .to_owned();
    // The turn is given back before the launch: a launch that hangs must keep nobody from pausing
    // or ending the sandbox. One that comes after a pause has begun waits in the frozen group.
    drop(core.running("run a command").await?);
    // The end of the sandbox meanwhile may be the command's own.
    let ended_by = |e| match e {
        KavachError::AgentDied { .. } => core.end_of_a_command(),
        e => Err(e),
    };
    let terminal = match command.get_pty() {
        None => None,
        Some(size) => match started(core.instance().terminals()?.open(size), w).await {
            Ok(Ok(terminal)) => Some(terminal),
            Ok(Err(termination)) => return Ok(Err(termination)),
            Err(e) => return ended_by(e).map(Err),
        },
    };
    let (master, slave) = terminal.map(|t| (t.master, t.slave)).unzip();
    let mut fds = stdio.numbered(slave.as_ref())?;
    fds.extend(extra);
    let mut launch = Launch::new(command.get_argv().to_vec(), vars, cwd, fds);
    launch.terminal = slave.is_some();
    // From here on the command alone has it: its end is the terminal's.
    drop(slave);
    match started(core.instance().launch(launch), w).await {
        Ok(launched) => Ok(launched.map(|guest| (guest, master))),
        Err(e) => ended_by(e).map(Err),
    }
}

pub(super) async fn spawn(core: &Arc<Core>, command: Command) -> Result<Child> {
    let exec = admit(core, &command)?;
    let (cancel, cancelled) = watch::channel(false);
    let guard = CancelOnDrop(Some(cancel));
    let on = core.clone();
    let started = on_supervisor("start a command", async move {
        let never = watch::channel(false).1;
        let mut w = watched(&on, &command, never, cancelled);
        let launched = launch_streaming(&on, &command, &mut w).await;
        let (guest, streams) = match launched {
            Ok(launched) => launched,
            Err(e) => {
                let failed = AuditKind::ExecFailed {
                    exec,
                    code: e.code(),
                };
                on.audit().after_elsewhere(vec![failed]).await;
                return Err(e);
            }
        };
        let (done, finished) = watch::channel(None);
        let (ended, end) = watch::channel(false);
        let watching = guest.clone();
        tokio::spawn(async move {
            let finished = watch(&*watching, w, || on.end_of_a_command()).await;
            ended.send_replace(true);
            let result = finished.map(|f| result(f, Captured::default(), Captured::default()));
            report(&on, exec, &result).await;
            done.send_replace(Some(result));
            watching.release().await;
        });
        if let Some(terminal) = &streams.terminal {
            let own = terminal.try_clone().and_then(Master::new);
            type_in(own.map_err(pipe_failed)?, command.get_stdin(), end);
        }
        Ok((guest, streams, finished))
    });
    let (guest, streams, finished) = started.await?;
    let child = Child::new(guest, streams, finished)?;
    Ok(child.cancelled_by(guard.keep()))
}

/// On the supervisor thread: starts a command whose streams are the caller's.
async fn launch_streaming(
    core: &Core,
    command: &Command,
    w: &mut Watched,
) -> Result<(Arc<dyn Guest>, Streams)> {
    let (guest_ends, host_ends) = pipes(core, command)?;
    let launched = launch(core, command, guest_ends, w).await?;
    if launched.is_err() && core.instance().was_killed() {
        // Or its state would still be another than the one that the error names.
        core.ended_by_itself().await;
    }
    let (guest, terminal) = launched.map_err(|termination| match termination {
        // By the end of the sandbox, or by a caller who no longer waits for this answer.
        Termination::Killed => KavachError::NotRunning {
            state: SandboxState::Stopped,
            act: "start a command",
        },
        other => KavachError::Setup {
            step: "start a command".into(),
            on: command.get_program().to_string_lossy().into_owned(),
            source: io::Error::new(io::ErrorKind::TimedOut, other.to_string()),
            fix: Some("another process of the sandbox may have stopped it".into()),
        },
    })?;
    let types = matches!(command.get_stdin(), Stdin::Piped);
    let streams = Streams {
        pipes: host_ends,
        terminal,
        types,
    };
    Ok((guest, streams))
}
