//! Building a real sandbox, to see what holds on this host.

use kavach::{Backend, EnforcementReport, Sandbox, SandboxConfig, SandboxPolicy, StrengthScore};

use super::run::block_on;
use crate::error::Result;

/// What a real sandbox had.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) report: EnforcementReport,
    pub(super) strength: StrengthScore,
}

/// Builds a sandbox and destroys it again. Of a guest nothing runs.
pub(super) fn build(backend: Backend, policy: SandboxPolicy) -> Result<Built> {
    block_on(async {
        let config = SandboxConfig::builder()
            .backend(backend)
            .policy(policy)
            .build();
        let mut sandbox = Sandbox::create(config).await?;
        let built = Built {
            report: sandbox.report().clone(),
            strength: sandbox.strength(),
        };
        sandbox.destroy().await?;
        Ok(built)
    })
}
