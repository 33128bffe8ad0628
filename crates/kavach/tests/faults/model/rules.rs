//! What the contract allows a sandbox to answer, as a program.
//!
//! Several acts are under way at once and nobody knows in which order they take effect. So the
//! model keeps the set of states that the sandbox can be in, closed under whatever is under way,
//! and for each act the set of states that it can have met. An answer is right if one of those
//! states allows it. The answer of an act that was alone from begin to end narrows the set again.

use std::collections::BTreeMap;

use SandboxState::{Created, Destroyed, Paused, Running, Stopped};
use kavach::{SandboxState, Termination, lifecycle};

/// A set of states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct States(u8);

impl States {
    pub(crate) fn only(state: SandboxState) -> Self {
        Self(1 << state as u8)
    }

    pub(crate) fn of(states: &[SandboxState]) -> Self {
        states
            .iter()
            .fold(Self(0), |set, state| set.with(Self::only(*state)))
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn has(self, state: SandboxState) -> bool {
        self.0 & Self::only(state).0 != 0
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn each(self) -> impl Iterator<Item = SandboxState> {
        SandboxState::ALL
            .into_iter()
            .filter(move |state| self.has(*state))
    }
}

/// An act on one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A look at its state.
    Look,
    /// A transition to this state.
    To(SandboxState),
    /// A stop with a grace.
    Stop,
    /// A destroy through a handle.
    Destroy,
    /// The owner drops it.
    Drop,
    /// A command that ends by itself with this code.
    Exec(i32),
    /// A command that its limit of time ends.
    TimeOut,
    /// A command that is killed by its handle.
    Kill,
    /// A command that is left running.
    Leave,
    /// The changes of the workspace are listed.
    Changes,
    /// They are applied.
    Apply,
    /// It is given back to its pool.
    GiveBack,
    /// Its agent is killed from outside.
    KillAgent,
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was done.
    Done,
    /// The state that was seen.
    Saw(SandboxState),
    /// The command ended so.
    Ended(Termination),
    /// `InvalidTransition`.
    Invalid {
        from: SandboxState,
        to: SandboxState,
    },
    /// `NotRunning`.
    NotRunning(SandboxState),
    /// Nobody waited for it any longer.
    Abandoned,
    /// Any other error, by its code.
    Code(&'static str),
}

/// What this user has on this host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    /// Groups by which one command can be killed, and a freezer.
    pub(crate) groups: bool,
}

/// An act that has begun.
#[derive(Debug)]
struct UnderWay {
    act: Act,
    /// The states that it can have met.
    seen: States,
    /// No other was under way at any time since.
    alone: bool,
}

/// What is known of one sandbox.
#[derive(Debug)]
pub(crate) struct Model {
    abilities: Abilities,
    possible: States,
    /// It may stop at any moment by itself: its agent was killed, or a command that could only be
    /// killed with it.
    doomed: bool,
    under_way: BTreeMap<u64, UnderWay>,
    next: u64,
}

impl Model {
    pub(crate) fn new(abilities: Abilities, state: SandboxState) -> Self {
        Self {
            abilities,
            possible: States::only(state),
            doomed: false,
            under_way: BTreeMap::new(),
            next: 0,
        }
    }

    /// An act begins. Its number.
    pub(crate) fn begin(&mut self, act: Act) -> u64 {
        self.next += 1;
        self.doomed |= act == Act::KillAgent;
        let alone = self.under_way.is_empty();
        for other in self.under_way.values_mut() {
            other.alone = false;
        }
        let seen = States(0);
        self.under_way
            .insert(self.next, UnderWay { act, seen, alone });
        self.close();
        self.next
    }

    /// Whatever is under way may take effect at any moment.
    fn close(&mut self) {
        loop {
            let before = self.possible;
            for state in before.each() {
                for other in self.under_way.values() {
                    self.possible = self.possible.with(self.effects(other.act, state));
                }
                if self.doomed && state.is_live() {
                    self.possible = self.possible.with(States::only(Stopped));
                }
            }
            if self.possible == before {
                break;
            }
        }
        for other in self.under_way.values_mut() {
            other.seen = other.seen.with(self.possible);
        }
    }

