//! Which acts are legal when, and what they answer when they are not.

use std::time::Duration;

use kavach::{Command, KavachError, SandboxState, Termination};
use libtest_mimic::Trial;

use crate::common::{assert_gone, created, no_freezer, run, running, test, test_with};
use SandboxState::{Created, Destroyed, Paused, Running, Stopped};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test(
            "states::illegal_steps_are_refused_and_change_nothing",
            illegal_steps,
        ),
        test(
            "states::exec_and_spawn_need_a_running_sandbox",
            exec_needs_running,
        ),
        test_with(
            "states::a_paused_sandbox_starts_nothing",
            no_freezer(),
            paused_starts_nothing,
        ),
        test(
            "states::several_commands_share_one_sandbox",
            several_commands,
        ),
        test("states::commands_run_at_once", at_once),
        test("states::ends_have_their_terminations", terminations),
        test(
            "states::a_handle_outlives_the_sandbox_and_says_so",
            handle_after_end,
        ),
    ]
}

fn illegal_steps() {
    run(async {
        let mut sandbox = created("basic").await;
        for to in [Created, Paused, Destroyed] {
            match sandbox.transition(to) {
                Err(KavachError::InvalidTransition { from, to: named }) => {
                    assert_eq!((from, named), (Created, to));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(sandbox.state(), Created);
        }
        sandbox.transition(Running).unwrap();
        for to in [Created, Running, Destroyed] {
            let err = sandbox.transition(to).unwrap_err();
            assert_eq!(err.code(), "KV-INVALID-TRANSITION");
        }
        sandbox.transition(Stopped).unwrap();
        for to in [Created, Running, Paused, Stopped] {
            assert!(sandbox.transition(to).is_err());
        }
        assert_eq!(
            sandbox.stop(Duration::ZERO).await.unwrap_err().code(),
            "KV-INVALID-TRANSITION"
        );
        sandbox.transition(Destroyed).unwrap();
        for to in SandboxState::ALL {
            assert!(sandbox.transition(to).is_err());
            assert_eq!(sandbox.state(), Destroyed);
        }
        assert_gone(sandbox.id());
    });
}

fn refused_as(err: &KavachError, expected: SandboxState) {
    match err {
        KavachError::NotRunning { state, .. } => assert_eq!(*state, expected),
        other => panic!("{other:?}"),
    }
}

fn exec_needs_running() {
    run(async {
        let mut sandbox = created("basic").await;
        refused_as(&sandbox.exec("true").await.unwrap_err(), Created);
        refused_as(&sandbox.spawn("true").await.unwrap_err(), Created);
        sandbox.transition(Stopped).unwrap();
        refused_as(&sandbox.exec("true").await.unwrap_err(), Stopped);
        sandbox.transition(Destroyed).unwrap();
        refused_as(&sandbox.exec("true").await.unwrap_err(), Destroyed);
        refused_as(&sandbox.spawn("true").await.unwrap_err(), Destroyed);
    });
}

fn paused_starts_nothing() {
    run(async {
        let mut sandbox = running("basic").await;
        sandbox.transition(Paused).unwrap();
        refused_as(&sandbox.exec("true").await.unwrap_err(), Paused);
        refused_as(&sandbox.spawn("true").await.unwrap_err(), Paused);
        sandbox.transition(Running).unwrap();
        assert!(sandbox.exec("true").await.unwrap().success());
    });
}

fn several_commands() {
    run(async {
        let sandbox = running("basic").await;
        let wrote = Command::shell("echo kept > /tmp/file; sleep 1000000 & echo $!");
        let background = sandbox.exec(wrote).await.unwrap();
        assert_eq!(background.termination, Termination::Exited(0));
        let read = sandbox.exec("cat /tmp/file").await.unwrap();
        assert_eq!(read.stdout, "kept\n");
        let pid = background.stdout.trim();
        let there = Command::shell(format!("kill -0 {pid}"));
        assert!(sandbox.exec(there).await.unwrap().success());
    });
}

fn at_once() {
    run(async {
        let sandbox = running("basic").await;
        // Each waits for what the next one makes: they can only end if all run at once.
        let wait = |mine: u32, other: u32| {
            let script =
                format!("touch /tmp/{mine}; until [ -e /tmp/{other} ]; do :; done; echo {mine}");
            sandbox.exec(Command::shell(script).timeout_ms(20_000))
        };
        let (a, b, c) = tokio::join!(wait(1, 2), wait(2, 3), wait(3, 1));
        let said = [a, b, c].map(|r| r.unwrap().stdout);
        assert_eq!(said, ["1\n", "2\n", "3\n"]);
    });
}

fn terminations() {
    run(async {
        let sandbox = running("basic").await;
        let end = async |command: Command| sandbox.exec(command).await.unwrap();
        let killed = end(Command::shell("kill -9 $$")).await;
        assert_eq!(killed.termination, Termination::Signaled(9));
        assert_eq!(killed.exit_code, 137);
        let coded = end(Command::shell("exit 7")).await;
        assert_eq!(coded.termination, Termination::Exited(7));
        let late = end(Command::shell("echo before; sleep 1000000").timeout_ms(3000)).await;
        assert_eq!(late.termination, Termination::TimedOut);
        assert!(late.timed_out);
        assert_eq!((late.exit_code, &*late.stdout), (124, "before\n"));
    });
}

fn handle_after_end() {
    run(async {
        let mut sandbox = running("basic").await;
        let (handle, id) = (sandbox.handle(), sandbox.id().to_owned());
        sandbox.destroy().await.unwrap();
        drop(sandbox);
        assert_eq!(handle.state(), Destroyed);
        refused_as(&handle.exec("true").await.unwrap_err(), Destroyed);
        assert_eq!(
            handle.destroy().await.unwrap_err().code(),
            "KV-INVALID-TRANSITION"
        );
        assert_eq!(
            handle.stop(Duration::ZERO).await.unwrap_err().code(),
            "KV-INVALID-TRANSITION"
        );
        assert_gone(&id);

        // A handle does not keep a sandbox alive.
        let sandbox = running("basic").await;
        let (handle, id) = (sandbox.handle(), sandbox.id().to_owned());
        drop(sandbox);
        assert_gone(&id);
        refused_as(&handle.exec("true").await.unwrap_err(), Destroyed);
    });
}
