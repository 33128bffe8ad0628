//! Frames over the control socket.

use kavach_proto::{Failure, Fixed, HEADER_LEN, Header, Kind, MAX_FDS, Sink, Step};

use super::sys::{self, EPIPE, EPROTO, Errno, Fd, Received, Region, Res};

/// The control socket. Always above the standard descriptors.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: Fd,
}

/// A frame from the host.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) id: u32,
    payload: Region,
    len: usize,
    pub(crate) fds: Received<MAX_FDS>,
}

impl Frame {
    pub(crate) fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or(&[])
    }
}

/// A step that did not succeed: ends the setup or the launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    pub(crate) step: Step,
    pub(crate) errno: Errno,
    pub(crate) index: u32,
}

/// Names the step of an error.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, Failed>;
    fn at_index(self, step: Step, index: usize) -> Result<T, Failed>;
}

impl<T> At<T> for Res<T> {
    fn at(self, step: Step) -> Result<T, Failed> {
        self.at_index(step, 0)
    }

    fn at_index(self, step: Step, index: usize) -> Result<T, Failed> {
        self.map_err(|errno| Failed {
            step,
            errno,
            index: index as u32,
        })
    }
}

impl Channel {
    /// Takes the socket from descriptor 0, closes everything else that came along, and puts
    /// /dev/null in the standard places.
    pub(crate) fn from_stdin() -> Res<Self> {
        sys::close_above(3)?;
        let fd = Fd(sys::dup_above(0, 3)?);
        let null = sys::open(sys::AT_FDCWD, c"/dev/null", sys::O_RDWR)?;
        for standard in 0..=2 {
            sys::dup_to(null.0, standard)?;
        }
        Ok(Self { fd })
    }

    pub(crate) const fn raw(&self) -> i32 {
        self.fd.0
    }

    /// The next frame, or None when the host is gone.
    pub(crate) fn receive(&self) -> Res<Option<Frame>> {
        let mut raw = [0u8; HEADER_LEN];
        let (mut have, fds) = sys::receive::<MAX_FDS>(self.fd.0, &mut raw)?;
        if have == 0 {
            return Ok(None);
        }
        while have < HEADER_LEN {
            have += match sys::read(self.fd.0, raw.get_mut(have..).ok_or(EPROTO)?)? {
                0 => return Err(EPIPE),
                n => n,
            };
        }
        let header = Header::decode(raw, false).map_err(|_| EPROTO)?;
        if fds.as_slice().len() != header.fds as usize {
            return Err(EPROTO);
        }
        let len = header.len as usize;
        let mut payload = Region::new(len)?;
        let mut at = 0;
        while at < len {
            at += match sys::read(self.fd.0, payload.as_mut().get_mut(at..len).ok_or(EPROTO)?)? {
                0 => return Err(EPIPE),
                n => n,
            };
        }
        Ok(Some(Frame {
            kind: header.kind,
            id: header.id,
            payload,
            len,
            fds,
        }))
    }

    /// Sends a small frame whole.
    pub(crate) fn send(&self, kind: Kind, id: u32, body: impl FnOnce(&mut Fixed<64>)) -> Res<()> {
        let mut payload = Fixed::<64>::new();
        body(&mut payload);
        let payload = payload.as_bytes();
        let mut frame = Fixed::<{ 64 + HEADER_LEN }>::new();
        frame.put(&Header::new(kind, id, payload.len() as u32).encode());
        frame.put(payload);
        let mut rest = frame.as_bytes();
        while !rest.is_empty() {
            let n = sys::send(self.fd.0, rest)?;
            rest = rest.get(n..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// Sends a frame without payload and one descriptor.
    pub(crate) fn send_descriptor(&self, kind: Kind, id: u32, passed: &Fd) -> Res<()> {
        let mut header = Header::new(kind, id, 0);
        header.fds = 1;
        let frame = header.encode();
        let mut sent = sys::send_descriptor(self.fd.0, &frame, passed)?;
        // The descriptor went with the first byte.
        while let Some(rest @ [_, ..]) = frame.get(sent..) {
            sent += sys::send(self.fd.0, rest)?;
        }
        Ok(())
    }

    pub(crate) fn send_failure(&self, kind: Kind, id: u32, failed: Failed) -> Res<()> {
        let failure = Failure {
            step: failed.step as u16,
            errno: failed.errno.0,
            index: failed.index,
        };
        self.send(kind, id, |out| failure.write(out))
    }
}
