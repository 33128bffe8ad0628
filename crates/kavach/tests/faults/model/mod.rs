//! Random acts on many sandboxes at once, from several threads, each answer checked by `rules`.
//!
//! `KAVACH_SEED` chooses what each thread does, `KAVACH_ROUNDS` how many rounds there are, or
//! `KAVACH_SECONDS` for how long. After each round everything is ended and nothing may be left.

mod rules;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use kavach::pool::Claimed;
use kavach::sandbox::SandboxHandle;
use kavach::workspace::ApplyOptions;
use kavach::{
    Command, ExecResult, KavachError, Sandbox, SandboxConfig, SandboxPolicy, SandboxPool,
    SandboxState, Workspace,
};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::RwLock;

use self::rules::{Abilities, Act, Answer, Model};
use crate::common::{Random, agents_of, no_freezer, number, run, test};
use crate::kills::seed;
use crate::life::{Around, config, life, renew, runtime, workspace};
use crate::place::{self, Who, place};
use crate::tally::{Counters, Tally};
use SandboxState::{Created, Paused, Running, Stopped};

const SLOTS: u64 = 6;
const THREADS: u64 = 4;
/// Acts of each thread in a round.
const ACTS: u64 = 60;
const ROUNDS: u64 = 3;
/// A round takes a second; one that takes this long hangs.
const DEADLOCK: Duration = Duration::from_secs(120);

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = place::trials("model", &Who::BOTH, place::Around::Nothing, place::nothing);
    let name = "the_model_refuses_what_the_contract_forbids";
    all.push(test(name, rules::refusals));
    all
}

/// Who owns a sandbox.
enum Owned {
    Sandbox(Sandbox),
    Claim(Claimed),
}

struct Slot {
    owned: Owned,
    handle: SandboxHandle,
    id: String,
    model: Mutex<Model>,
}

/// What the threads share.
struct World {
    slots: Vec<RwLock<Option<Slot>>>,
    pool: SandboxPool,
    abilities: Abilities,
    wrong: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

pub(crate) fn model() {
    let seed = seed("model");
    let abilities = Abilities {
        groups: no_freezer().is_none(),
    };
    let work = workspace();
    for slot in 0..SLOTS {
        fs::create_dir_all(place().join(format!("slot{slot}"))).unwrap();
    }
    let runtime = runtime();
    let expected = life(&runtime, config("strict", &work)).unwrap();
    renew(&work);
    let watch = crate::watchdog::start(DEADLOCK);
    // What the process keeps is made by a first round.
    round(seed, 0, abilities, &mut Tally::new("model"));
    let mut before = Around::now();
    let mut tally = Tally::new("model");
    let began = Instant::now();
    let counters = Counters::now();
    let seconds = number("KAVACH_SECONDS").map(Duration::from_secs);
    let rounds = number("KAVACH_ROUNDS").unwrap_or(ROUNDS);
    let goes_on = |n| match seconds {
        Some(seconds) => began.elapsed() < seconds,
        None => n <= rounds,
    };
    let mut n = 1;
    while goes_on(n) && !tally.is_hopeless() {
        watch.feed();
        round(seed, n, abilities, &mut tally);
        tally.settled(&mut before, &format!("KAVACH_SEED={seed}, round {n}"));
        n += 1;
    }
    let next = life(&runtime, config("strict", &work)).unwrap();
    assert_eq!(next, expected);
    println!("model: {} rounds in {:?}", n - 1, began.elapsed());
    println!("model: before {counters:?}, after {:?}", Counters::now());
    tally.end();
}

fn round(seed: u64, n: u64, abilities: Abilities, tally: &mut Tally) {
    let config = SandboxConfig::builder().agent_id("pool").build();
    let world = World {
        slots: (0..SLOTS).map(|_| RwLock::new(None)).collect(),
        pool: run(SandboxPool::new(config, 2)).unwrap(),
        abilities,
        wrong: Mutex::default(),
        counts: Mutex::default(),
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let world = &world;
            scope.spawn(move || {
                let mut random = Random(seed ^ (n << 8) ^ thread);
                run(async {
                    for _ in 0..ACTS {
                        world.step(&mut random).await;
                    }
                });
            });
        }
    });
    let World {
        slots,
        pool,
        wrong,
        counts,
        ..
    } = world;
    drop(slots);
    drop(pool);
    for (what, count) in counts.into_inner().unwrap() {
        tally.more_rounds(&what, count);
    }
    for wrong in wrong.into_inner().unwrap() {
        tally.wrong(format!("KAVACH_SEED={seed}, round {n}: {wrong}"));
    }
}

