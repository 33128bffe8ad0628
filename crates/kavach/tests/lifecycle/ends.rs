//! The ways in which a sandbox ends.

use std::time::Duration;

use kavach::{Command, KavachError, SandboxState, Termination};
use libtest_mimic::Trial;
use tokio::io::AsyncReadExt;

use crate::common::{
    agents_of, assert_gone, created, marker, run, running, sleeping, test, the_sleeper, until,
    with_text,
};
use SandboxState::{Destroyed, Stopped};

/// A grace that a test never waits out.
const LONG: Duration = Duration::from_secs(1000);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("ends::a_guest_has_its_grace_to_say_goodbye", goodbye),
        test("ends::a_guest_that_ignores_sigterm_is_killed", ignores),
        test("ends::stop_returns_as_soon_as_nothing_is_left", early),
        test(
            "ends::destroy_works_from_every_state_but_destroyed",
            every_state,
        ),
        test("ends::drop_leaves_nothing", dropped),
        test("ends::drop_inside_async_code", dropped_in_async),
        test("ends::drop_outside_of_any_runtime", dropped_outside),
        test(
            "ends::commands_of_an_ended_sandbox_were_killed",
            commands_killed,
        ),
        test(
            "ends::an_agent_killed_from_outside_is_an_error",
            agent_killed,
        ),
        test(
            "ends::who_waits_for_a_command_of_a_dead_agent_gets_the_error_itself",
            waiting_for_a_dead_agent,
        ),
    ]
}

/// A guest that tells when it is ready, and how it is asked to end.
const TRAPS: &str = "trap 'echo goodbye; exit 3' TERM; echo ready; while :; do sleep 0.01; done";

fn goodbye() {
    run(async {
        let mut sandbox = running("basic").await;
        let mut child = sandbox.spawn(Command::shell(TRAPS)).await.unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut ready = [0; 6];
        out.read_exact(&mut ready).await.unwrap();
        sandbox.stop(LONG).await.unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "goodbye\n");
        assert_eq!(
            child.wait().await.unwrap().termination,
            Termination::Exited(3)
        );
        assert_eq!(sandbox.state(), Stopped);
        assert_gone(sandbox.id());
    });
}

fn ignores() {
    run(async {
        let mut sandbox = running("basic").await;
        let mark = marker();
        let script = format!("trap '' TERM; echo ready; sleep {mark}");
        let mut child = sandbox.spawn(Command::shell(script)).await.unwrap();
        the_sleeper(&mark);
        sandbox.stop(Duration::from_millis(50)).await.unwrap();
        assert_eq!(child.wait().await.unwrap().termination, Termination::Killed);
        assert_eq!(with_text(&mark), [0; 0]);
        assert_gone(sandbox.id());
    });
}

fn early() {
    run(async {
        // Returns at all: the grace is longer than the test's patience.
        let mut idle = running("basic").await;
        idle.stop(LONG).await.unwrap();
        let mut fresh = created("basic").await;
        fresh.stop(LONG).await.unwrap();
        let mut busy = running("basic").await;
        let _child = busy.spawn("sleep 1000000").await.unwrap();
        busy.stop(LONG).await.unwrap();
        for sandbox in [idle, fresh, busy] {
            assert_eq!(sandbox.state(), Stopped);
        }
    });
}

fn every_state() {
    run(async {
        let mut sandbox = created("basic").await;
        sandbox.destroy().await.unwrap();
        assert_gone(sandbox.id());
        assert_eq!(sandbox.state(), Destroyed);
        match sandbox.destroy().await {
            Err(KavachError::InvalidTransition { from, .. }) => assert_eq!(from, Destroyed),
            other => panic!("{other:?}"),
        }

        let mut sandbox = running("basic").await;
        sandbox.destroy().await.unwrap();
        assert_gone(sandbox.id());

        let mut sandbox = running("basic").await;
        sandbox.transition(Stopped).unwrap();
        assert_gone(sandbox.id());
        sandbox.destroy().await.unwrap();
        assert_eq!(sandbox.state(), Destroyed);
    });
}

