//! Backend `noop`: no isolation. A command runs on the host as the caller would run it, through
//! the same agent as elsewhere, so that what differs in a comparison is the isolation alone.
//!
//! It runs only with the `minimal` policy because it can enforce nothing. Time and output limits
//! hold for a command's own process group; a command that leaves its session is ended with the
//! sandbox, not with the command.

use std::sync::Arc;
use std::time::Duration;

use kavach_proto::{Failure, MapKind, Mapping, SetupWriter, Step};

use crate::agent::{self, Agent, AgentGuest, open_terminal};
use crate::backend::{
    Act, Backend, Driver, Guest, GuestEnd, Instance, Launch, Pausable, SandboxName, Started,
    Terminal, Terminals,
};
use crate::command::PtySize;
use crate::control::ControlState;
use crate::enforcement::{EnforcementReport, EnforcementRow};
use crate::error::{KavachError, Result};
use crate::plan::Plan;
use crate::result::{LimitEvent, Termination, Usage};

/// Starts commands without isolation.
#[derive(Debug)]
pub(crate) struct NoopDriver;

impl Driver for NoopDriver {
    fn backend(&self) -> Backend {
        Backend::Noop
    }

    fn start<'a>(&'a self, plan: &'a Plan, name: &'a SandboxName) -> Act<'a, Result<Started>> {
        Box::pin(async move {
            let nobody = Mapping {
                kind: MapKind::None,
                inside_uid: 0,
                inside_gid: 0,
                outside_uid: 0,
                outside_gid: 0,
                count: 0,
                uid: 0,
                gid: 0,
            };
            let setup = SetupWriter::new(0, &nobody, b"", (0, 0))
                .mounts([].into_iter())
                .limits(&[], &[])
                .landlock((0, 0, 0), [].into_iter())
                .filter(&[]);
            let title = format!("kavach-noop [{}] {}", name.id, name.agent_id);
            let describe = |failure: &Failure| {
                let step = Step::from_number(failure.step).map_or("start", Step::text);
                (step.to_owned(), None)
            };
            let rehearsal =
                agent::start(title.trim_end(), &setup, &[], || Ok(Vec::new()), describe).await?;
            let agent = Arc::new(rehearsal.finish().await?);
            let rows = plan.controls.iter().map(|planned| {
                let state = match planned.expected {
                    // Held by the supervisor on every backend.
                    state @ ControlState::Enforced if planned.control.is_supervised() => state,
                    _ => ControlState::Absent,
                };
                EnforcementRow::new(
                    planned.control,
                    planned.requested.clone(),
                    planned.requirement,
                    state,
                    planned.mechanism.clone(),
                )
            });
            let report = EnforcementReport::new(Backend::Noop, rows.collect());
            let host_root = rustix::process::geteuid().is_root();
            Ok(Started::new(
                Arc::new(NoopInstance { agent }),
                report,
                host_root,
            ))
        })
    }
}

#[derive(Debug)]
struct NoopInstance {
    agent: Arc<Agent>,
}

impl Instance for NoopInstance {
    fn launch(&self, launch: Launch) -> Act<'_, Result<Arc<dyn Guest>>> {
        Box::pin(async move {
            let task = AgentGuest::start(self.agent.commands(), launch, Vec::new());
            let guest = AgentGuest::started(task.await)?;
            Ok(Arc::new(NoopGuest { guest }) as Arc<dyn Guest>)
        })
    }

    fn drain(&self, signal: i32) -> Act<'_, Result<()>> {
        Box::pin(async move {
            let signal = u32::try_from(signal).unwrap_or(15);
            let none_left = self.agent.commands().signal_all(signal).await?;
            none_left.await.map_err(|_| KavachError::SandboxGone {
                act: "wait for its end",
            })
        })
    }

    fn destroy(&self) -> Act<'_, Result<()>> {
        Box::pin(async move {
            self.agent.close().await;
            // It ends its descendants first; one that cannot be ended must not hold us up.
            let patience = Duration::from_secs(5);
            if tokio::time::timeout(patience, self.agent.ended())
                .await
                .is_err()
            {
                self.agent.kill().await;
            }
            Ok(())
        })
    }

    fn ended(&self) -> Act<'_, ()> {
        Box::pin(self.agent.ended())
    }

    fn pausable(&self) -> Result<&dyn Pausable> {
        Err(KavachError::Unsupported {
            act: "pause".into(),
            backend: Backend::Noop,
            reason: "without a cgroup of its own a process tree cannot be frozen".into(),
            hint: Some("use the process backend".into()),
        })
    }

    fn terminals(&self) -> Result<&dyn Terminals> {
        Ok(self)
    }
}

impl Terminals for NoopInstance {
    fn open(&self, size: PtySize) -> Act<'_, Result<Terminal>> {
        Box::pin(open_terminal(self.agent.commands(), size, None))
    }
}

#[derive(Debug)]
struct NoopGuest {
    guest: AgentGuest,
}

impl Guest for NoopGuest {
    fn wait(&self) -> Act<'_, Result<GuestEnd>> {
        Box::pin(self.guest.wait())
    }

    fn signal(&self, signal: i32) -> Act<'_, Result<()>> {
        Box::pin(self.guest.signal(signal))
    }

    fn kill(&self) -> Act<'_, Result<()>> {
        const SIGKILL: i32 = 9;
        Box::pin(self.guest.signal(SIGKILL))
    }

    fn watch_interval(&self) -> Option<Duration> {
        None
    }

    fn breach(&self, _running: bool) -> Option<Termination> {
        None
    }

    fn usage(&self) -> Usage {
        self.guest.usage()
    }

    fn limit_events(&self) -> Vec<LimitEvent> {
        Vec::new()
    }

    fn release(&self) -> Act<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
