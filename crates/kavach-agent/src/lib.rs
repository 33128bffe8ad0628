//! PID 1 of every kavach sandbox, as the bytes of a static executable.
//!
//! The program is in `src/agent.rs` and `src/program/`: no std, no libc, no allocator, and one
//! module (`sys`) with all its unsafe code. The build script compiles it for the target of the
//! build, so that a user of the library needs no further file.

/// The agent's executable for the target of this build, or `None` on a target it was not ported
/// to (it makes system calls by number; x86_64 Linux so far).
#[cfg(agent_built)]
pub const AGENT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/agent")));

/// The agent's executable for the target of this build, or `None` on a target it was not ported
/// to (it makes system calls by number; x86_64 Linux so far).
#[cfg(not(agent_built))]
pub const AGENT: Option<&[u8]> = None;

// The program again, as part of the test build: for lints, formatting and unit tests.
#[cfg(all(test, agent_built))]
#[allow(dead_code, reason = "its entry point is in agent.rs")]
mod program;
