//! Whether a backend can be used on a host.

use super::{Backend, Unavailable, unavailable_in_build};
use crate::config::SandboxConfig;
use crate::error::{KavachError, Result};
use crate::host::HostFacts;
use crate::plan::plan;
use crate::policy::SandboxPolicy;

/// Whether `backend` can be used on the host of `facts`: whether it can be planned for with
/// [`SandboxPolicy::minimal`], which asks for the least. A stronger policy may ask for more than
/// the host has.
///
/// Facts cannot tell everything: a container's seccomp profile may refuse a system call that the
/// kernel has. Only starting a sandbox tells; `kavach backends` does it.
///
/// # Errors
/// [`KavachError::BackendUnavailable`] with the reason, and with the hint of what is missing.
pub fn availability(backend: Backend, facts: &HostFacts) -> Result<()> {
    if let Some(reason) = unavailable_in_build(backend) {
        return Err(KavachError::BackendUnavailable {
            backend,
            reason,
            hint: None,
        });
    }
    let config = SandboxConfig::builder()
        .backend(backend)
        .policy(SandboxPolicy::minimal())
        .build();
    let spec = config.validate()?;
    plan(&spec, facts)
        .map(|_| ())
        .map_err(|error| KavachError::BackendUnavailable {
            backend,
            reason: Unavailable::Unusable {
                missing: error.to_string(),
            },
            hint: error.hint().map(std::borrow::Cow::into_owned),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(backend: Backend, facts: &HostFacts) -> Unavailable {
        match availability(backend, facts) {
            Err(KavachError::BackendUnavailable { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_planned_backend_is_planned_on_every_host() {
        for backend in [Backend::Oci, Backend::Wasm, Backend::Sev] {
            let reason = reason(backend, &HostFacts::modern_root());
            assert!(matches!(reason, Unavailable::Planned { .. }), "{reason:?}");
        }
    }

    #[test]
    fn noop_needs_nothing() {
        availability(Backend::Noop, &HostFacts::in_docker()).unwrap();
    }

    #[cfg(feature = "process")]
    #[test]
    fn the_process_backend_needs_namespaces_and_says_how_to_get_them() {
        availability(Backend::Process, &HostFacts::modern_root()).unwrap();
        availability(Backend::Process, &HostFacts::modern_user()).unwrap();
        let facts = HostFacts::modern_user().without_userns();
        let error = availability(Backend::Process, &facts).unwrap_err();
        assert!(error.to_string().contains("not usable here"), "{error}");
        assert!(error.hint().unwrap().contains("max_user_namespaces"));
    }
}
