//! PID 1 at work: starts commands, passes signals on, reaps, reports.
//!
//! It ends when the control socket closes; with PID 1 the kernel ends every process of the
//! sandbox.

use kavach_proto::{Ended, Kind, SignalRequest, Sink, Step};

use super::channel::{At, Channel, Failed, Frame};
use super::launch::{self, Guest};
use super::sys::{self, ECHILD, EPROTO, Errno, Fd, PollFd, Res, Rusage};

/// Commands at once whose ends are reported. What they start themselves is not counted here.
const MOST: usize = 1024;
const EAGAIN: Errno = Errno(11);

struct Command {
    pid: u32,
    id: u32,
    /// Until its program runs: where the launch's outcome is read.
    told: Option<Fd>,
}

struct Server<'a> {
    channel: &'a Channel,
    guest: &'a Guest<'a>,
    commands: [Option<Command>; MOST],
    /// A SignalAll asked to be told when nothing is left.
    draining: bool,
}

pub(crate) fn run(
    channel: &Channel,
    children: &Fd,
    guest: &Guest<'_>,
) -> Result<core::convert::Infallible, Failed> {
    let mut server = Server {
        channel,
        guest,
        commands: [const { None }; MOST],
        draining: false,
    };
    let mut fds = [PollFd::readable(-1); 2 + MOST];
    loop {
        let (fixed, launching) = fds.split_at_mut(2);
        fixed.copy_from_slice(&[
            PollFd::readable(channel.raw()),
            PollFd::readable(children.0),
        ]);
        let mut count = 2;
        let told = server
            .commands
            .iter()
            .flatten()
            .filter_map(|c| c.told.as_ref());
        for (slot, told) in launching.iter_mut().zip(told) {
            *slot = PollFd::readable(told.0);
            count += 1;
        }
        let waited = fds.get_mut(..count).unwrap_or(&mut []);
        sys::poll(waited).at(Step::SignalFd)?;
        let ready = |at: usize| fds.get(at).is_some_and(PollFd::is_ready);
        let (host, child, launched) = (ready(0), ready(1), (2..count).any(ready));
        if launched {
            server.settle_launches().at(Step::Protocol)?;
        }
        if child {
            // Which children ended is asked below; the event itself says nothing more.
            let mut event = [0u8; 128];
            while matches!(sys::read(children.0, &mut event), Ok(n) if n > 0) {}
            server.reap().at(Step::SignalFd)?;
        }
        if host {
            match channel.receive() {
                Ok(Some(frame)) => server.handle(&frame).at(Step::Protocol)?,
                Ok(None) | Err(_) => server.end(),
            }
        }
    }
}

