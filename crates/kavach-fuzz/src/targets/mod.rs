//! The bodies.

pub(crate) mod agent_to_host;
pub(crate) mod command;
pub(crate) mod host_to_agent;
pub(crate) mod kernel_files;
pub(crate) mod names;
pub(crate) mod policy;
pub(crate) mod screen;
pub(crate) mod seccomp_calls;
pub(crate) mod seccomp_profiles;
pub(crate) mod stream;
mod terminal;
