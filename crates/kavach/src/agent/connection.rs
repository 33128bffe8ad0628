//! Frames over a Unix socket, on the supervisor thread.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kavach_proto::{HEADER_LEN, Header, Kind, MAX_FDS};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::error::{KavachError, Result};

/// A frame from an agent.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) id: u32,
    pub(super) payload: Vec<u8>,
    /// What came with it: nothing is known of it but that it is a descriptor.
    pub(super) fd: Option<OwnedFd>,
}

impl Frame {
    /// The payload of a frame that carries one number.
    pub(super) fn number(&self) -> Result<u32> {
        let mut reader = kavach_proto::Reader::new(&self.payload);
        let number = reader.u32().map_err(|e| broken(format_args!("{e:?}")))?;
        reader.end().map_err(|e| broken(format_args!("{e:?}")))?;
        Ok(number)
    }
}

pub(super) fn broken(what: std::fmt::Arguments<'_>) -> KavachError {
    KavachError::Agent {
        problem: what.to_string(),
    }
}

/// The next frame; `None` when the agent is gone.
pub(super) async fn receive(from: &mut OwnedReadHalf) -> Result<Option<Frame>> {
    let mut raw = [0; HEADER_LEN];
    let mut fd = None;
    let mut have = 0;
    while let Some(rest @ [_, ..]) = raw.get_mut(have..) {
        match receive_some(from, rest, &mut fd).await {
            Ok(0) => return Ok(None),
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(broken(format_args!("its socket failed: {e}"))),
        }
    }
    let header = Header::decode(raw, true).map_err(|e| broken(format_args!("{e:?}")))?;
    if fd.is_some() != (header.fds == 1) {
        return Err(broken(format_args!(
            "{:?} came without its descriptor, or with another's",
            header.kind
        )));
    }
    // Bounded by the header's check.
    let mut payload = vec![0; header.len as usize];
    match from.read_exact(&mut payload).await {
        Ok(_) => Ok(Some(Frame {
            kind: header.kind,
            id: header.id,
            payload,
            fd,
        })),
        Err(e) => Err(broken(format_args!("a frame was cut short: {e}"))),
    }
}

/// Some bytes of a header, and the descriptor beside them. More than one is an error; a
/// descriptor beside a payload is closed by the kernel, as nobody takes it there.
async fn receive_some(
    from: &OwnedReadHalf,
    buf: &mut [u8],
    fd: &mut Option<OwnedFd>,
) -> io::Result<usize> {
    let stream = from.as_ref();
    stream
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let got = retry_on_intr(|| {
                recvmsg(
                    stream.as_fd(),
                    &mut [IoSliceMut::new(buf)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )
            })?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    for more in fds {
                        if fd.replace(more).is_some() {
                            return Err(io::ErrorKind::InvalidData.into());
                        }
                    }
                }
            }
            if got.flags.contains(ReturnFlags::CTRUNC) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(got.bytes)
        })
        .await
}

