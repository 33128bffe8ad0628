//! From a config to a sandbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use super::core::{Core, Parts};
use super::inject::Secrets;
use crate::audit::{Audit, AuditKind};
use crate::backend::{self, Backend, Driver, SandboxName, Started};
use crate::config::SandboxConfig;
use crate::error::{KavachError, Result};
use crate::host::Host;
use crate::plan::{Plan, plan};
use crate::scoring::{self, Circumstances, StrengthScore};
use crate::supervisor::supervisor;

pub(super) async fn create(config: SandboxConfig) -> Result<Arc<Core>> {
    static SEQ: AtomicU64 = AtomicU64::new(0);
    let spec = config.validate()?;
    let host = Host::look();
    let facts = host.facts.clone().looking_at(spec.host_paths());
    let mut plan = plan(&spec, &facts)?;
    let secrets = Secrets::prepare(&config, &spec, &mut plan)?;
    let driver = backend::driver(spec.backend, &host)?;

    let name = SandboxName::new(SEQ.fetch_add(1, Ordering::Relaxed) + 1, spec.agent_id());
    let audit = Audit::new(config.hooks(), &name.id, spec.agent_id());
    let created = |strength: u8| AuditKind::Created {
        backend: spec.backend,
        policy: spec.policy.name.clone(),
        strength,
    };
    audit.before(created(0))?;

    let started = start(driver, plan.clone(), name.clone()).await?;
    let circumstances = Circumstances {
        guest_is_host_root: started.host_root,
        ..Circumstances::default()
    };
    let strength = if spec.backend == Backend::Noop {
        // Nothing is enforced, whatever the supervisor holds.
        scoring::score_backend(Backend::Noop, &spec.policy)
    } else {
        scoring::strength(spec.backend, &spec.policy, &started.report, circumstances)
    };
    audit.after(created(StrengthScore::value(strength)));
    let parts = Parts {
        name,
        spec,
        plan,
        report: started.report,
        strength,
        audit,
        secrets,
        instance: started.instance,
    };
    super::core::on_supervisor("create", async move { Ok(Core::new(parts)) }).await
}

/// Starts on the supervisor thread. A caller that stops waiting leaves nothing behind: the
/// finished sandbox is ended again.
async fn start(driver: Arc<dyn Driver>, plan: Plan, name: SandboxName) -> Result<Started> {
    let (done, result) = oneshot::channel();
    supervisor()?.spawn(async move {
        let started = driver.start(&plan, &name).await;
        if let Err(Ok(unwanted)) = done.send(started)
            && let Err(e) = unwanted.instance.destroy().await
        {
            tracing::warn!(error = %e, "something of a sandbox stays until the next gc");
        }
    });
    result
        .await
        .map_err(|_| KavachError::SandboxGone { act: "create it" })?
}