impl World {
    /// One act on one sandbox.
    async fn step(&self, random: &mut Random) {
        let at = random.below(SLOTS);
        let slot = &self.slots[at as usize];
        if slot.read().await.is_none() {
            let mut slot = slot.write().await;
            if slot.is_none() {
                *slot = self.make(at, random).await;
            }
            return;
        }
        // The owner's own acts are alone: nobody else can have a claim or a value.
        // Of one that has ended there is less to be learned.
        let has_ended = match &*slot.read().await {
            Some(slot) => !slot.handle.state().is_live(),
            None => false,
        };
        if random.below(if has_ended { 3 } else { 16 }) == 0 {
            let taken = slot.write().await.take();
            if let Some(taken) = taken {
                self.give_up(taken, random).await;
            }
            return;
        }
        let slot = slot.read().await;
        if let Some(slot) = &*slot {
            self.act(slot, at, random).await;
            // Where nobody else is at it, the model learns where it is.
            let number = slot.model.lock().unwrap().begin(Act::Look);
            let saw = Answer::Saw(slot.handle.state());
            self.judged(&mut slot.model.lock().unwrap(), number, Act::Look, &saw);
        }
    }

    async fn make(&self, at: u64, random: &mut Random) -> Option<Slot> {
        let (made, state) = if random.below(3) == 0 {
            let tenant = format!("tenant {}", random.below(3));
            let claimed = self.pool.claim(&tenant).await;
            (claimed.map(Owned::Claim), Running)
        } else {
            let policy = SandboxPolicy::from_preset(["basic", "strict"][random.below(2) as usize]);
            let config = SandboxConfig::builder()
                .policy(policy.unwrap())
                .workspace(Workspace::new(place().join(format!("slot{at}"))));
            let sandbox = Sandbox::create(config.build()).await;
            (sandbox.map(Owned::Sandbox), Created)
        };
        match made {
            Ok(owned) => {
                self.count("create", "done");
                let sandbox = owned.sandbox();
                Some(Slot {
                    handle: sandbox.handle(),
                    id: sandbox.id().to_owned(),
                    model: Mutex::new(Model::new(self.abilities, state)),
                    owned,
                })
            }
            Err(e) => {
                self.judge(Err(format!("create: {}: {e}", e.code())));
                None
            }
        }
    }

    /// The owner has enough of it.
    async fn give_up(&self, slot: Slot, random: &mut Random) {
        let Slot {
            owned,
            handle,
            model,
            ..
        } = slot;
        let mut model = model.into_inner().unwrap();
        match owned {
            Owned::Claim(claim) if random.below(2) == 0 => {
                let number = model.begin(Act::GiveBack);
                let answer = answer(claim.give_back().await.map(|()| Answer::Done));
                self.judged(&mut model, number, Act::GiveBack, &answer);
            }
            Owned::Claim(claim) => drop(claim),
            Owned::Sandbox(sandbox) => {
                let number = model.begin(Act::Drop);
                drop(sandbox);
                self.judged(&mut model, number, Act::Drop, &Answer::Done);
                // The book is closed when a drop returns.
                let number = model.begin(Act::Look);
                let saw = Answer::Saw(handle.state());
                self.judged(&mut model, number, Act::Look, &saw);
            }
        }
    }

    async fn act(&self, slot: &Slot, at: u64, random: &mut Random) {
        let act = match random.below(30) {
            0..=1 => Act::Look,
            2..=6 => Act::To(Running),
            7..=8 => Act::To(Paused),
            9 => Act::To([Stopped, SandboxState::Destroyed, Created][random.below(3) as usize]),
            10 => Act::Stop,
            11 => Act::Destroy,
            12..=17 => Act::Exec(i32::try_from(random.below(3)).unwrap()),
            18..=19 => Act::TimeOut,
            20..=21 => Act::Kill,
            22 => Act::Leave,
            23..=24 => Act::Changes,
            25..=27 => Act::Apply,
            28 if random.below(4) == 0 => Act::KillAgent,
            _ => Act::Look,
        };
        // A pool's sandbox has no workspace.
        let has_workspace = matches!(slot.owned, Owned::Sandbox(_));
        if matches!(act, Act::Changes | Act::Apply) && !has_workspace {
            return;
        }
        let number = slot.model.lock().unwrap().begin(act);
        let answer = self.perform(slot, at, act, random).await;
        let mut model = slot.model.lock().unwrap();
        self.judged(&mut model, number, act, &answer);
    }

