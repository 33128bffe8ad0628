//! The profiles as data. One file per subject; `basic` and `strict` list the
//! groups that they are made of and share most of them.

mod basic;
mod files;
mod memory;
mod process;
mod refused;
mod sockets;
mod strict;
mod system;
mod terminals;

pub(super) use basic::BASIC;
pub(super) use strict::STRICT;
