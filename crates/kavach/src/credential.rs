//! Secrets: registered once by name, wiped when dropped, and given to a guest in a chosen way.
//!
//! A guest that is given a secret has it: it can print it, or send it wherever its network
//! reaches. This module keeps secrets out of configs, errors, logs and the sandbox's filesystem,
//! not out of the hands of the guest that they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{KavachError, Result};

/// Largest secret: a whole key store, not a data file. It must fit into a pipe or an
/// environment string (`MAX_ARG_STRLEN`, 128 KiB, with name and NUL).
const MAX_SECRET_BYTES: usize = 64 * 1024;

/// File descriptors that a secret's pipe may have inside: past the standard streams, below what
/// shells keep for themselves (10 and up).
const PIPE_FDS: std::ops::RangeInclusive<i32> = 3..=9;

/// How a guest gets a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InjectionMethod {
    /// As an environment variable. Every process of the guest inherits it, and those of the
    /// same user can read it in `/proc/PID/environ`.
    EnvVar {
        /// The variable's name.
        var_name: String,
    },
    /// As the whole standard input.
    Stdin,
    /// On a pipe, readable once, at a file descriptor.
    Pipe {
        /// The descriptor's number inside: 3 to 9.
        fd: i32,
    },
    /// As a file held in memory alone; it is never on a disk.
    File {
        /// Where it is, inside.
        path: PathBuf,
        /// Its mode; 0400 where `None`.
        mode: Option<u32>,
    },
}

/// A use of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// The name that it is registered by.
    pub name: String,
    /// How the guest gets it.
    pub inject_via: InjectionMethod,
}

/// The registered secrets. Values are wiped when replaced or dropped and never shown.
#[derive(Clone, Default)]
pub struct CredentialProxy {
    secrets: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl CredentialProxy {
    /// No secrets yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a secret; one of the same name is replaced and wiped.
    ///
    /// The value is moved in where it is owned. A borrowed one is copied: wiping the original is
    /// the caller's part.
    pub fn register(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.secrets
            .insert(name.into(), Zeroizing::new(value.into()));
    }

    /// Forgets a secret; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.secrets.remove(name).is_some()
    }

    /// The registered names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(String::as_str)
    }

    /// The environment variables that `refs` make of the registered secrets.
    ///
    /// References to other ways of injection, to unknown names, and to values that are not UTF-8
    /// are left out; a sandbox uses [`CredentialProxy::resolve`], which refuses them. The copies
    /// are plain strings: wiping them is the caller's part.
    #[must_use]
    pub fn env_vars(&self, refs: &[SecretRef]) -> Vec<(String, String)> {
        refs.iter()
            .filter_map(|r| match &r.inject_via {
                InjectionMethod::EnvVar { var_name } => {
                    let value = String::from_utf8(self.secrets.get(&r.name)?.to_vec()).ok()?;
                    Some((var_name.clone(), value))
                }
                _ => None,
            })
            .collect()
    }

    /// Looks up every reference and sorts the secrets by the way they go in.
    ///
    /// # Errors
    /// [`KavachError::SecretMissing`] for a name that is not registered;
    /// [`KavachError::SecretUndeliverable`] for one that cannot go that way: a NUL in an
    /// environment value, a bad variable name, descriptor or path, a value that is too large, or
    /// two secrets for one place.
    pub fn resolve(&self, refs: &[SecretRef]) -> Result<Injections> {
        let mut out = Injections::default();
        let mut places = BTreeSet::new();
        for reference in refs {
            let value =
                self.secrets
                    .get(&reference.name)
                    .ok_or_else(|| KavachError::SecretMissing {
                        name: crate::names::shown(&reference.name),
                    })?;
            let refuse = |reason: String| KavachError::SecretUndeliverable {
                name: crate::names::shown(&reference.name),
                reason,
            };
            if value.len() > MAX_SECRET_BYTES {
                return Err(refuse(format!(
                    "it is longer than {MAX_SECRET_BYTES} bytes"
                )));
            }
            let place = check_place(&reference.inject_via, value).map_err(refuse)?;
            if !places.insert(place.clone()) {
                return Err(refuse(format!("two secrets for {place}")));
            }
            let value = value.clone();
            match &reference.inject_via {
                InjectionMethod::EnvVar { var_name } => out.env.push((var_name.clone(), value)),
                InjectionMethod::Stdin => out.stdin = Some(value),
                InjectionMethod::Pipe { fd } => out.pipes.push((*fd, value)),
                InjectionMethod::File { path, mode } => out.files.push(SecretFile {
                    path: path.clone(),
                    mode: mode.unwrap_or(0o400),
                    contents: value,
                }),
            }
        }
        Ok(out)
    }
}

