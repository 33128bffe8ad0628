//! An error for each of several who waited for the same thing.

use std::io;

use super::KavachError;

/// The same error again. Of a cause from below, which cannot be copied, the error number is kept,
/// or its kind and text where it has no number.
impl Clone for KavachError {
    fn clone(&self) -> Self {
        // A variant that is missing here does not compile.
        macro_rules! again {
            ($($variant:ident { $($field:ident),* $(; $source:ident)? })*) => {
                match self {
                    $(KavachError::$variant { $($field,)* $($source)? } => KavachError::$variant {
                        $($field: $field.clone(),)*
                        $($source: copied($source))?
                    },)*
                }
            };
        }
        again! {
            InvalidTransition { from, to }
            NotRunning { state, act }
            UnknownProfile { name, nearest, known }
            UnknownPreset { name, nearest, known }
            UnknownBackend { name, nearest, known }
            UnknownControl { name, nearest }
            InvalidConfig { field, problem, required, fix }
            InvalidPolicy { problems }
            PathMissing { field, path; source }
            ControlUnavailable { control, required, found, fix }
            BackendUnavailable { backend, reason, hint }
            CommandSyntax { position, problem }
            CommandNotFound { program, searched }
            CommandNotExecutable { program; source }
            Setup { step, on, fix; source }
            Agent { problem }
            AgentDied { how }
            Cgroup { op, path; source }
            SecretMissing { name }
            SecretUndeliverable { name, reason }
            Vetoed { act, reason, hook }
            HookPanicked { hook, act }
            SandboxGone { act }
            Unsupported { act, backend, reason, hint }
            NoWorkspace { act }
            WorkspaceLimit { what, limit, path }
            WorkspaceLayer { problem, path }
            WorkspaceBusy {}
            HostIo { op, path; source }
        }
    }
}

fn copied(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
