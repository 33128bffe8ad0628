//! The framed protocol between kavach (the host side) and its agent, PID 1 of every sandbox.
//!
//! Both ends compile this one crate, so a frame has one meaning. It is `no_std`, needs no
//! allocator on the agent's side, and forbids unsafe code: every length is checked, every
//! string is NUL-terminated on the wire (the agent hands it to the kernel as it is) and holds no
//! other NUL.
//!
//! A frame is a 16-byte [`Header`] and a payload of at most [`MAX_TO_AGENT`] or
//! [`MAX_TO_HOST`] bytes. All integers are little-endian. File descriptors travel with the
//! header (SCM_RIGHTS) on transports that can pass them.
//!
//! Trust: the agent trusts the host. The host never trusts the agent: what it reads here is
//! bounded and validated, and is never evidence for a score.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod frame;
mod message;
pub mod probe;
mod setup;
mod source;
mod step;
mod wire;

pub use frame::{
    HEADER_LEN, Header, HeaderError, Kind, MAX_FDS, MAX_TO_AGENT, MAX_TO_HOST, VERSION,
};
pub use message::{Ended, ExecRequest, Failure, ReaperBase, ReaperOrder, SignalRequest};
pub use setup::{
    FilterRule, MAX_MOUNTS, MapKind, Mapping, MountKind, MountOp, Rlimit, SetupReader, attr, flag,
};
pub use source::Source;
pub use step::Step;
pub use wire::{Fixed, Malformed, Reader, Sink};

#[cfg(feature = "alloc")]
pub use setup::{MountSpec, SetupWriter};
