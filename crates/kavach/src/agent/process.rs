//! Starting an agent as a child of this process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use kavach_proto::{Failure, Kind, Step};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::children::{HeldChild, sweep_later};
use super::connection::{self, Frame, broken};
use super::image::image;
use super::link::{Agent, gone};
use crate::error::{KavachError, Result};

/// A sandbox that is built and waits: a process with every restriction of a guest can be looked
/// at before any guest runs.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    pid: Pid,
    first: First,
    rehearsing: Option<Pid>,
    /// What the agent passed as the upper directory of the workspace.
    upper: Option<OwnedFd>,
}

/// The first process of a sandbox that nobody watches yet. Dropped, it is killed; [`sweep_later`]
/// takes its status.
#[derive(Debug)]
struct First(Option<OwnedFd>);

impl First {
    fn keep(mut self) -> Option<OwnedFd> {
        self.0.take()
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(pidfd) = self.0.take() {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

/// How long a sandbox may take to be built. It takes milliseconds; a mount source on a file system
/// that does not answer takes for ever.
const SETUP_PATIENCE: Duration = Duration::from_secs(30);

/// Starts an agent and has it build the sandbox of `setup`.
///
/// `kept` travel with the setup; the sandbox's first process keeps them open. `groups` makes the
/// control groups that it enters, while it starts. `describe` names the subject of a step that
/// failed.
///
/// Must run on the supervisor thread: the kernel ties the sandbox's life to it.
pub(crate) async fn start(
    title: &str,
    setup: &[u8],
    kept: &[BorrowedFd<'_>],
    groups: impl FnOnce() -> Result<Vec<OwnedFd>>,
    describe: impl Fn(&Failure) -> (String, Option<String>),
) -> Result<Rehearsal> {
    let (stream, mut child) = spawn(title)?;
    let first = child.id();
    let building = build(stream, first, (setup, kept), groups, describe);
    let built = match tokio::time::timeout(SETUP_PATIENCE, building).await {
        Ok(built) => built,
        Err(_) => Err(KavachError::Setup {
            step: "build the sandbox".into(),
            on: format!("the agent, within {} s", SETUP_PATIENCE.as_secs()),
            source: io::ErrorKind::TimedOut.into(),
            fix: Some("a path that is shown may be on a file system that does not answer".into()),
        }),
    };
    match built {
        Ok((rehearsal, separate)) => {
            if separate {
                // Stage one ended after it announced PID 1; this takes its status.
                let _ = child.wait();
            }
            Ok(rehearsal)
        }
        Err(e) => {
            // PID 1, if there is one, ends with the connection and with stage one.
            child.end();
            sweep_later();
            Err(e)
        }
    }
}

fn spawn(title: &str) -> Result<(UnixStream, HeldChild)> {
    let failed = |on: &str, source: io::Error| KavachError::Setup {
        step: "start the agent".into(),
        on: on.into(),
        source,
        fix: Some("check the limits on processes and open files, and that /proc is mounted".into()),
    };
    let (ours, theirs) =
        std::os::unix::net::UnixStream::pair().map_err(|e| failed("a socket pair", e))?;
    ours.set_nonblocking(true)
        .map_err(|e| failed("a socket pair", e))?;
    let path = format!("/proc/self/fd/{}", image()?.as_raw_fd());
    // Without pre_exec, uid or gid std uses posix_spawn, which has vfork semantics: neither the
    // memory nor the page tables of the host application are copied.
    // Before there is a child, which nobody would wait for if this failed.
    let stream = UnixStream::from_std(ours).map_err(|e| failed("a socket pair", e))?;
    let child = Command::new(&path)
        .arg0(title)
        .arg("jail")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(&path, e))?;
    Ok((stream, HeldChild::new(child)))
}

async fn build(
    stream: UnixStream,
    first: u32,
    (setup, kept): (&[u8], &[BorrowedFd<'_>]),
    groups: impl FnOnce() -> Result<Vec<OwnedFd>>,
    describe: impl Fn(&Failure) -> (String, Option<String>),
) -> Result<(Rehearsal, bool)> {
    let (mut reader, mut writer) = stream.into_split();
    let unsent = |e: io::Error| broken(format_args!("the setup could not be sent: {e}"));
    connection::send(&mut writer, Kind::Setup, 0, setup, kept)
        .await
        .map_err(unsent)?;
    let groups = groups()?;
    let entries: Vec<_> = groups.iter().map(AsFd::as_fd).collect();
    // An agent that failed meanwhile has said why, which is read below.
    let joined = connection::send(&mut writer, Kind::Join, 0, &[], &entries).await;
    drop(groups);

    let announced = expect(&mut reader, Kind::Cloned, &describe)
        .await
        .map_err(|e| match (joined, e) {
            (Err(unsent_groups), KavachError::AgentDied { .. }) => unsent(unsent_groups),
            (_, e) => e,
        })?
        .number()?;
    let pid = i32::try_from(announced)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| broken(format_args!("announced pid {announced}")))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| KavachError::Setup {
        step: "hold on to the sandbox's first process".into(),
        on: format!("pid {announced}"),
        source: e.into(),
        fix: None,
    })?;
    let mut rehearsal = Rehearsal {
        reader,
        writer,
        pid,
        first: First(Some(pidfd)),
        rehearsing: None,
        upper: None,
    };
    match waiting(&mut rehearsal, &describe).await {
        Ok(_) => {
            rehearsal.rehearsing = only_child(pid);
            Ok((rehearsal, announced != first))
        }
        Err(e) => {
            rehearsal.abandon();
            Err(e)
        }
    }
}

/// Returns once the rehearsing process waits.
async fn waiting(
    rehearsal: &mut Rehearsal,
    describe: &impl Fn(&Failure) -> (String, Option<String>),
) -> Result<u32> {
    let mut frame = next(&mut rehearsal.reader, describe).await?;
    if let Some(Frame {
        kind: Kind::Upper,
        fd: Some(upper),
        ..
    }) = frame
    {
        rehearsal.upper = Some(upper);
        frame = next(&mut rehearsal.reader, describe).await?;
    }
    due(frame, Kind::Rehearsing)?.number()
}

async fn expect(
    reader: &mut OwnedReadHalf,
    kind: Kind,
    describe: &impl Fn(&Failure) -> (String, Option<String>),
) -> Result<Frame> {
    due(next(reader, describe).await?, kind)
}

/// The next frame; a failure of the setup is the error that it tells of.
async fn next(
    reader: &mut OwnedReadHalf,
    describe: &impl Fn(&Failure) -> (String, Option<String>),
) -> Result<Option<Frame>> {
    match connection::receive(reader).await? {
        Some(frame) if frame.kind == Kind::SetupFailed => {
            let failure =
                Failure::read(&frame.payload).map_err(|e| broken(format_args!("{e:?}")))?;
            let (on, fix) = describe(&failure);
            Err(KavachError::Setup {
                step: Step::from_number(failure.step)
                    .map_or("an unknown step", Step::text)
                    .into(),
                on,
                source: io::Error::from_raw_os_error(failure.errno.cast_signed()),
                fix,
            })
        }
        frame => Ok(frame),
    }
}

fn due(frame: Option<Frame>, kind: Kind) -> Result<Frame> {
    match frame {
        Some(frame) if frame.kind == kind => Ok(frame),
        Some(frame) => Err(broken(format_args!(
            "said {:?} where {kind:?} was due",
            frame.kind
        ))),
        None => Err(KavachError::AgentDied {
            how: format!("before it said {kind:?}"),
        }),
    }
}

/// The one child of a process, from the kernel and not from the agent.
fn only_child(of: Pid) -> Option<Pid> {
    let pid = of.as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let mut pids = list.split_ascii_whitespace();
    let first = pids.next()?.parse().ok().and_then(Pid::from_raw)?;
    pids.next().is_none().then_some(first)
}

impl Rehearsal {
    /// PID 1 of the sandbox, as the host sees it.
    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// The process that waits with every restriction of a guest, as the host sees it.
    pub(crate) const fn rehearsing(&self) -> Option<Pid> {
        self.rehearsing
    }

    /// What the agent passed as the upper directory of the workspace: nothing is known of it but
    /// that it is a descriptor.
    pub(crate) const fn take_upper(&mut self) -> Option<OwnedFd> {
        self.upper.take()
    }

    /// Ends the rehearsal; the agent serves from now on. That it does so is not waited for: it
    /// reads the first command when it is ready, and its end is seen like any later one.
    pub(crate) async fn finish(mut self) -> Result<Agent> {
        let released = connection::send(&mut self.writer, Kind::Continue, 0, &[], &[])
            .await
            .map_err(|e| broken(format_args!("the rehearsal could not be ended: {e}")));
        match released {
            Ok(()) => match self.first.keep() {
                Some(pidfd) => Agent::new(self.reader, self.writer, self.pid, pidfd),
                None => Err(broken(format_args!("its first process was given away"))),
            },
            Err(e) => {
                self.abandon();
                Err(e)
            }
        }
    }

    /// Kills what was built and takes its status.
    pub(crate) fn abandon(self) {
        drop(self.writer);
        drop(self.reader);
        if let Some(pidfd) = self.first.keep() {
            gone(&pidfd);
        }
    }
}