/// The names alone.
impl fmt::Debug for CredentialProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.secrets.keys()).finish()
    }
}

/// A secret that becomes a file inside.
#[derive(Clone)]
pub struct SecretFile {
    /// Where it is, inside.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// What is in it.
    pub contents: Zeroizing<Vec<u8>>,
}

/// Secrets sorted by the way they go in; wiped when dropped.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Injections {
    /// Environment variables.
    pub env: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// The whole standard input.
    pub stdin: Option<Zeroizing<Vec<u8>>>,
    /// Pipes by descriptor.
    pub pipes: Vec<(i32, Zeroizing<Vec<u8>>)>,
    /// Files.
    pub files: Vec<SecretFile>,
}

impl Injections {
    /// Whether nothing is to be injected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.env.is_empty()
            && self.stdin.is_none()
            && self.pipes.is_empty()
            && self.files.is_empty()
    }
}

/// The places alone.
impl fmt::Debug for Injections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injections")
            .field(
                "env",
                &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("stdin", &self.stdin.is_some())
            .field(
                "pipes",
                &self.pipes.iter().map(|(fd, _)| fd).collect::<Vec<_>>(),
            )
            .field(
                "files",
                &self.files.iter().map(|f| &f.path).collect::<Vec<_>>(),
            )
            .finish()
    }
}

