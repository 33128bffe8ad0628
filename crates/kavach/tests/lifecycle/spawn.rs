//! A command that runs while its caller does something else.

use std::time::Duration;

use kavach::{Command, Termination};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{
    marker, no_freezer, run, running, sleeping, test, test_with, the_sleeper, until, with_text,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("spawn::streams_go_both_ways_while_it_runs", both_ways),
        test("spawn::wait_closes_the_input", wait_closes),
        test("spawn::try_wait_tells_whether_it_has_ended", try_wait),
        test("spawn::signals_arrive", signals),
        test(
            "spawn::a_signal_that_does_not_exist_is_refused",
            no_such_signal,
        ),
        test("spawn::kill_gives_the_grace_it_is_told", kill_grace),
        test_with("spawn::kill_ends_the_whole_tree", no_freezer(), kill_tree),
        test("spawn::a_closed_output_is_a_broken_pipe", broken_pipe),
        test("spawn::a_dropped_child_runs_on", dropped_child),
        test("spawn::the_time_limit_holds", limited),
        test(
            "spawn::more_output_than_any_bound_streams_through",
            much_output,
        ),
    ]
}

fn both_ways() {
    run(async {
        let sandbox = running("strict").await;
        let mut child = sandbox
            .spawn(Command::new("cat").stdin_piped())
            .await
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        for line in ["one\n", "two\n"] {
            stdin.write_all(line.as_bytes()).await.unwrap();
            let mut back = vec![0; line.len()];
            stdout.read_exact(&mut back).await.unwrap();
            assert_eq!(back, line.as_bytes());
        }
        drop(stdin);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        assert_eq!(
            child.wait().await.unwrap().termination,
            Termination::Exited(0)
        );
    });
}

fn wait_closes() {
    run(async {
        let sandbox = running("basic").await;
        let mut child = sandbox
            .spawn(Command::new("cat").stdin_piped())
            .await
            .unwrap();
        assert!(child.wait().await.unwrap().success());
        // A second time, the same.
        assert!(child.wait().await.unwrap().success());
    });
}

fn try_wait() {
    run(async {
        let sandbox = running("basic").await;
        let mut child = sandbox
            .spawn(Command::new("cat").stdin_piped())
            .await
            .unwrap();
        assert!(child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        until("the end to show", || child.try_wait().unwrap().is_some());
        assert!(child.try_wait().unwrap().unwrap().success());
    });
}

async fn trapping(sandbox: &kavach::Sandbox, traps: &str) -> kavach::Child {
    let script = format!("{traps}; echo ready; while :; do sleep 0.01; done");
    let mut child = sandbox.spawn(Command::shell(script)).await.unwrap();
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .await
        .unwrap();
    child
}

fn signals() {
    run(async {
        let sandbox = running("basic").await;
        let mut child = trapping(&sandbox, "trap 'echo usr1' USR1; trap 'exit 5' TERM").await;
        child.signal(10).await.unwrap();
        let mut said = [0; 5];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .await
            .unwrap();
        assert_eq!(&said, b"usr1\n");
        child.signal(15).await.unwrap();
        assert_eq!(
            child.wait().await.unwrap().termination,
            Termination::Exited(5)
        );
        // One that has ended is no error.
        child.signal(15).await.unwrap();
        let mut child = sandbox.spawn("sleep 1000000").await.unwrap();
        child.signal(11).await.unwrap();
        assert_eq!(
            child.wait().await.unwrap().termination,
            Termination::Signaled(11)
        );
    });
}

fn no_such_signal() {
    run(async {
        let sandbox = running("basic").await;
        let mut child = sandbox.spawn("sleep 1000000").await.unwrap();
        for number in [0, -1, 65, i32::MAX] {
            let err = child.signal(number).await.unwrap_err();
            assert_eq!(err.code(), "KV-INVALID-CONFIG", "{number}");
        }
        child.kill(Duration::ZERO).await.unwrap();
    });
}

fn kill_grace() {
    run(async {
        let sandbox = running("basic").await;
        let mut polite = trapping(&sandbox, "trap 'exit 4' TERM").await;
        let result = polite.kill(Duration::from_secs(1000)).await.unwrap();
        assert_eq!(result.termination, Termination::Exited(4));
        let mut deaf = trapping(&sandbox, "trap '' TERM").await;
        let result = deaf.kill(Duration::from_millis(50)).await.unwrap();
        assert_eq!(result.termination, Termination::Killed);
    });
}

fn kill_tree() {
    run(async {
        let sandbox = running("basic").await;
        let mark = marker();
        let script = format!("setsid sleep {mark} & trap '' TERM; sleep {mark}");
        let mut child = sandbox.spawn(Command::shell(script)).await.unwrap();
        until("the tree", || sleeping(&mark).len() >= 2);
        let result = child.kill(Duration::ZERO).await.unwrap();
        assert_eq!(result.termination, Termination::Killed);
        assert_eq!(with_text(&mark), [0; 0]);
        assert!(sandbox.exec("true").await.unwrap().success());
    });
}

fn broken_pipe() {
    run(async {
        let sandbox = running("basic").await;
        let mut child = sandbox.spawn("yes").await.unwrap();
        drop(child.stdout.take());
        const SIGPIPE: i32 = 13;
        assert_eq!(
            child.wait().await.unwrap().termination,
            Termination::Signaled(SIGPIPE)
        );
    });
}

fn dropped_child() {
    run(async {
        let mut sandbox = running("basic").await;
        let mark = marker();
        drop(
            sandbox
                .spawn(Command::new("sleep").arg(&*mark))
                .await
                .unwrap(),
        );
        the_sleeper(&mark);
        assert!(sandbox.exec("true").await.unwrap().success());
        the_sleeper(&mark);
        sandbox.destroy().await.unwrap();
        assert_eq!(with_text(&mark), [0; 0]);
    });
}

fn limited() {
    run(async {
        let sandbox = running("basic").await;
        let mut child = sandbox
            .spawn(Command::new("sleep").arg("1000000").timeout_ms(200))
            .await
            .unwrap();
        let result = child.wait().await.unwrap();
        assert_eq!(result.termination, Termination::TimedOut);
        // A guest that has closed its streams is watched all the same.
        let sandbox = running("basic").await;
        let closed = "exec 0<&- 1>&- 2>&-; while :; do :; done";
        let mut child = sandbox
            .spawn(Command::shell(closed).timeout_ms(200))
            .await
            .unwrap();
        assert_eq!(
            child.wait().await.unwrap().termination,
            Termination::TimedOut
        );
    });
}

fn much_output() {
    run(async {
        let sandbox = running("basic").await;
        let mut child = sandbox.spawn("head -c 20000000 /dev/zero").await.unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0;
        while let n @ 1.. = stdout.read(&mut buffer).await.unwrap() {
            total += n;
        }
        assert_eq!(total, 20_000_000);
        assert!(child.wait().await.unwrap().success());
    });
}
