//! PID 1 at work: starts commands, passes signals on, reaps, reports.
//!
//! It ends when the control socket closes; with PID 1 the kernel ends every process of the
//! sandbox.

use kavach_proto::{Ended, Kind, SignalRequest, Sink, Step};

use super::channel::{At, Channel, Failed, Frame};
use super::launch::Guest;
use super::sys::{self, ECHILD, EPROTO, Errno, Fd, Res, Rusage};

/// Commands at once whose ends are reported. What they start themselves is not counted here.
const MOST: usize = 1024;
const EAGAIN: Errno = Errno(11);

#[derive(Clone, Copy)]
struct Running {
    pid: u32,
    id: u32,
}

struct Server<'a> {
    channel: &'a Channel,
    guest: &'a Guest<'a>,
    running: [Option<Running>; MOST],
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
        running: [None; MOST],
        draining: false,
    };
    loop {
        let (host, child) = sys::poll2(channel.raw(), children.0).at(Step::SignalFd)?;
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
                if let Some(running) = self.running.iter().flatten().find(|r| r.id == frame.id) {
                    // Not yet reaped, so the number is still this process's.
                    let pid = running.pid as i32;
                    // A process that has just ended is no error.
                    let _ = sys::kill(if request.group { -pid } else { pid }, request.signal);
                }
                Ok(())
            }
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
        let Some(slot) = self.running.iter_mut().find(|slot| slot.is_none()) else {
            let failed = Failed {
                step: Step::TooMany,
                errno: EAGAIN,
                index: 0,
            };
            return self.channel.send_failure(Kind::LaunchFailed, id, failed);
        };
        match self.guest.launch(frame) {
            Ok(pid) => {
                *slot = Some(Running { pid, id });
                self.channel.send(Kind::Started, id, |out| out.u32(pid))
            }
            Err(failed) => self.channel.send_failure(Kind::LaunchFailed, id, failed),
        }
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
            .running
            .iter_mut()
            .find(|slot| slot.is_some_and(|r| r.pid == pid));
        // Anything else is an orphan that PID 1 adopted, or the failed start of a command.
        let Some(running) = slot.and_then(Option::take) else {
            return Ok(());
        };
        let ended = Ended {
            status,
            user_us: micros(usage.user),
            system_us: micros(usage.system),
            max_rss_kb: usage.max_rss.max(0) as u64,
        };
        self.channel
            .send(Kind::Exited, running.id, |out| ended.write(out))
    }

    fn signal_all(&self, signal: u32) {
        if self.guest.own_pid_namespace() {
            // Every process of the namespace but this one. None left is no error.
            let _ = sys::kill(-1, signal);
            return;
        }
        for running in self.running.iter().flatten() {
            let _ = sys::kill(-(running.pid as i32), signal);
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

fn micros(time: [i64; 2]) -> u64 {
    (time[0].max(0) as u64)
        .saturating_mul(1_000_000)
        .saturating_add(time[1].max(0) as u64)
}