impl Server<'_> {
    fn handle(&mut self, frame: &Frame) -> Res<()> {
        match frame.kind {
            Kind::Exec => self.exec(frame),
            Kind::Signal => {
                let request = SignalRequest::read(frame.payload()).map_err(|_| EPROTO)?;
                if let Some(running) = self.commands.iter().flatten().find(|r| r.id == frame.id) {
                    // Not yet reaped, so the number is still this process's.
                    let pid = running.pid as i32;
                    // A process that has just ended is no error.
                    let _ = sys::kill(if request.group { -pid } else { pid }, request.signal);
                }
                Ok(())
            }
            Kind::AskPtmx => self.ptmx(frame.id),
            Kind::SignalAll => {
                let request = SignalRequest::read(frame.payload()).map_err(|_| EPROTO)?;
                self.signal_all(request.signal);
                self.draining = true;
                self.reap()
            }
            _ => Err(EPROTO),
        }
    }

    fn exec(&mut self, frame: &Frame) -> Res<()> {
        let id = frame.id;
        let Some(slot) = self.commands.iter_mut().find(|slot| slot.is_none()) else {
            let failed = Failed {
                step: Step::TooMany,
                errno: EAGAIN,
                index: 0,
            };
            return self.channel.send_failure(Kind::LaunchFailed, id, failed);
        };
        match self.guest.launch(frame) {
            Ok((pid, told)) => {
                let told = Some(told);
                *slot = Some(Command { pid, id, told });
                Ok(())
            }
            Err(failed) => self.channel.send_failure(Kind::LaunchFailed, id, failed),
        }
    }

    /// Passes on the way to the terminals of this view. Not opened: that would make one, and the
    /// host shall be the only one who ever has its controlling end.
    fn ptmx(&self, id: u32) -> Res<()> {
        match sys::open(sys::AT_FDCWD, c"/dev/ptmx", sys::O_PATH).at(Step::Terminal) {
            Ok(ptmx) => self.channel.send_descriptor(Kind::Ptmx, id, &ptmx),
            Err(failed) => self.channel.send_failure(Kind::LaunchFailed, id, failed),
        }
    }

    /// Tells the host of every launch whose outcome can be read.
    fn settle_launches(&mut self) -> Res<()> {
        for slot in &mut self.commands {
            let Some(told) = slot.as_ref().and_then(|c| c.told.as_ref()) else {
                continue;
            };
            let mut fd = [PollFd::readable(told.0)];
            if sys::is_ready_now(&mut fd)? {
                settle(self.channel, slot)?;
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> Res<()> {
        loop {
            match sys::wait_any(false) {
                Ok(Some((pid, status, usage))) => self.ended(pid, status, &usage)?,
                Ok(None) => return Ok(()),
                Err(ECHILD) => {
                    if core::mem::take(&mut self.draining) {
                        self.channel.send(Kind::Idle, 0, |_| {})?;
                    }
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn ended(&mut self, pid: u32, status: u32, usage: &Rusage) -> Res<()> {
        let slot = self
            .commands
            .iter_mut()
            .find(|slot| slot.as_ref().is_some_and(|c| c.pid == pid));
        // Anything else is an orphan that PID 1 adopted.
        let Some(slot) = slot else {
            return Ok(());
        };
        // It may have ended before its launch was settled; the outcome is there by now, because
        // the only writer has ended.
        settle(self.channel, slot)?;
        let Some(command) = slot.take() else {
            return Ok(());
        };
        let ended = Ended {
            status,
            user_us: micros(usage.user),
            system_us: micros(usage.system),
            max_rss_kb: usage.max_rss.max(0) as u64,
        };
        self.channel
            .send(Kind::Exited, command.id, |out| ended.write(out))
    }

    fn signal_all(&self, signal: u32) {
        if self.guest.own_pid_namespace() {
            // Every process of the namespace but this one. None left is no error.
            let _ = sys::kill(-1, signal);
            return;
        }
        for command in self.commands.iter().flatten() {
            let _ = sys::kill(-(command.pid as i32), signal);
        }
    }

    /// The host let go. In a pid namespace, ending is enough; on the host itself every
    /// descendant is ended by hand: they are our children or become so when their parents end.
    fn end(&self) -> ! {
        if !self.guest.own_pid_namespace() {
            for _ in 0..1000 {
                self.signal_all(sys::SIGKILL);
                super::reaper::kill_children();
                match sys::wait_any(true) {
                    Err(_) => break,
                    Ok(_) => while matches!(sys::wait_any(false), Ok(Some(_))) {},
                }
            }
        }
        sys::exit(0)
    }
}

/// Tells the host how a launch went, if it was not told yet. A failed one gives up its slot.
fn settle(channel: &Channel, slot: &mut Option<Command>) -> Res<()> {
    let Some(command) = slot else {
        return Ok(());
    };
    let Some(told) = command.told.take() else {
        return Ok(());
    };
    let (pid, id) = (command.pid, command.id);
    match launch::outcome(&told) {
        Ok(()) => channel.send(Kind::Started, id, |out| out.u32(pid)),
        Err(failed) => {
            *slot = None;
            channel.send_failure(Kind::LaunchFailed, id, failed)
        }
    }
}

fn micros(time: [i64; 2]) -> u64 {
    (time[0].max(0) as u64)
        .saturating_mul(1_000_000)
        .saturating_add(time[1].max(0) as u64)
}
