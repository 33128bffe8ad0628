//! Everything at once: several threads exec, spawn, pause, resume, stop, time out, cancel and
//! destroy one sandbox in an order that a seed decides. Each answer must be one that the model
//! allows, and after each round nothing is left.
//!
//! `KAVACH_SEED` chooses the seed (printed), `KAVACH_ROUNDS` the number of rounds (60). What a
//! seed fixes is what each thread does; when it gets its turn is the kernel's choice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use kavach::sandbox::SandboxHandle;
use kavach::{Command, ExecResult, KavachError, SandboxState, Termination, lifecycle};
use libtest_mimic::Trial;

use crate::common::{
    Random, assert_gone, created, descriptors, descriptors_settle, marker, no_freezer, number, run,
    run_child, test, with_text,
};
use SandboxState::{Destroyed, Paused, Running, Stopped};

const ROUNDS: u64 = 60;
const THREADS: u64 = 3;
const ACTS: u64 = 8;
/// A round takes milliseconds; one that takes this long hangs.
const DEADLOCK: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![test(
        "interleave::every_answer_is_allowed_and_nothing_is_left",
        || {
            run_child("interleave");
        },
    )]
}

/// The round that is under way, for the watchdog.
static ROUND: AtomicU64 = AtomicU64::new(0);

pub(crate) fn driver() {
    let by_time = || {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        now.as_nanos() as u64
    };
    let seed = number("KAVACH_SEED").unwrap_or_else(by_time);
    let rounds = number("KAVACH_ROUNDS").unwrap_or(ROUNDS);
    println!("interleave: KAVACH_SEED={seed} KAVACH_ROUNDS={rounds}");
    thread::spawn(move || watchdog(seed));
    // The first sandbox makes what the process keeps.
    round(seed, 0);
    let before = descriptors();
    for n in 1..=rounds {
        ROUND.store(n, Ordering::SeqCst);
        round(seed, n);
        descriptors_settle(&before);
    }
}

fn watchdog(seed: u64) {
    let mut last = (0, Instant::now());
    loop {
        thread::sleep(Duration::from_millis(200));
        let round = ROUND.load(Ordering::SeqCst);
        if round != last.0 {
            last = (round, Instant::now());
        }
        if last.1.elapsed() > DEADLOCK {
            eprintln!("interleave: deadlock in round {round}; KAVACH_SEED={seed}");
            std::process::abort();
        }
    }
}

/// What one round shares.
struct Round {
    handle: SandboxHandle,
    /// In the command line of every command that does not end by itself.
    mark: String,
    cgroups: bool,
    faults: Mutex<Vec<String>>,
}

fn round(seed: u64, n: u64) {
    let mut sandbox = run(created("basic"));
    let shared = Round {
        handle: sandbox.handle(),
        mark: marker(),
        cgroups: no_freezer().is_none(),
        faults: Mutex::default(),
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let shared = &shared;
            scope.spawn(move || {
                let mut random = Random(seed ^ (n << 8) ^ thread);
                run(shared.play(&mut random));
            });
        }
        // This thread never waits for a command: one whose sandbox nobody resumes ends only by
        // the destroy below.
        let mut random = Random(seed ^ (n << 8) ^ THREADS);
        for _ in 0..random.below(20) {
            let to = [Running, Running, Paused][random.below(3) as usize];
            run(shared.transition(to));
            // Varies when the end comes; nothing is waited for.
            thread::sleep(Duration::from_micros(random.below(3000)));
        }
        let end = run(sandbox.destroy());
        shared.judge("destroy", end.map_or_else(|e| allowed_end(&e), |()| true));
        shared.judge("destroyed", sandbox.state() == Destroyed);
    });
    let faults = shared.faults.into_inner().unwrap();
    assert!(
        faults.is_empty(),
        "KAVACH_SEED={seed}, round {n}: {faults:#?}"
    );
    assert_gone(sandbox.id());
    assert_eq!(
        with_text(&shared.mark),
        [0; 0],
        "KAVACH_SEED={seed}, round {n}"
    );
}

/// Stop and destroy lose only against another end.
fn allowed_end(e: &KavachError) -> bool {
    matches!(
        e,
        KavachError::InvalidTransition {
            from: Stopped | Destroyed,
            ..
        }
    )
}

impl Round {
    fn judge(&self, what: &str, allowed: bool) {
        if !allowed {
            self.faults.lock().unwrap().push(what.to_owned());
        }
    }