    async fn perform(&self, slot: &Slot, at: u64, act: Act, random: &mut Random) -> Answer {
        let handle = &slot.handle;
        match act {
            Act::Look => Answer::Saw(handle.state()),
            Act::To(to) => answer(handle.transition(to).await.map(|()| Answer::Done)),
            Act::Stop => {
                let grace = Duration::from_millis(random.below(20));
                answer(handle.stop(grace).await.map(|()| Answer::Done))
            }
            Act::Destroy => answer(handle.destroy().await.map(|()| Answer::Done)),
            Act::Exec(code) => {
                let file = place().join(format!("slot{at}/file"));
                let script = match slot.owned {
                    Owned::Sandbox(_) => {
                        format!(
                            "echo {} > '{}'; exit {code}",
                            random.below(9),
                            file.display()
                        )
                    }
                    Owned::Claim(_) => format!("exit {code}"),
                };
                // In a sandbox that nobody resumes it would wait for ever.
                let patience = Duration::from_millis(1 + random.below(60));
                let exec = handle.exec(Command::shell(script));
                match tokio::time::timeout(patience, exec).await {
                    Ok(result) => command(result),
                    Err(_) => Answer::Abandoned,
                }
            }
            Act::TimeOut => {
                let sleep = Command::new("sleep").arg("1000");
                let limited = sleep.timeout_ms(1 + random.below(20));
                // The limit's clock stands still in a pause.
                self.resuming(slot, async { command(handle.exec(limited).await) })
                    .await
            }
            Act::Kill => {
                let grace = Duration::from_millis(random.below(3));
                let killed = async {
                    match handle.spawn("sleep 1000").await {
                        Ok(mut child) => command(child.kill(grace).await),
                        Err(e) => answer(Err(e)),
                    }
                };
                self.resuming(slot, killed).await
            }
            Act::Leave => {
                let left = async {
                    let child = handle.spawn("sleep 1000").await;
                    answer(child.map(|_child| Answer::Done))
                };
                self.resuming(slot, left).await
            }
            Act::Changes => answer(handle.changes().await.map(|_| Answer::Done)),
            Act::Apply => {
                let applied = handle.apply(ApplyOptions::new()).await;
                answer(applied.map(|_| Answer::Done))
            }
            Act::KillAgent => {
                for pid in agents_of(&slot.id) {
                    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
                }
                Answer::Done
            }
            Act::Drop | Act::GiveBack => unreachable!("the owner's"),
        }
    }

    /// Waits for a command, and resumes the sandbox now and then: a frozen one ends by nobody's
    /// act, and starts nothing.
    async fn resuming(&self, slot: &Slot, ends: impl Future<Output = Answer>) -> Answer {
        let mut ends = std::pin::pin!(ends);
        loop {
            tokio::select! {
                answer = &mut ends => return answer,
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    let act = Act::To(Running);
                    let number = slot.model.lock().unwrap().begin(act);
                    let resumed = slot.handle.transition(Running).await;
                    let answer = answer(resumed.map(|()| Answer::Done));
                    self.judged(&mut slot.model.lock().unwrap(), number, act, &answer);
                }
            }
        }
    }

    fn judged(&self, model: &mut Model, number: u64, act: Act, answer: &Answer) {
        self.count(&format!("{act:?}"), &format!("{answer:?}"));
        self.judge(model.end(number, answer));
    }

    fn judge(&self, verdict: Result<(), String>) {
        if let Err(wrong) = verdict {
            self.wrong.lock().unwrap().push(wrong);
        }
    }

    fn count(&self, act: &str, answer: &str) {
        // By kind, not by value.
        let kind = |text: &str| text.split(['(', ' ']).next().unwrap_or_default().to_owned();
        let what = format!("{} {}", kind(act), kind(answer));
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }
}

impl Owned {
    fn sandbox(&self) -> &Sandbox {
        match self {
            Owned::Sandbox(sandbox) => sandbox,
            Owned::Claim(claim) => claim,
        }
    }
}

fn answer(result: Result<Answer, KavachError>) -> Answer {
    match result {
        Ok(answer) => answer,
        Err(KavachError::InvalidTransition { from, to }) => Answer::Invalid { from, to },
        Err(KavachError::NotRunning { state, .. }) => Answer::NotRunning(state),
        Err(e) => Answer::Code(e.code()),
    }
}

fn command(result: Result<ExecResult, KavachError>) -> Answer {
    answer(result.map(|result| Answer::Ended(result.termination)))
}
