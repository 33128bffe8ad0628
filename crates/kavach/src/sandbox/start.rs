//! From a config to a sandbox.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use super::Sandbox;
use super::core::{Core, Parts};
use super::inject::Secrets;
use crate::audit::{Audit, AuditKind};
use crate::backend::{self, Backend, SandboxName, Started};
use crate::config::{SandboxConfig, Spec};
use crate::error::{KavachError, Result};
use crate::host::Host;
use crate::plan::plan;
use crate::scoring::{self, Circumstances, StrengthScore};
use crate::supervisor::supervisor;

pub(super) async fn create(config: SandboxConfig) -> Result<Sandbox> {
    // What stood in the way may be gone at the next try.
    build(config).await.inspect_err(|_| Host::forget())
}

async fn build(config: SandboxConfig) -> Result<Sandbox> {
    static SEQ: AtomicU64 = AtomicU64::new(0);
    let spec = config.validate()?;
    let host = Host::recent();
    let facts = host
        .facts
        .clone()
        .looking_at(spec.host_paths())
        .looking_at_directories(spec.host_directories())
        .looking_at_root(spec.rootfs());
    if let Some(unseen) = &facts.unseen {
        return Err(KavachError::HostIo {
            op: "look at".into(),
            path: unseen.path.clone(),
            source: io::Error::from_raw_os_error(unseen.errno),
        });
    }
    let mut plan = plan(&spec, &facts)?;
    let secrets = Secrets::prepare(&config, &spec, &mut plan)?;
    let driver = backend::driver(spec.backend, &host)?;

    let name = SandboxName::new(SEQ.fetch_add(1, Ordering::Relaxed) + 1, spec.agent_id());
    let audit = Audit::new(config.hooks(), &name.id, spec.agent_id());
    let (backend, policy) = (spec.backend, spec.policy.name.clone());
    let created = |strength| AuditKind::Created {
        backend,
        policy: policy.clone(),
        strength,
    };
    audit.before(created(0))?;

    let (done, result) = oneshot::channel();
    supervisor()?.spawn(async move {
        let started = driver.start(&plan, &name).await.map(|started| {
            let circumstances = circumstances(&started);
            let strength = strength(&spec, &started, circumstances);
            let Started {
                instance, report, ..
            } = started;
            let parts = Parts {
                name,
                spec,
                plan,
                report,
                strength,
                circumstances,
                audit,
                secrets,
                instance,
            };
            Sandbox {
                core: Core::new(parts),
            }
        });
        // A caller that no longer waits drops the sandbox, here or where it lies ready: either
        // way that ends it.
        drop(done.send(started));
    });
    let sandbox = result
        .await
        .map_err(|_| KavachError::SandboxGone { act: "create it" })??;
    sandbox
        .core
        .audit()
        .after(created(sandbox.strength().value()));
    Ok(sandbox)
}

fn circumstances(started: &Started) -> Circumstances {
    Circumstances {
        guest_is_host_root: started.host_root,
        ..Circumstances::default()
    }
}

fn strength(spec: &Spec, started: &Started, circumstances: Circumstances) -> StrengthScore {
    if spec.backend == Backend::Noop {
        // Nothing is enforced, whatever the supervisor holds.
        return scoring::score_backend(Backend::Noop, &spec.policy);
    }
    scoring::strength(spec.backend, &spec.policy, &started.report, circumstances)
}
