//! Commands with a terminal, in the life of a sandbox. What they see is the isolation suite's.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kavach::{Command, PtySize, Termination};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{
    created, descriptors, descriptors_settle, no_freezer, run, run_child, running, test, test_with,
    until,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("pty::needs_a_running_sandbox", needs_running),
        test("pty::a_shutdown_of_the_input_is_its_end", shutdown),
        test("pty::the_end_of_the_sandbox_is_the_end_of_the_stream", ends),
        // Without groups a dropped command takes the sandbox along.
        test_with("pty::nothing_stays_open", no_freezer(), || {
            run_child("terminals");
        }),
    ]
}

fn cat() -> Command {
    Command::new("cat").pty(PtySize::default()).stdin_piped()
}

fn needs_running() {
    run(async {
        let mut sandbox = created("basic").await;
        let terminal = || Command::new("true").pty(PtySize::default());
        let err = sandbox.exec(terminal()).await.unwrap_err();
        assert_eq!(err.code(), "KV-NOT-RUNNING");
        sandbox.destroy().await.unwrap();
        let err = sandbox.spawn(terminal()).await.unwrap_err();
        assert_eq!(err.code(), "KV-NOT-RUNNING");
    });
}

fn shutdown() {
    run(async {
        for text in ["whole line\n", "in mid-line", ""] {
            let sandbox = running("strict").await;
            let mut child = sandbox.spawn(cat()).await.unwrap();
            let stdin = child.stdin.as_mut().unwrap();
            stdin.write_all(text.as_bytes()).await.unwrap();
            stdin.shutdown().await.unwrap();
            until("the end of its input", || {
                child.try_wait().unwrap().is_some()
            });
            assert!(child.wait().await.unwrap().success());
        }
    });
}

fn ends() {
    run(async {
        let mut sandbox = running("basic").await;
        let mut child = sandbox.spawn(cat()).await.unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(b"typed\n").await.unwrap();
        let mut both = [0; 14];
        stdout.read_exact(&mut both).await.unwrap();
        assert_eq!(&both, b"typed\r\ntyped\r\n");
        sandbox.destroy().await.unwrap();
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        let result = child.wait().await.unwrap();
        assert_eq!(result.termination, Termination::Killed);
        // Neither is an error: nobody is there to see it.
        child.resize(PtySize::new(1, 1)).unwrap();
    });
}

/// Run to their end, dropped at every point, cancelled, and hung up.
pub(crate) fn terminals() {
    run(async {
        let sandbox = running("basic").await;
        sandbox.exec("true").await.unwrap();
        let before = descriptors();
        for _ in 0..20 {
            let said = sandbox.exec(cat_bytes()).await.unwrap();
            assert!(said.success(), "{said:?}");
        }
        for polls in 1..20 {
            let mut running = pin!(sandbox.exec(cat_bytes()));
            let mut spawning = pin!(sandbox.spawn(cat()));
            for _ in 0..polls {
                let cx = &mut Context::from_waker(Waker::noop());
                if let Poll::Ready(done) = running.as_mut().poll(cx) {
                    done.unwrap();
                    break;
                }
                if let Poll::Ready(done) = spawning.as_mut().poll(cx) {
                    drop(done.unwrap());
                    break;
                }
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
        }
        for _ in 0..20 {
            let mut child = sandbox.spawn(cat()).await.unwrap();
            child.kill(Duration::ZERO).await.unwrap();
            drop(sandbox.spawn(cat()).await.unwrap());
        }
        descriptors_settle(&before);
        assert!(sandbox.exec(cat_bytes()).await.unwrap().success());
    });
}

fn cat_bytes() -> Command {
    Command::new("cat")
        .pty(PtySize::default())
        .stdin_bytes("typed\n")
}
