//! Doors to private parsers, for the fuzz targets of `kavach-fuzz` alone: no part of the API, no
//! promise, and behind a feature that nothing else enables. A door hands in bytes and hands out
//! what was understood; what must be true of it, the targets say.

pub use crate::agent::fuzzing as agent;
pub use crate::backend::fuzzing as process;
pub use crate::cgroup::fuzzing as cgroup;
pub use crate::host::fuzzing as host;

use std::sync::Arc;

use crate::audit::{Audit, AuditEvent, AuditHook, AuditKind, Decision};
use crate::error::KavachError;

/// A name as errors show it.
#[must_use]
pub fn shown_name(name: &str) -> String {
    crate::names::shown(name)
}

/// A path as errors show it.
#[must_use]
pub fn shown_path(path: &str) -> String {
    crate::names::shown_path(path)
}

/// The error of an act that a hook of this name forbids for this reason.
#[must_use]
pub fn vetoed(kind: AuditKind, hook: &str, reason: &str) -> Option<KavachError> {
    struct Hook(String, String);
    impl AuditHook for Hook {
        fn name(&self) -> &str {
            &self.0
        }
        fn before(&self, _: &AuditEvent) -> Decision {
            Decision::Veto(self.1.clone())
        }
    }
    let hook: Arc<dyn AuditHook> = Arc::new(Hook(hook.into(), reason.into()));
    Audit::new(&[hook], "sandbox", "agent").before(kind).err()
}
