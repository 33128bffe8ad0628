//! Paused means: no process of the sandbox moves, and its clock stands.

use std::time::{Duration, Instant};

use kavach::{Command, SandboxState, Termination};
use libtest_mimic::Trial;
use tokio::io::AsyncWriteExt;

use crate::common::{
    assert_gone, marker, no_freezer, run, running, sleeping, test_with, the_one_with, the_sleeper,
    ticks, until, with_text,
};
use SandboxState::{Paused, Running, Stopped};

pub(crate) fn trials() -> Vec<Trial> {
    let need = no_freezer();
    vec![
        test_with("pause::nothing_moves_while_paused", need, nothing_moves),
        test_with("pause::the_clock_of_a_command_stands", need, clock_stands),
        test_with(
            "pause::a_command_can_be_cancelled_while_paused",
            need,
            cancelled,
        ),
        test_with("pause::stop_and_destroy_work_while_paused", need, ended),
    ]
}

fn busy(mark: &str) -> Command {
    // The mark is $0 of the shell.
    Command::new("/bin/sh").args(["-c", "while :; do :; done", mark])
}

fn nothing_moves() {
    run(async {
        let mut sandbox = running("basic").await;
        let control = running("basic").await;
        let (mark, control_mark) = (marker(), marker());
        let _guest = sandbox.spawn(busy(&mark)).await.unwrap();
        let _control = control.spawn(busy(&control_mark)).await.unwrap();
        let (pid, control_pid) = (the_one_with(&mark), the_one_with(&control_mark));
        until("the guest to run", || ticks(pid) > 2);

        sandbox.transition(Paused).unwrap();
        let before = ticks(pid);
        let start = ticks(control_pid);
        // The guest next door shows that there was time enough to move.
        until("the control to run", || ticks(control_pid) > start + 20);
        assert_eq!(ticks(pid), before);

        sandbox.transition(Running).unwrap();
        until("the guest to go on", || ticks(pid) > before);
    });
}

fn clock_stands() {
    run(async {
        let mut sandbox = running("basic").await;
        const LIMIT: Duration = Duration::from_secs(4);
        let limited = Command::new("cat")
            .timeout_ms(LIMIT.as_millis() as u64)
            .stdin_piped();
        let mut child = sandbox.spawn(limited).await.unwrap();
        sandbox.transition(Paused).unwrap();
        let start = Instant::now();
        // Time itself is what is tested here.
        until("more than the limit to pass", || {
            start.elapsed() > LIMIT + LIMIT / 4
        });
        assert!(child.try_wait().unwrap().is_none());
        sandbox.transition(Running).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"x").await.unwrap();
        drop(stdin);
        let result = child.wait().await.unwrap();
        assert_eq!(result.termination, Termination::Exited(0));
        assert!(
            result.duration < LIMIT,
            "paused time was counted: {:?}",
            result.duration
        );
    });
}

fn cancelled() {
    run(async {
        let mut sandbox = running("basic").await;
        let mark = marker();
        let mut child = sandbox
            .spawn(Command::new("sleep").arg(&*mark))
            .await
            .unwrap();
        the_sleeper(&mark);
        sandbox.transition(Paused).unwrap();
        let result = child.kill(Duration::ZERO).await.unwrap();
        assert_eq!(result.termination, Termination::Killed);
        sandbox.transition(Running).unwrap();
        until("the command to be gone", || with_text(&mark).is_empty());
        assert!(sandbox.exec("true").await.unwrap().success());
    });
}

fn ended() {
    run(async {
        for how in 0..4 {
            let mut sandbox = running("basic").await;
            let mark = marker();
            let script = format!("trap '' TERM; setsid sleep {mark} & sleep {mark}");
            let mut child = sandbox.spawn(Command::shell(script)).await.unwrap();
            until("the tree", || sleeping(&mark).len() == 2);
            sandbox.transition(Paused).unwrap();
            let id = sandbox.id().to_owned();
            match how {
                0 => sandbox.stop(Duration::from_secs(1000)).await.unwrap(),
                1 => sandbox.transition(Stopped).unwrap(),
                2 => sandbox.destroy().await.unwrap(),
                _ => drop(sandbox),
            }
            assert_gone(&id);
            assert_eq!(with_text(&mark), [0; 0]);
            assert_eq!(child.wait().await.unwrap().termination, Termination::Killed);
        }
    });
}
