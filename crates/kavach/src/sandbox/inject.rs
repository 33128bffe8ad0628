//! Secrets on their way into commands: variables, standard input, pipes, and sealed memfds that
//! show as files. No file system of the sandbox ever holds one.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use zeroize::Zeroizing;

use crate::audit::AuditKind;
use crate::config::{SandboxConfig, Spec};
use crate::credential::{InjectionMethod, SecretFile};
use crate::error::{KavachError, Result};
use crate::plan::{MountStep, Plan};
use crate::supervise::feed;

/// The first descriptor of secret files in a command. Descriptors of pipes are below.
const FIRST_FILE: u32 = 40;
const MOST_FILES: usize = 20;

/// The secrets of a sandbox, ready to be given to each command.
#[derive(Debug)]
pub(super) struct Secrets {
    files: Vec<(OwnedFd, u32)>,
    /// Name and way of each, for the audit.
    ways: Vec<(String, String)>,
}

/// Descriptors and variables for one command.
pub(super) type Given = (Vec<(OwnedFd, u32)>, Vec<Zeroizing<Vec<u8>>>);

impl Secrets {
    /// Makes the memfds, and has the plan show them at their paths.
    pub(super) fn prepare(config: &SandboxConfig, spec: &Spec, plan: &mut Plan) -> Result<Self> {
        let files = &spec.injections().files;
        let undeliverable = |file: &SecretFile, reason: &str| KavachError::SecretUndeliverable {
            name: file.path.display().to_string(),
            reason: reason.into(),
        };
        let mut held = Vec::new();
        for (index, file) in files.iter().enumerate() {
            if !plan.view.private_root {
                return Err(undeliverable(
                    file,
                    "this policy shows the host's own files; a secret \
                                                file needs the private view (`basic`, `strict`)",
                ));
            }
            if index >= MOST_FILES {
                return Err(undeliverable(file, "there are more than 20 secret files"));
            }
            let target = FIRST_FILE + u32::try_from(index).unwrap_or(0);
            let fd = seal(file).map_err(|e| undeliverable(file, &e.to_string()))?;
            held.push((fd, target));
            plan.view.mounts.push(MountStep::Symlink {
                target: file.path.clone(),
                link: format!("/proc/self/fd/{target}").into(),
            });
        }
        let ways = config.secrets().iter().map(|secret| {
            let way = match &secret.inject_via {
                InjectionMethod::EnvVar { var_name } => format!("env {var_name}"),
                InjectionMethod::Stdin => "stdin".into(),
                InjectionMethod::Pipe { fd } => format!("pipe {fd}"),
                InjectionMethod::File { path, .. } => format!("file {}", path.display()),
            };
            (secret.name.clone(), way)
        });
        Ok(Self {
            files: held,
            ways: ways.collect(),
        })
    }

    /// The audit events of giving them to command `exec`.
    pub(super) fn events(&self, exec: u64) -> impl Iterator<Item = AuditKind> {
        self.ways
            .iter()
            .map(move |(name, via)| AuditKind::Injection {
                exec,
                name: name.clone(),
                via: via.clone(),
            })
    }

    /// What one command gets, standard input aside. On the supervisor thread.
    pub(super) fn give(&self, spec: &Spec) -> io::Result<Given> {
        let injections = spec.injections();
        let mut fds = Vec::new();
        for (fd, target) in &self.files {
            fds.push((fd.try_clone()?, *target));
        }
        for (fd, value) in &injections.pipes {
            fds.push((feed(value.clone())?, u32::try_from(*fd).unwrap_or(0)));
        }
        let env = injections.env.iter().map(|(name, value)| {
            let mut var = Zeroizing::new(Vec::with_capacity(name.len() + 1 + value.len()));
            var.extend_from_slice(name.as_bytes());
            var.push(b'=');
            var.extend_from_slice(value);
            var
        });
        Ok((fds, env.collect()))
    }
}

fn seal(file: &SecretFile) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match memfd_create("secret", flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(rustix::io::Errno::INVAL) => memfd_create("secret", flags)?,
        made => made?,
    };
    let mut rest = file.contents.as_slice();
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = rest.get(n..).unwrap_or(&[]);
    }
    // The guest is another user of the host: what the owner may do, it has to be given as others.
    // Nobody without the descriptor can reach the file.
    let owner = (file.mode >> 6) & 0o4;
    fchmod(&fd, Mode::from_raw_mode(owner << 6 | owner << 3 | owner))?;
    fcntl_add_seals(
        &fd,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(fd)
}
