//! The one place, beside module definitions, where Cargo features are looked at.

use std::sync::Arc;

use super::noop::NoopDriver;
use super::{Backend, Driver, Unavailable};
use crate::error::{KavachError, Result};
use crate::host::Host;

/// Whether this build of kavach contains the backend's feature.
///
/// A feature may be compiled in while its backend is still planned; see
/// [`Unavailable::Planned`](super::Unavailable::Planned).
#[must_use]
pub const fn compiled_in(backend: Backend) -> bool {
    match backend {
        Backend::Noop => true,
        Backend::Process => cfg!(feature = "process"),
        Backend::Oci => cfg!(feature = "oci"),
        Backend::Wasm => cfg!(feature = "wasm"),
        Backend::GVisor => cfg!(feature = "gvisor"),
        Backend::Sgx => cfg!(feature = "sgx"),
        Backend::Sev => cfg!(feature = "sev"),
        Backend::Firecracker => cfg!(feature = "firecracker"),
    }
}

/// Why this build cannot use the backend on any host; `None` where it can on the right one.
///
/// That a backend is still to come is said before that its feature is missing: building with
/// the feature would not bring it.
#[must_use]
pub const fn unavailable_in_build(backend: Backend) -> Option<Unavailable> {
    let milestone = match backend {
        Backend::Noop | Backend::Process => None,
        Backend::Oci | Backend::GVisor => Some("gVisor + OCI"),
        Backend::Firecracker | Backend::Wasm => Some("Firecracker + WASM"),
        Backend::Sgx | Backend::Sev => Some("Hardware enclaves"),
    };
    if let Some(milestone) = milestone {
        return Some(Unavailable::Planned { milestone });
    }
    match backend.feature() {
        Some(feature) if !compiled_in(backend) => Some(Unavailable::NotCompiled { feature }),
        _ => None,
    }
}

/// What starts sandboxes of a backend on this host.
pub(crate) fn driver(backend: Backend, host: &Host) -> Result<Arc<dyn Driver>> {
    let unavailable = |reason| KavachError::BackendUnavailable {
        backend,
        reason,
        hint: None,
    };
    if let Some(reason) = unavailable_in_build(backend) {
        return Err(unavailable(reason));
    }
    match backend {
        Backend::Noop => Ok(Arc::new(NoopDriver)),
        Backend::Process => process(host),
        planned => Err(unavailable(Unavailable::Unusable {
            missing: format!("a driver for `{planned}`"),
        })),
    }
}

#[cfg(feature = "process")]
fn process(host: &Host) -> Result<Arc<dyn Driver>> {
    Ok(Arc::new(super::process::ProcessDriver::new(host)))
}

#[cfg(not(feature = "process"))]
fn process(_: &Host) -> Result<Arc<dyn Driver>> {
    Err(KavachError::BackendUnavailable {
        backend: Backend::Process,
        reason: Unavailable::NotCompiled { feature: "process" },
        hint: None,
    })
}