/// The path alone.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The place a secret goes to, in words that are the same for the same place; else why it
/// cannot go there.
fn check_place(method: &InjectionMethod, value: &[u8]) -> Result<String, String> {
    match method {
        InjectionMethod::EnvVar { var_name } => {
            if !crate::command::is_env_name(var_name.as_ref()) {
                return Err("the variable's name is empty, or has `=` or a NUL in it".into());
            }
            if value.contains(&0) {
                return Err("it has a NUL in it, which no environment variable can hold".into());
            }
            Ok(format!("the variable {}", crate::names::shown(var_name)))
        }
        InjectionMethod::Stdin => Ok("standard input".into()),
        InjectionMethod::Pipe { fd } if PIPE_FDS.contains(fd) => Ok(format!("descriptor {fd}")),
        InjectionMethod::Pipe { fd } => Err(format!("descriptor {fd} is not one of 3 to 9")),
        InjectionMethod::File { path, mode } => {
            crate::policy::check_path("path", path).map_err(|err| err.to_string())?;
            let kernels = ["/proc", "/dev", "/sys"]
                .iter()
                .any(|own| path.starts_with(own));
            if path == Path::new("/") || kernels {
                return Err(format!("{path:?} is no place for a file"));
            }
            if mode.is_some_and(|mode| mode & !0o777 != 0) {
                return Err("the mode has bits beside 0777".into());
            }
            Ok(format!("the file {path:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_env(name: &str, var_name: &str) -> SecretRef {
        SecretRef {
            name: name.into(),
            inject_via: InjectionMethod::EnvVar {
                var_name: var_name.into(),
            },
        }
    }

    fn via(inject_via: InjectionMethod) -> SecretRef {
        SecretRef {
            name: "KEY".into(),
            inject_via,
        }
    }

    fn proxy() -> CredentialProxy {
        let mut proxy = CredentialProxy::new();
        proxy.register("KEY", "sk-canary");
        proxy
    }

    fn reason_of(refs: &[SecretRef]) -> String {
        match proxy().resolve(refs) {
            Err(KavachError::SecretUndeliverable { name, reason }) => {
                assert_eq!(name, "KEY");
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_environment_variable_of_the_description() {
        let mut proxy = CredentialProxy::new();
        proxy.register("API_KEY", "sk-secret-12345");
        let env = proxy.env_vars(&[by_env("API_KEY", "OPENAI_API_KEY")]);
        assert_eq!(
            env,
            [("OPENAI_API_KEY".to_owned(), "sk-secret-12345".to_owned())]
        );
    }

    #[test]
    fn debug_output_names_secrets_and_never_shows_them() {
        let proxy = proxy();
        let injections = proxy
            .resolve(&[
                by_env("KEY", "VAR"),
                via(InjectionMethod::Stdin),
                via(InjectionMethod::Pipe { fd: 3 }),
                via(InjectionMethod::File {
                    path: "/run/key".into(),
                    mode: None,
                }),
            ])
            .unwrap();
        let shown = format!("{proxy:?} {injections:?} {:?}", injections.files);
        assert!(
            shown.contains("KEY") && shown.contains("/run/key"),
            "{shown}"
        );
        assert!(!shown.contains("canary"), "{shown}");
        // A byte string in debug form would be a list of numbers.
        assert!(!shown.contains("115, 107"), "{shown}");
    }

    #[test]
    fn a_secret_that_is_not_registered_is_named_in_the_error() {
        let err = proxy().resolve(&[by_env("OTHER", "VAR")]).unwrap_err();
        assert_eq!(err.code(), "KV-SECRET-MISSING");
        assert!(err.to_string().contains("OTHER"));
    }

    #[test]
    fn each_way_of_injection_delivers_the_value() {
        let injections = proxy()
            .resolve(&[
                via(InjectionMethod::Stdin),
                via(InjectionMethod::Pipe { fd: 9 }),
                via(InjectionMethod::File {
                    path: "/run/key".into(),
                    mode: Some(0o440),
                }),
            ])
            .unwrap();
        assert_eq!(
            injections.stdin.as_deref().map(Vec::as_slice),
            Some(&b"sk-canary"[..])
        );
        assert_eq!(injections.pipes[0].0, 9);
        assert_eq!(injections.pipes[0].1.as_slice(), b"sk-canary");
        assert_eq!(injections.files[0].mode, 0o440);
        assert!(!injections.is_empty());
    }

    #[test]
    fn two_secrets_for_one_place_are_refused() {
        let pairs = [
            InjectionMethod::Stdin,
            InjectionMethod::Pipe { fd: 4 },
            InjectionMethod::EnvVar {
                var_name: "V".into(),
            },
            InjectionMethod::File {
                path: "/run/key".into(),
                mode: None,
            },
        ];
        for method in pairs {
            let reason = reason_of(&[via(method.clone()), via(method)]);
            assert!(reason.starts_with("two secrets for"), "{reason}");
        }
    }

    #[test]
    fn places_that_do_not_exist_are_refused() {
        for fd in [-1, 0, 2, 10, i32::MAX] {
            assert!(reason_of(&[via(InjectionMethod::Pipe { fd })]).contains("descriptor"));
        }
        for var in ["", "A=B", "A\0B"] {
            assert!(reason_of(&[by_env("KEY", var)]).contains("variable"));
        }
        for path in ["", "key", "/", "/run/../etc/x", "/proc/1/mem", "/run/a\nb"] {
            let file = InjectionMethod::File {
                path: path.into(),
                mode: None,
            };
            assert!(!reason_of(&[via(file)]).is_empty());
        }
        let setuid = InjectionMethod::File {
            path: "/run/key".into(),
            mode: Some(0o4755),
        };
        assert!(reason_of(&[via(setuid)]).contains("mode"));
    }

    #[test]
    fn values_that_do_not_fit_their_way_are_refused() {
        let mut proxy = CredentialProxy::new();
        proxy.register("NUL", vec![1, 0, 2]);
        proxy.register("LARGE", vec![b'x'; MAX_SECRET_BYTES + 1]);
        for name in ["NUL", "LARGE"] {
            let err = proxy.resolve(&[by_env(name, "VAR")]).unwrap_err();
            assert_eq!(err.code(), "KV-SECRET-UNDELIVERABLE");
        }
        let nul_by_stdin = SecretRef {
            name: "NUL".into(),
            inject_via: InjectionMethod::Stdin,
        };
        assert!(proxy.resolve(&[nul_by_stdin]).is_ok());
    }
}
