//! Building a real sandbox, to see what holds on this host.

use kavach::{Backend, EnforcementReport, Sandbox, SandboxConfig, SandboxPolicy, StrengthScore};

use super::run::block_on;
use crate::cli::OutputArgs;
use crate::error::Result;
use crate::progress::Progress;

/// What a real sandbox had.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) report: EnforcementReport,
    pub(super) strength: StrengthScore,
}

/// Builds a sandbox and destroys it again. Of a guest nothing runs.
pub(super) fn build(how: OutputArgs, backend: Backend, policy: SandboxPolicy) -> Result<Built> {
    let what = format!("building a sandbox of `{}` ({backend})", policy.name);
    let _progress = Progress::start(how, what);
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
