//! The one place, beside module definitions, where Cargo features are looked at.

use super::Backend;

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
