//! What a sandbox is asked to be: data, without input or output and without a clock.

mod format;
mod presets;
mod types;
mod validate;

pub use format::{Format, MAX_POLICY_BYTES};
pub use presets::PRESETS;
pub use types::{
    Filesystem, Limits, Namespaces, Network, OnOutput, SandboxPolicy, SyscallFilter, View,
};
pub(crate) use validate::{MAX_MS, check_path, range};
pub use validate::{MAX_READ_PATHS, SYSCALL_PROFILES};