/// A running sandbox with a daemon in it that has left its session.
async fn with_daemon() -> (kavach::Sandbox, String) {
    let sandbox = running("basic").await;
    let mark = marker();
    let script = format!("setsid sleep {mark} > /dev/null 2>&1 &");
    assert!(
        sandbox
            .exec(Command::shell(script))
            .await
            .unwrap()
            .success()
    );
    the_sleeper(&mark);
    (sandbox, mark)
}

fn dropped() {
    let (sandbox, mark) = run(with_daemon());
    let id = sandbox.id().to_owned();
    run(async move { drop(sandbox) });
    assert_gone(&id);
    assert_eq!(with_text(&mark), [0; 0]);
}

fn dropped_in_async() {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let one = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let id = threads.block_on(async {
        let inside = tokio::spawn(async {
            let (sandbox, _) = with_daemon().await;
            sandbox.id().to_owned()
        });
        inside.await.unwrap()
    });
    assert_gone(&id);
    let id = one.block_on(async {
        let inside = tokio::spawn(async {
            let (sandbox, _) = with_daemon().await;
            sandbox.id().to_owned()
        });
        inside.await.unwrap()
    });
    assert_gone(&id);
}

fn dropped_outside() {
    let (sandbox, mark) = run(with_daemon());
    let id = sandbox.id().to_owned();
    // The runtime that created it is gone, and this thread has none.
    drop(sandbox);
    assert_gone(&id);
    assert_eq!(with_text(&mark), [0; 0]);
}

fn commands_killed() {
    run(async {
        for how in 0..3 {
            let mut sandbox = running("basic").await;
            let handle = sandbox.handle();
            let mark = marker();
            let command = Command::shell(format!("echo partial; sleep {mark}"));
            let waiting = tokio::spawn(async move { handle.exec(command).await });
            while sleeping(&mark).len() != 1 {
                tokio::task::yield_now().await;
            }
            match how {
                0 => sandbox.transition(Stopped).unwrap(),
                1 => sandbox.destroy().await.unwrap(),
                _ => drop(sandbox),
            }
            let result = waiting.await.unwrap().unwrap();
            assert_eq!(result.termination, Termination::Killed);
            assert_eq!(result.stdout, "partial\n");
        }
    });
}

fn agent_killed() {
    run(async {
        let sandbox = running("basic").await;
        let (handle, id) = (sandbox.handle(), sandbox.id().to_owned());
        let mark = marker();
        let command = Command::new("sleep").arg(&*mark);
        let waiting = tokio::spawn(async move { handle.exec(command).await });
        while sleeping(&mark).len() != 1 {
            tokio::task::yield_now().await;
        }
        let [agent] = agents_of(&id)[..] else {
            panic!("not one agent: {:?}", agents_of(&id));
        };
        let pid = rustix::process::Pid::from_raw(agent).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let err = waiting.await.unwrap().unwrap_err();
        assert_eq!(err.code(), "KV-AGENT-DIED");
        until("the sandbox to notice", || sandbox.state() == Stopped);
        assert_gone(&id);
        assert_eq!(with_text(&mark), [0; 0]);
        let err = sandbox.exec("true").await.unwrap_err();
        assert_eq!(err.code(), "KV-NOT-RUNNING");
        // The next one is not troubled.
        let next = running("basic").await;
        assert!(next.exec("true").await.unwrap().success());
    });
}

fn waiting_for_a_dead_agent() {
    run(async {
        let sandbox = running("basic").await;
        let mut child = sandbox.spawn("sleep 1000").await.unwrap();
        let [agent] = agents_of(sandbox.id())[..] else {
            panic!("not one agent");
        };
        let pid = rustix::process::Pid::from_raw(agent).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        for _ in 0..2 {
            let err = child.wait().await.unwrap_err();
            assert_eq!(err.code(), "KV-AGENT-DIED");
            assert_eq!(err.to_string(), "the agent died: while a command ran");
        }
        let err = child.try_wait().unwrap_err();
        assert_eq!(err.to_string(), "the agent died: while a command ran");
    });
}