    /// The states that an act can bring about from one.
    fn effects(&self, act: Act, from: SandboxState) -> States {
        let stops = from.is_live();
        match act {
            Act::To(to) if lifecycle::can(from, to) => States::only(to),
            Act::Stop | Act::KillAgent if stops => States::only(Stopped),
            Act::Destroy | Act::Drop => States::of(&[Stopped, Destroyed]),
            // Without groups the sandbox goes with a command that is killed; an exec is killed
            // when nobody waits for it any longer.
            Act::TimeOut | Act::Kill | Act::Exec(_) if stops && !self.abilities.groups => {
                States::only(Stopped)
            }
            _ => States(0),
        }
    }

    /// An act has ended with this answer; what is wrong with that.
    pub(crate) fn end(&mut self, number: u64, answer: &Answer) -> Result<(), String> {
        // What else has begun since was added to its states; what has ended meanwhile, too.
        let Some(UnderWay { act, seen, alone }) = self.under_way.remove(&number) else {
            return Err("an act that never began".into());
        };
        if !self.allows(act, seen, answer) {
            let seen: Vec<_> = seen.each().collect();
            return Err(format!(
                "{act:?} answered {answer:?}; it can have met {seen:?}, doomed: {}",
                self.doomed
            ));
        }
        // Whoever killed a command that has no group of its own killed the sandbox, which it
        // notices by and by.
        let killed = matches!(act, Act::TimeOut | Act::Kill) || *answer == Answer::Abandoned;
        self.doomed |= killed && !self.abilities.groups;
        if alone {
            self.narrow(act, answer);
            self.close();
        }
        Ok(())
    }

    /// Nothing else was under way: what the answer says is so.
    fn narrow(&mut self, act: Act, answer: &Answer) {
        let now = match (act, answer) {
            (Act::To(to), Answer::Done) => Some(to),
            (Act::Stop, Answer::Done) => Some(Stopped),
            (Act::Destroy | Act::Drop, Answer::Done) => Some(Destroyed),
            (_, Answer::Saw(state) | Answer::NotRunning(state)) => Some(*state),
            (_, Answer::Invalid { from, .. }) => Some(*from),
            _ => None,
        };
        if let Some(state) = now {
            self.possible = States::only(state);
        }
    }

    fn allows(&self, act: Act, seen: States, answer: &Answer) -> bool {
        let ended = States::of(&[Stopped, Destroyed]);
        let invalid =
            |from: &SandboxState, to: &SandboxState| seen.has(*from) && !lifecycle::can(*from, *to);
        match (act, answer) {
            (Act::Look, Answer::Saw(state)) => seen.has(*state),
            (Act::To(to), Answer::Done) => seen.each().any(|from| lifecycle::can(from, to)),
            (Act::To(asked), Answer::Invalid { from, to }) => asked == *to && invalid(from, to),
            (Act::To(Paused), Answer::Code("KV-UNSUPPORTED")) => {
                !self.abilities.groups && seen.has(Running)
            }
            (Act::Stop, Answer::Done) => seen.each().any(SandboxState::is_live),
            // It loses against another end only.
            (Act::Stop | Act::Destroy, Answer::Invalid { from, .. }) => {
                seen.has(*from) && !from.is_live()
            }
            (Act::Destroy | Act::Drop | Act::KillAgent, Answer::Done) => true,
            (Act::Exec(_) | Act::TimeOut | Act::Kill | Act::Leave, answer) => {
                self.allows_command(act, seen, answer)
            }
            (Act::Changes | Act::Apply, Answer::Done) => {
                seen.meets(States::of(&[Running, Paused, Stopped]))
            }
            (Act::Changes | Act::Apply, Answer::NotRunning(state)) => {
                seen.has(*state) && matches!(state, Created | Destroyed)
            }
            // Who ends the sandbox ends the apply.
            (Act::Apply, Answer::Code("KV-SANDBOX-GONE")) => seen.meets(ended),
            (Act::GiveBack, Answer::Done) => seen.has(Running),
            (Act::GiveBack, Answer::NotRunning(state)) => seen.has(*state) && *state != Running,
            (Act::GiveBack, Answer::Code("KV-AGENT-DIED" | "KV-SANDBOX-GONE")) => self.doomed,
            _ => false,
        }
    }

