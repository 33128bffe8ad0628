//! The eight backends by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::KavachError;

/// What runs the guest. The name alone promises nothing: ask the sandbox for its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// No isolation at all: a child process of the caller. For tests and comparisons; it runs
    /// only with the `minimal` policy because it can enforce nothing else.
    Noop,
    /// Linux namespaces, seccomp, Landlock and cgroups on the host's own kernel.
    Process,
    /// A container made by `runc` or `crun`.
    Oci,
    /// WebAssembly in wasmtime, with WASI.
    Wasm,
    /// gVisor's user-space kernel (`runsc`).
    GVisor,
    /// An Intel SGX enclave.
    Sgx,
    /// An AMD SEV encrypted virtual machine.
    Sev,
    /// A Firecracker microVM.
    Firecracker,
}

impl Backend {
    /// Every backend, by rising base score.
    pub const ALL: [Backend; 8] = [
        Backend::Noop,
        Backend::Process,
        Backend::Oci,
        Backend::Wasm,
        Backend::GVisor,
        Backend::Sgx,
        Backend::Sev,
        Backend::Firecracker,
    ];

    /// The name in configs, reports and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Backend::Noop => "noop",
            Backend::Process => "process",
            Backend::Oci => "oci",
            Backend::Wasm => "wasm",
            Backend::GVisor => "gvisor",
            Backend::Sgx => "sgx",
            Backend::Sev => "sev",
            Backend::Firecracker => "firecracker",
        }
    }

    /// The Cargo feature that compiles the backend in; none for `noop`, which is always there.
    #[must_use]
    pub const fn feature(self) -> Option<&'static str> {
        match self {
            Backend::Noop => None,
            other => Some(other.as_str()),
        }
    }

    /// Whether this build of kavach contains the backend's feature.
    #[must_use]
    pub const fn compiled_in(self) -> bool {
        super::compiled_in(self)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Backend {
    type Err = KavachError;

    /// # Errors
    /// [`KavachError::UnknownBackend`] with the nearest known name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Backend::ALL
            .into_iter()
            .find(|b| b.as_str() == name)
            .ok_or_else(|| KavachError::UnknownBackend {
                name: crate::names::shown(name),
                nearest: crate::names::nearest(name, Backend::ALL.map(Backend::as_str)),
                known: Backend::ALL.map(Backend::as_str).to_vec(),
            })
    }
}

/// Why a backend cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
#[non_exhaustive]
pub enum Unavailable {
    /// This build lacks its Cargo feature.
    NotCompiled {
        /// The feature to build with.
        feature: &'static str,
    },
    /// No released version has it yet.
    Planned {
        /// The milestone of the roadmap that brings it.
        milestone: &'static str,
    },
    /// It is compiled in, but this host lacks something.
    Unusable {
        /// What is missing.
        missing: String,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::NotCompiled { feature } => {
                write!(f, "built without feature `{feature}`")
            }
            Unavailable::Planned { milestone } => {
                write!(
                    f,
                    "still to come with the roadmap's milestone \"{milestone}\""
                )
            }
            Unavailable::Unusable { missing } => write!(f, "not usable here: {missing}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backend_has_one_name_in_text_and_in_serde() {
        for backend in Backend::ALL {
            assert_eq!(backend.to_string().parse::<Backend>().unwrap(), backend);
            assert_eq!(
                serde_json::to_string(&backend).unwrap(),
                format!("\"{backend}\"")
            );
        }
    }

    #[test]
    fn a_misspelt_backend_names_the_nearest_and_lists_all() {
        let err = "gvisr".parse::<Backend>().unwrap_err();
        let hint = err.hint().unwrap();
        assert!(hint.contains("`gvisor`"), "{hint}");
        assert!(hint.contains("firecracker"), "{hint}");
    }

    #[test]
    fn noop_needs_no_feature() {
        assert!(Backend::Noop.compiled_in());
        assert_eq!(Backend::Noop.feature(), None);
        assert_eq!(Backend::GVisor.feature(), Some("gvisor"));
    }
}
