//! Futures that are dropped before they are done.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use kavach::{Command, Sandbox, SandboxState, Termination};
use libtest_mimic::Trial;

use crate::common::{
    a_freezer, assert_gone, cgroups, config, created, descriptors, descriptors_settle, marker,
    no_freezer, run, run_child, running, sleeping, test, test_with, the_sleeper, until, with_text,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("cancel::a_dropped_create_leaves_nothing", || {
            run_child("drops")
        }),
        test_with(
            "cancel::a_dropped_exec_kills_its_own_tree_and_no_other",
            no_freezer(),
            exec_with_cgroups,
        ),
        test_with(
            "cancel::without_cgroups_a_dropped_exec_ends_the_sandbox",
            a_freezer(),
            exec_without_cgroups,
        ),
        test_with(
            "cancel::a_timeout_kills_its_own_tree_and_no_other",
            no_freezer(),
            timeout_with_cgroups,
        ),
        test(
            "cancel::a_dropped_spawn_future_leaves_no_command",
            spawn_dropped,
        ),
    ]
}

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls `future` at most `polls` times, each time only once it was woken, waits for the wake
/// that would lead to the next poll, and drops it. Whether it came to its end before.
fn poll_and_drop<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut future: Pin<&mut _> = pin!(future);
    for poll in 1..=polls {
        let before = wakes.0.load(Ordering::SeqCst);
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(_) => return true,
            // The last one is dropped at once in half of the cases, see the caller.
            Poll::Pending if poll == polls => return false,
            Poll::Pending => until("a wake", || wakes.0.load(Ordering::SeqCst) > before),
        }
    }
    // Woken, and not polled again: what it was woken for is on its way to nobody.
    false
}

/// In a process of its own, so that all its sandboxes and descriptors can be counted.
pub(crate) fn dropped_creations() {
    drop(run(created("basic")));
    let before = descriptors();
    let own = format!("kavach-agent [{}-", std::process::id());
    let mut came_to_its_end = false;
    for polls in 1..=12 {
        // Dropped right after a poll, and dropped after the wake that follows it.
        for woken in [false, true] {
            let future = Sandbox::create(config("basic"));
            came_to_its_end |= if woken {
                wake_and_drop(future, polls)
            } else {
                poll_and_drop(future, polls)
            };
        }
    }
    assert!(came_to_its_end, "no creation was polled to its end");
    until("the last agent to be gone", || with_text(&own).is_empty());
    let prefix = format!("kavach.{}.", std::process::id());
    until("the last group to be removed", || {
        cgroups(&prefix).is_empty()
    });
    descriptors_settle(&before);
}

/// As [`poll_and_drop`], but dropped only after the wake that follows the last poll.
fn wake_and_drop<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut future: Pin<&mut _> = pin!(future);
    for _ in 0..polls {
        let before = wakes.0.load(Ordering::SeqCst);
        if future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            return true;
        }
        until("a wake", || wakes.0.load(Ordering::SeqCst) > before);
    }
    false
}

/// A command that starts a daemon out of its session and then waits.
fn tree(mark: &str) -> Command {
    let script = format!("setsid sleep {mark} > /dev/null 2>&1 & exec sleep {mark}");
    Command::shell(script)
}

fn exec_with_cgroups() {
    run(async {
        let sandbox = running("basic").await;
        let (mark, other) = (marker(), marker());
        let daemon = format!("setsid sleep {other} > /dev/null 2>&1 &");
        sandbox.exec(Command::shell(daemon)).await.unwrap();
        {
            let mut exec = pin!(sandbox.exec(tree(&mark)));
            while sleeping(&mark).len() != 2 {
                tokio::select! {
                    biased;
                    result = &mut exec => panic!("{result:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        until("the tree to be gone", || with_text(&mark).is_empty());
        the_sleeper(&other);
        assert_eq!(sandbox.state(), SandboxState::Running);
        assert!(sandbox.exec("true").await.unwrap().success());
    });
}

fn exec_without_cgroups() {
    run(async {
        let sandbox = running("basic").await;
        let mark = marker();
        {
            let mut exec = pin!(sandbox.exec(tree(&mark)));
            while sleeping(&mark).len() != 2 {
                tokio::select! {
                    biased;
                    result = &mut exec => panic!("{result:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        until("the tree to be gone", || with_text(&mark).is_empty());
        until("the sandbox to stop", || {
            sandbox.state() == SandboxState::Stopped
        });
        assert_gone(sandbox.id());
    });
}

fn timeout_with_cgroups() {
    run(async {
        let sandbox = running("basic").await;
        let (mark, other) = (marker(), marker());
        let daemon = format!("setsid sleep {other} > /dev/null 2>&1 &");
        sandbox.exec(Command::shell(daemon)).await.unwrap();
        let result = sandbox.exec(tree(&mark).timeout_ms(300)).await.unwrap();
        assert_eq!(result.termination, Termination::TimedOut);
        assert_eq!(with_text(&mark), [0; 0]);
        the_sleeper(&other);
        assert!(sandbox.exec("true").await.unwrap().success());
    });
}

fn spawn_dropped() {
    run(async {
        let mut sandbox = running("basic").await;
        let mark = marker();
        let sleep = || sandbox.spawn(Command::new("sleep").arg(&*mark));
        // While it is started, and once it has been.
        assert!(!poll_and_drop(sleep(), 1));
        assert!(!wake_and_drop(sleep(), 1));
        until("the commands to be gone", || with_text(&mark).is_empty());
        // Where a command cannot be told from the rest, the rest goes with it.
        match no_freezer() {
            None => assert!(sandbox.exec("true").await.unwrap().success()),
            Some(_) => until("the end", || sandbox.state() == SandboxState::Stopped),
        }
        sandbox.destroy().await.unwrap();
    });
}