    fn allows_command(&self, act: Act, seen: States, answer: &Answer) -> bool {
        const SIGTERM: i32 = 15;
        let was_ended = seen.meets(States::of(&[Stopped, Destroyed]));
        match answer {
            Answer::Ended(Termination::Exited(code)) => {
                act == Act::Exec(*code) && seen.has(Running)
            }
            Answer::Ended(Termination::TimedOut) => act == Act::TimeOut && seen.has(Running),
            Answer::Ended(Termination::Killed) => was_ended || act == Act::Kill,
            // A stop with a grace reaches every command as SIGTERM, and so does a kill.
            Answer::Ended(Termination::Signaled(SIGTERM)) => was_ended || act == Act::Kill,
            Answer::Done => act == Act::Leave && seen.has(Running),
            Answer::NotRunning(state) => *state != Running && seen.has(*state),
            Answer::Abandoned => matches!(act, Act::Exec(_)),
            Answer::Code("KV-AGENT-DIED") => self.doomed || !self.abilities.groups && was_ended,
            _ => false,
        }
    }
}

/// A model that allowed everything would find nothing.
pub(crate) fn refusals() {
    let groups = Abilities { groups: true };
    let none = Abilities { groups: false };
    let exited = || Answer::Ended(Termination::Exited(0));
    let died = || Answer::Code("KV-AGENT-DIED");
    let judged = |abilities, state, acts: &[(Act, Answer)]| {
        let mut model = Model::new(abilities, state);
        let mut verdict = Ok(());
        for (act, answer) in acts {
            assert_eq!(verdict, Ok(()), "{act:?} {answer:?}");
            let number = model.begin(*act);
            verdict = model.end(number, answer);
        }
        verdict.is_ok()
    };
    let refused = |state, acts: &[(Act, Answer)]| assert!(!judged(groups, state, acts), "{acts:?}");
    let allowed = |state, acts: &[(Act, Answer)]| assert!(judged(groups, state, acts), "{acts:?}");
    refused(Created, &[(Act::Exec(0), exited())]);
    refused(Created, &[(Act::To(Paused), Answer::Done)]);
    refused(Running, &[(Act::Exec(1), exited())]);
    refused(Running, &[(Act::Exec(0), died())]);
    refused(Running, &[(Act::Exec(0), Answer::NotRunning(Running))]);
    refused(
        Running,
        &[(Act::To(Paused), Answer::Code("KV-UNSUPPORTED"))],
    );
    refused(
        Running,
        &[(Act::TimeOut, Answer::Ended(Termination::Killed))],
    );
    let (stop, destroy) = ((Act::Stop, Answer::Done), (Act::Destroy, Answer::Done));
    refused(Running, &[stop.clone(), (Act::Look, Answer::Saw(Running))]);
    refused(Running, &[stop.clone(), stop.clone()]);
    refused(
        Running,
        &[destroy.clone(), (Act::Exec(0), Answer::NotRunning(Stopped))],
    );
    refused(Running, &[destroy.clone(), (Act::Changes, Answer::Done)]);
    let to_paused = (Act::To(Paused), Answer::Done);
    refused(Running, &[to_paused.clone(), (Act::Exec(0), exited())]);
    allowed(
        Running,
        &[
            to_paused,
            (Act::To(Running), Answer::Done),
            (Act::Exec(0), exited()),
        ],
    );
    allowed(
        Running,
        &[(Act::KillAgent, Answer::Done), (Act::Exec(0), died())],
    );
    allowed(
        Running,
        &[stop, (Act::Exec(0), Answer::NotRunning(Stopped)), destroy],
    );
    assert!(judged(
        none,
        Running,
        &[(Act::To(Paused), Answer::Code("KV-UNSUPPORTED"))]
    ));
    // Two at once: what either can have met is allowed, and nothing is known of their order.
    let mut model = Model::new(groups, Running);
    let (pause, exec) = (model.begin(Act::To(Paused)), model.begin(Act::Exec(0)));
    assert_eq!(model.end(exec, &exited()), Ok(()));
    assert_eq!(model.end(pause, &Answer::Done), Ok(()));
    let look = model.begin(Act::Look);
    assert!(model.end(look, &Answer::Saw(Created)).is_err());
}
