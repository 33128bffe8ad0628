//! The frame header and the kinds of frames.

/// Raised with every change of meaning on the wire; both ends refuse another's version.
pub const VERSION: u8 = 3;
/// Bytes of a header.
pub const HEADER_LEN: usize = 16;
/// Largest payload that the host sends: argument and environment strings of one command (the
/// kernel takes at most about 2 MiB of them), or a setup with its file contents.
pub const MAX_TO_AGENT: u32 = 4 << 20;
/// Largest payload that the host accepts from an agent.
pub const MAX_TO_HOST: u32 = 4 << 10;
/// Most descriptors that one frame carries; below SCM_MAX_FD (253).
pub const MAX_FDS: usize = 32;

const MAGIC: [u8; 2] = *b"kv";

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Host: build the sandbox. First frame of a connection.
    Setup = 1,
    /// Host: the rehearsal was inspected, start to serve.
    Continue = 2,
    /// Host: start a command; `id` names it from now on.
    Exec = 3,
    /// Host: signal the command `id`.
    Signal = 4,
    /// Host: signal every guest process.
    SignalAll = 5,
    /// Host, to a reaper: what to clean when the connection closes.
    Reap = 6,
    /// Host: enter the control groups whose files travel with it. Second frame of a connection:
    /// the groups are made while the agent starts.
    Join = 7,
    /// Host: pass on the sandbox's `/dev/ptmx`; `id` names the answer.
    AskPtmx = 8,
    /// Agent: PID 1 exists; its pid as the host sees it.
    Cloned = 64,
    /// Agent: a process with every restriction of a guest waits to be inspected; its inner pid.
    Rehearsing = 65,
    /// Agent: a reaper is ready.
    Ready = 66,
    /// Agent: setup ended at a step, see [`crate::Failure`].
    SetupFailed = 67,
    /// Agent: the command `id` runs; its inner pid.
    Started = 68,
    /// Agent: what was asked for as `id` (a command, or the way to terminals) failed, see
    /// [`crate::Failure`].
    LaunchFailed = 69,
    /// Agent: the first process of the command `id` ended, see [`crate::Ended`].
    Exited = 70,
    /// Agent: no guest process is left (said once after each [`Kind::SignalAll`]).
    Idle = 71,
    /// Agent: the sandbox's `/dev/ptmx`, as the one descriptor of the frame. It was opened with
    /// `O_PATH`: the host checks what it is before it opens it.
    Ptmx = 72,
    /// Agent: the upper directory of the workspace, as the one descriptor of the frame, opened
    /// with `O_PATH`. Between [`Kind::Cloned`] and [`Kind::Rehearsing`], where the view has a
    /// workspace whose writes go to a tmpfs.
    Upper = 73,
}

impl Kind {
    const ALL: [Self; 18] = [
        Self::Setup,
        Self::Continue,
        Self::Exec,
        Self::Signal,
        Self::SignalAll,
        Self::Reap,
        Self::Join,
        Self::AskPtmx,
        Self::Cloned,
        Self::Rehearsing,
        Self::Ready,
        Self::SetupFailed,
        Self::Started,
        Self::LaunchFailed,
        Self::Exited,
        Self::Idle,
        Self::Ptmx,
        Self::Upper,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Most descriptors that a frame of this kind carries.
    pub const fn most_fds(self) -> usize {
        match self {
            Self::Ptmx | Self::Upper => 1,
            _ if self.is_from_agent() => 0,
            _ => MAX_FDS,
        }
    }

    /// True for frames that an agent sends.
    pub const fn is_from_agent(self) -> bool {
        self as u8 >= Self::Cloned as u8
    }
}

/// Sixteen bytes before every payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame says.
    pub kind: Kind,
    /// Which command it is about; 0 where none.
    pub id: u32,
    /// Bytes of payload that follow.
    pub len: u32,
    /// Descriptors that travel with it.
    pub fds: u8,
}

/// Why sixteen bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// They do not begin as a frame does.
    Magic,
    /// The other end speaks this version.
    Version(u8),
    /// No such kind in this version, or not from this side.
    Kind(u8),
    /// The payload would be longer than allowed.
    TooLong(u32),
    /// Reserved bytes are not zero, or too many descriptors.
    Reserved,
}

impl Header {
    /// A header without descriptors.
    pub const fn new(kind: Kind, id: u32, len: u32) -> Self {
        Self {
            kind,
            id,
            len,
            fds: 0,
        }
    }

    /// As it goes on the wire.
    pub const fn encode(self) -> [u8; HEADER_LEN] {
        let [i0, i1, i2, i3] = self.id.to_le_bytes();
        let [l0, l1, l2, l3] = self.len.to_le_bytes();
        let kind = self.kind as u8;
        [
            MAGIC[0], MAGIC[1], VERSION, kind, i0, i1, i2, i3, l0, l1, l2, l3, self.fds, 0, 0, 0,
        ]
    }

    /// Checks everything a header can be checked for. `from_agent` says which side sent it.
    pub fn decode(raw: [u8; HEADER_LEN], from_agent: bool) -> Result<Self, HeaderError> {
        let [
            m0,
            m1,
            version,
            kind,
            i0,
            i1,
            i2,
            i3,
            l0,
            l1,
            l2,
            l3,
            fds,
            r0,
            r1,
            r2,
        ] = raw;
        if [m0, m1] != MAGIC {
            return Err(HeaderError::Magic);
        }
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let kind = Kind::from_byte(kind)
            .filter(|k| k.is_from_agent() == from_agent)
            .ok_or(HeaderError::Kind(kind))?;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len
            > if from_agent {
                MAX_TO_HOST
            } else {
                MAX_TO_AGENT
            }
        {
            return Err(HeaderError::TooLong(len));
        }
        if [r0, r1, r2] != [0; 3] || fds as usize > kind.most_fds() {
            return Err(HeaderError::Reserved);
        }
        Ok(Self {
            kind,
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            len,
            fds,
        })
    }
}