    /// One thread's part.
    async fn play(&self, random: &mut Random) {
        let mut ended = false;
        for _ in 0..ACTS {
            match random.below(12) {
                0..=2 => self.exec(random).await,
                3 => self.time_out(random).await,
                4 => self.cancel(random).await,
                5 => self.spawn(random).await,
                6 | 7 => self.transition(Running).await,
                8 => self.transition(Paused).await,
                9 if random.below(3) == 0 => self.transition(Stopped).await,
                10 if random.below(3) == 0 => {
                    let grace = Duration::from_millis(random.below(20));
                    let stopped = self.handle.stop(grace).await;
                    let text = format!("stop: {stopped:?}");
                    self.judge(&text, stopped.map_or_else(|e| allowed_end(&e), |()| true));
                }
                11 if random.below(4) == 0 => {
                    let destroyed = self.handle.destroy().await;
                    let text = format!("destroy: {destroyed:?}");
                    self.judge(&text, destroyed.map_or_else(|e| allowed_end(&e), |()| true));
                }
                _ => thread::yield_now(),
            }
            let state = self.handle.state();
            // Once ended, never alive again.
            self.judge(
                &format!("{state} after an end"),
                !(ended && state.is_live()),
            );
            ended |= !state.is_live();
        }
    }

    async fn transition(&self, to: SandboxState) {
        let result = self.handle.transition(to).await;
        let text = format!("to {to}: {result:?}");
        let allowed = match result {
            Ok(()) => true,
            Err(KavachError::InvalidTransition { from, to: named }) => {
                named == to && !lifecycle::can(from, to)
            }
            Err(KavachError::Unsupported { .. }) => to == Paused && !self.cgroups,
            Err(_) => false,
        };
        self.judge(&text, allowed);
    }

    /// Whether a command may have ended so, besides `own`.
    fn allowed(&self, result: &Result<ExecResult, KavachError>, own: &[Termination]) -> bool {
        const SIGTERM: i32 = 15;
        match result {
            // A stop with a grace reaches every command as SIGTERM.
            Ok(r) => {
                own.contains(&r.termination)
                    || matches!(
                        r.termination,
                        Termination::Killed | Termination::Signaled(SIGTERM)
                    )
            }
            Err(KavachError::NotRunning { state, .. }) => *state != Running,
            // Without cgroups the time limit of one command ends the sandbox under the others.
            Err(KavachError::AgentDied { .. }) => !self.cgroups,
            Err(_) => false,
        }
    }

    async fn exec(&self, random: &mut Random) {
        let code = i32::try_from(random.below(3)).unwrap();
        let script = format!("echo said; exit {code}");
        let result = self.handle.exec(Command::shell(script)).await;
        let mut allowed = self.allowed(&result, &[Termination::Exited(code)]);
        if let Ok(r) = &result
            && r.termination == Termination::Exited(code)
        {
            allowed &= r.stdout == "said\n";
        }
        self.judge(&format!("exec: {result:?}"), allowed);
    }

    async fn time_out(&self, random: &mut Random) {
        let command = Command::new("sleep").arg(&*self.mark);
        let limited = command.timeout_ms(1 + random.below(20));
        let result = self.handle.exec(limited).await;
        let allowed = self.allowed(&result, &[Termination::TimedOut]);
        self.judge(&format!("time out: {result:?}"), allowed);
    }

    async fn cancel(&self, random: &mut Random) {
        let command = Command::new("sleep").arg(&*self.mark);
        let patience = Duration::from_micros(random.below(8000));
        // Its end has no answer; what counts is what is left.
        let ended = tokio::time::timeout(patience, self.handle.exec(command)).await;
        if let Ok(result) = ended {
            let allowed = self.allowed(&result, &[]);
            self.judge(&format!("cancel: {result:?}"), allowed);
        }
    }

    async fn spawn(&self, random: &mut Random) {
        let command = Command::new("sleep").arg(&*self.mark);
        let mut child = match self.handle.spawn(command).await {
            Ok(child) => child,
            Err(e) => {
                let text = format!("spawn: {e:?}");
                return self.judge(&text, self.allowed(&Err(e), &[]));
            }
        };
        if random.below(2) == 0 {
            // Runs on until the sandbox ends.
            return;
        }
        let grace = Duration::from_millis(random.below(3));
        let result = child.kill(grace).await;
        let allowed = self.allowed(&result, &[]);
        self.judge(&format!("kill: {result:?}"), allowed);
    }
}
