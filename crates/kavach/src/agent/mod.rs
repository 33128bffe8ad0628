//! The host's side of the agent: its image, its connection, its commands.
//!
//! Every backend that runs Linux programs speaks to the same agent through this module. What the
//! agent says is bounded and validated and is never evidence.

mod children;
mod connection;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod image;
mod link;
mod process;
mod reaper;
mod terminal;

pub(crate) use guest::AgentGuest;
pub(crate) use link::Agent;
pub(crate) use process::{Rehearsal, start};
pub(crate) use reaper::ensure as ensure_reaper;
pub(crate) use terminal::open_terminal;