/// Sends one frame whole. The caller serialises calls.
pub(super) async fn send(
    to: &mut OwnedWriteHalf,
    kind: Kind,
    id: u32,
    payload: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let (Ok(len), Ok(count)) = (u32::try_from(payload.len()), u8::try_from(fds.len())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if len > kavach_proto::MAX_TO_AGENT || fds.len() > MAX_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the frame would be too large",
        ));
    }
    let mut header = Header::new(kind, id, len);
    header.fds = count;
    let raw = header.encode();
    // The descriptors belong to the first byte of the header: sent with it, received with it.
    let stream = to.as_ref();
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let parts = [IoSlice::new(&raw), IoSlice::new(payload)];
            let sent = retry_on_intr(|| {
                sendmsg(stream.as_fd(), &parts, &mut control, SendFlags::NOSIGNAL)
            });
            Ok(sent?)
        })
        .await?;
    let whole = [raw.as_slice(), payload];
    let mut skip = sent;
    for part in whole {
        let rest = part.get(skip..).unwrap_or(&[]);
        skip = skip.saturating_sub(part.len());
        to.write_all(rest).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Plain;

    use rustix::pipe::{PipeFlags, pipe, pipe_with};
    use tokio::net::UnixStream;

    use super::*;

    /// Sends bytes as an agent would, with descriptors beside the first.
    fn say(agent: &Plain, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        let parts = [IoSlice::new(bytes)];
        let sent = sendmsg(agent, &parts, &mut control, SendFlags::empty()).unwrap();
        assert_eq!(sent, bytes.len());
    }

    fn header(kind: Kind, len: u32, fds: u8) -> [u8; HEADER_LEN] {
        let mut header = Header::new(kind, 5, len);
        header.fds = fds;
        header.encode()
    }

    fn host() -> (OwnedReadHalf, Plain) {
        let (ours, theirs) = Plain::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (UnixStream::from_std(ours).unwrap().into_split().0, theirs)
    }

    #[tokio::test]
    async fn a_descriptor_comes_with_the_frame_that_promises_it() {
        let (mut host, agent) = host();
        let (read, write) = pipe().unwrap();
        say(&agent, &header(Kind::Ptmx, 0, 1), &[read.as_fd()]);
        say(&agent, &header(Kind::Idle, 0, 0), &[]);
        let frame = receive(&mut host).await.unwrap().unwrap();
        let passed = frame.fd.unwrap();
        rustix::io::write(&write, b"x").unwrap();
        assert_eq!(rustix::io::read(&passed, &mut [0]), Ok(1));
        assert!(
            rustix::io::fcntl_getfd(&passed)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
        let next = receive(&mut host).await.unwrap().unwrap();
        assert!(next.kind == Kind::Idle && next.fd.is_none());
    }

    /// What a header says and what comes must be the same; nothing is kept of what is too much.
    #[tokio::test]
    async fn any_other_descriptor_is_a_broken_protocol() {
        for (kind, promised, sent) in [
            (Kind::Ptmx, 1, 0),
            (Kind::Ptmx, 1, 2),
            (Kind::Ptmx, 1, 8),
            (Kind::Ptmx, 0, 1),
            (Kind::Idle, 0, 1),
            (Kind::Exited, 0, 2),
        ] {
            let (mut host, agent) = host();
            let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
            say(
                &agent,
                &header(kind, 0, promised),
                &vec![write.as_fd(); sent],
            );
            let said = receive(&mut host).await;
            assert!(said.is_err(), "{kind:?} {promised} {sent}");
            drop((host, agent, write));
            // Else a copy would be open.
            assert_eq!(rustix::io::read(&read, &mut [0]), Ok(0), "{kind:?} {sent}");
        }
    }

    #[tokio::test]
    async fn a_descriptor_beside_a_payload_is_nobodys() {
        let (mut host, agent) = host();
        let (read, write) = pipe().unwrap();
        say(&agent, &header(Kind::Started, 4, 0), &[]);
        say(&agent, &7u32.to_le_bytes(), &[write.as_fd()]);
        let frame = receive(&mut host).await.unwrap().unwrap();
        assert_eq!(frame.number().unwrap(), 7);
        drop(write);
        assert_eq!(rustix::io::read(&read, &mut [0]), Ok(0), "no copy is open");
    }

    #[tokio::test]
    async fn a_header_may_come_in_pieces() {
        let (mut host, agent) = host();
        let header = header(Kind::Ptmx, 0, 1);
        let (read, _write) = pipe().unwrap();
        let sender = tokio::task::spawn_blocking(move || {
            say(&agent, &header[..3], &[read.as_fd()]);
            say(&agent, &header[3..], &[]);
            agent
        });
        let frame = receive(&mut host).await.unwrap().unwrap();
        assert!(frame.kind == Kind::Ptmx && frame.fd.is_some());
        drop(sender.await.unwrap());
        assert!(receive(&mut host).await.unwrap().is_none());
    }
}
