//! Listing and applying what the guests changed in the workspace.

use std::sync::Arc;

use super::core::{Core, Stillness, on_supervisor};
use crate::audit::AuditKind;
use crate::error::{KavachError, Result};
use crate::lifecycle::SandboxState;
use crate::worker::Worker;
use crate::workspace::{
    Applied, ApplyOptions, Cancel, Changes, Layers, Limits, apply_until, changes_until,
};

const LIST: &str = "list changes";
const APPLY: &str = "apply changes";

/// Ends a listing that nobody waits for any more.
struct CancelOnDrop(Arc<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The layers, where there are some to be read in this state.
fn layers(core: &Core, act: &'static str) -> Result<Layers> {
    match core.state() {
        SandboxState::Running | SandboxState::Paused | SandboxState::Stopped => {}
        // No guest has run, or nothing is left.
        state @ (SandboxState::Created | SandboxState::Destroyed) => {
            return Err(KavachError::NotRunning { state, act });
        }
    }
    match core.instance().workspace() {
        Some(layers) => layers.try_clone(),
        None => Err(KavachError::NoWorkspace { act }),
    }
}

/// Runs work that blocks, from a task of the supervisor, on another thread.
async fn elsewhere<T: Send + 'static>(
    act: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let worker = Worker::new().map_err(|source| KavachError::HostIo {
        op: "start a thread to read the workspace".into(),
        path: "/proc/self/task".into(),
        source,
    })?;
    let done = worker.run(work).await;
    done.unwrap_or(Err(KavachError::SandboxGone { act }))
}

pub(super) async fn changes(core: &Arc<Core>) -> Result<Changes> {
    let layers = layers(core, LIST)?;
    let baseline = core.baseline();
    let cancel = Arc::new(Cancel::default());
    let _guard = CancelOnDrop(cancel.clone());
    on_supervisor(LIST, async move {
        elsewhere(LIST, move || {
            changes_until(&layers, &baseline, Limits::default(), &cancel)
        })
        .await
    })
    .await
}

pub(super) async fn apply(core: &Arc<Core>, options: ApplyOptions) -> Result<Applied> {
    // Wrong options and a sandbox without workspace are not worth a hook's time.
    drop(layers(core, APPLY)?);
    let listed = options.listed();
    let options = options.resolve()?;
    core.audit().before(AuditKind::Apply { listed })?;
    let core = core.clone();
    on_supervisor(APPLY, async move {
        let turn = core.alone().await;
        let still = core.hold_still().await;
        let work = async {
            let layers = layers(&core, APPLY)?;
            let mut baseline = core.baseline();
            let cancel = Arc::new(Cancel::default());
            let until = cancel.clone();
            let mut work = std::pin::pin!(elsewhere(APPLY, move || {
                let done = apply_until(&layers, &mut baseline, options, &until);
                Ok((done, baseline))
            }));
            tokio::select! {
                done = &mut work => done,
                () = core.hurried() => {
                    cancel.cancel();
                    work.await
                }
            }
        };
        let done = work.await.and_then(|(done, baseline)| {
            core.set_baseline(baseline);
            done
        });
        core.let_go(still).await;
        drop(turn);
        let done = done.map(|outcome| Applied {
            stood_still: still != Stillness::No,
            ..outcome
        });
        let event = match &done {
            Ok(outcome) => AuditKind::Applied {
                outcome: outcome.clone(),
            },
            Err(e) => AuditKind::ApplyFailed { code: e.code() },
        };
        core.audit().after_elsewhere(vec![event]).await;
        done
    })
    .await
}
