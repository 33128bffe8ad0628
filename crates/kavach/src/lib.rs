//! Run untrusted code behind an isolation you choose, and know how strong it is.
#![forbid(unsafe_code)]

#[cfg_attr(
    not(feature = "process"),
    allow(
        dead_code,
        unused_imports,
        reason = "backend noop alone uses a part of it"
    )
)]
mod agent;
pub mod audit;
pub mod backend;
#[cfg_attr(
    not(feature = "process"),
    allow(dead_code, reason = "backend noop uses no control groups")
)]
mod cgroup;
pub mod command;
pub mod config;
pub mod control;
pub mod credential;
pub mod enforcement;
pub mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod gc;
pub mod host;
pub mod lifecycle;
mod names;
pub mod plan;
pub mod policy;
mod policy_file;
pub mod pool;
pub mod result;
pub mod sandbox;
pub mod scoring;
pub mod seccomp;
#[cfg(test)]
mod skips;
mod supervise;
mod supervisor;
pub mod verify;
mod worker;
pub mod workspace;

pub use audit::{AuditEvent, AuditHook, AuditKind, Decision};
pub use backend::Backend;
pub use command::{Command, IntoCommand, PtySize, Stdin};
pub use config::{SandboxConfig, SandboxConfigBuilder, Spec, Workspace};
pub use control::{Control, ControlState, Requirement};
pub use enforcement::{EnforcementReport, EnforcementRow};
pub use error::{KavachError, Result};
pub use gc::gc;
pub use lifecycle::SandboxState;
pub use policy::SandboxPolicy;
pub use pool::SandboxPool;
pub use result::{ExecResult, Termination, Verdict};
pub use sandbox::{Child, Sandbox, SandboxHandle};
pub use scoring::StrengthScore;
pub use verify::Verification;
pub use workspace::{Applied, ApplyOptions, Changes};

// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
