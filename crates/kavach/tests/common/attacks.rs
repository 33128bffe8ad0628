//! The register of attacks (`tests/attacks.toml`), and the trials that keep it true.
//!
//! Each case of each row names the trials that attack and the trials that show the attack to work
//! where nothing stands in its way. A name that is no trial, a hostile trial that no row names and
//! a case without its control are failed tests: the suite cannot lose an attack silently.

use std::collections::BTreeMap;

use kavach::Backend;
use libtest_mimic::Trial;
use serde::Deserialize;

/// The register itself.
pub(crate) const TEXT: &str = include_str!("../attacks.toml");
/// The rows of the register are numbered from 1 to this.
pub(crate) const ROWS: u32 = 59;
/// How the name of a positive control begins.
const CONTROL: &str = "control_";
/// How the name of a trial begins that shows the host to refuse an ordinary user as well, so that
/// only root's half of the case says what the sandbox does.
pub(crate) const HOST_REFUSES: &str = "the_host_refuses_";
/// Who has a cell in every row. A user with control groups differs from one without in these
/// alone, and has cells where they matter.
pub(crate) const WHOS: [&str; 2] = ["root", "user"];
/// The capabilities of later versions that a case may wait for.
const CAPABILITIES: [&str; 9] = [
    "egress proxy",
    "gate",
    "archives",
    "wasm",
    "attestation",
    "snapshot",
    "audit log",
    "exec allowlist",
    "oci",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registry {
    #[serde(rename = "row")]
    pub(crate) rows: Vec<Row>,
    /// Trials and subjects of the isolation suite that are no attacks, each with what it is.
    others: BTreeMap<String, String>,
}

/// A row of the list that every sandbox must stand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) number: u32,
    pub(crate) title: String,
    /// What must happen.
    pub(crate) must: String,
    #[serde(rename = "case")]
    pub(crate) cases: Vec<Case>,
}

/// One way to attack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The trials that attack: the test program and the trial's name after who, backend and
    /// policy.
    #[serde(default)]
    pub(crate) attacks: Vec<String>,
    /// The trials that show the attack to work.
    #[serde(default)]
    pub(crate) controls: Vec<String>,
    /// Where no trial of its own is the control: what in the attacking trial shows the same.
    pub(crate) within: Option<String>,
    /// The capability of a later version that it comes with.
    pub(crate) pending: Option<String>,
    /// Why one trial speaks for root and for an ordinary user.
    pub(crate) either: Option<String>,
    /// Who cannot attack so, and why.
    #[serde(default)]
    pub(crate) absent: BTreeMap<String, String>,
    /// Which backend does not face it, and why.
    #[serde(default)]
    pub(crate) not_faced: BTreeMap<Backend, String>,
}

/// A trial that has run, by the parts of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) who: String,
    pub(crate) backend: String,
    /// The policy, where the name has it.
    pub(crate) policy: Option<String>,
    /// The rest.
    pub(crate) id: String,
}

/// Takes a trial's name apart. Outside the isolation suite names have only their rest, and who
/// runs them where this is not the one who started the tests.
pub(crate) fn parts(target: &str, name: &str) -> Parts {
    let mut words = name.split("::").peekable();
    let mut who = "root".to_owned();
    if ["root", "user", "delegated"].contains(words.peek().unwrap_or(&"")) {
        who = words.next().unwrap_or_default().to_owned();
    }
    let (mut backend, mut policy) = ("process".to_owned(), None);
    if target == "isolation" {
        backend = words.next().unwrap_or_default().to_owned();
        if backend != "noop" {
            policy = words.next().map(str::to_owned);
        }
    }
    Parts {
        who,
        backend,
        policy,
        id: words.collect::<Vec<_>>().join("::"),
    }
}

/// Whether a registered name stands for a trial: it may end in a variant, and a control may show
/// that the host refuses as well.
pub(crate) fn stands_for(registered: &str, id: &str) -> bool {
    let id = id.replacen(HOST_REFUSES, CONTROL, 1);
    let rest = id.strip_prefix(registered);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether this is the name of a control, or of a trial that stands in for one.
fn is_control(id: &str) -> bool {
    let last = id.rsplit("::").next().unwrap_or_default();
    last.starts_with(CONTROL) || last.starts_with(HOST_REFUSES)
}

impl Registry {
    pub(crate) fn read() -> Self {
        toml::from_str(TEXT).unwrap_or_else(|e| panic!("attacks.toml: {e}"))
    }

    pub(crate) fn cases(&self) -> impl Iterator<Item = (&Row, &Case)> {
        self.rows
            .iter()
            .flat_map(|row| row.cases.iter().map(move |case| (row, case)))
    }

    /// Why a backend does not face what a trial attacks.
    pub(crate) fn not_faced(&self, target: &str, id: &str, backend: Backend) -> Option<&str> {
        let name = format!("{target} {id}");
        let mut cases = self.cases().map(|(_, case)| case);
        let case = cases.find(|case| case.attacks.contains(&name))?;
        case.not_faced.get(&backend).map(String::as_str)
    }

    /// What is wrong with the register by itself.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut out = Vec::new();
        let numbers: Vec<u32> = self.rows.iter().map(|row| row.number).collect();
        if numbers != (1..=ROWS).collect::<Vec<_>>() {
            out.push(format!("rows are 1 to {ROWS}, each once: {numbers:?}"));
        }
        for row in &self.rows {
            for (i, case) in row.cases.iter().enumerate() {
                let twice = row.cases[..i].iter().any(|other| other.name == case.name);
                let mistakes = case.mistakes().into_iter();
                let twice = twice.then(|| "is listed twice".to_owned());
                let at = |text| format!("row {}, {}: {text}", row.number, case.name);
                out.extend(mistakes.chain(twice).map(at));
            }
        }
        out
    }

    /// The registered names of a test program.
    fn named(&self, target: &str) -> impl Iterator<Item = (&Row, &Case, &str)> {
        let prefix = format!("{target} ");
        self.cases().flat_map(move |(row, case)| {
            let names = case.attacks.iter().chain(&case.controls);
            let names = names.filter_map(|name| name.strip_prefix(&prefix));
            let names: Vec<_> = names.map(|name| (row, case, name)).collect();
            names
        })
    }

    /// What the register says of a program's trials that is not so.
    fn untrue(&self, target: &str, ran: &[Parts]) -> Vec<String> {
        let mut out = Vec::new();
        for (row, case, name) in self.named(target) {
            if !ran.iter().any(|trial| stands_for(name, &trial.id)) {
                let n = row.number;
                out.push(format!("row {n}, {}: no trial `{name}`", case.name));
            }
        }
        if target == "isolation" {
            for (row, case) in self.cases() {
                let gaps = case.gaps(ran).into_iter();
                out.extend(gaps.map(|gap| format!("row {}, {}: {gap}", row.number, case.name)));
            }
        }
        out
    }

    /// The trials of the isolation suite that neither a row nor the list of others names.
    fn unnamed(&self, ran: &[Parts]) -> Vec<String> {
        let named: Vec<&str> = self.named("isolation").map(|(.., name)| name).collect();
        let is_known = |id: &str| {
            let other = self.others.keys().any(|other| stands_for(other, id));
            named.iter().any(|name| stands_for(name, id)) || other
        };
        let mut out: Vec<String> = ran.iter().map(|trial| trial.id.clone()).collect();
        out.retain(|id| !is_known(id));
        // A control without its attack has nothing to show, but in subjects without any attack.
        for trial in ran.iter().filter(|trial| is_control(&trial.id)) {
            let subject = trial.id.split("::").next().unwrap_or_default();
            let of_attacks = named.iter().any(|name| stands_for(subject, name));
            if of_attacks
                && !named.iter().any(|name| stands_for(name, &trial.id))
                && !self.others.contains_key(&trial.id)
            {
                out.push(trial.id.clone());
            }
        }
        let gone = |other: &&String| !ran.iter().any(|trial| stands_for(other, &trial.id));
        let gone = self.others.keys().filter(gone);
        out.extend(gone.map(|other| format!("{other}, which is no trial any more")));
        out.sort_unstable();
        out.dedup();
        out
    }
}

impl Case {
    /// Whether it has trials.
    pub(crate) fn is_tried(&self) -> bool {
        !self.attacks.is_empty()
    }

    fn mistakes(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut wrong = |is_so: bool, text: &str| {
            if is_so {
                out.push(text.to_owned());
            }
        };
        let faced = !self.not_faced.contains_key(&Backend::Process);
        let waits = self.pending.is_some();
        wrong(
            self.is_tried() as u8 + waits as u8 + u8::from(!faced) != 1,
            "has either trials, or a capability that it waits for, or a reason not to be faced",
        );
        let pending = self.pending.as_deref();
        wrong(
            pending.is_some_and(|name| !CAPABILITIES.contains(&name)),
            "waits for no known capability",
        );
        wrong(
            self.is_tried() && self.controls.is_empty() == self.within.is_none(),
            "has either controls or a control within its trials",
        );
        let wrongly = |name: &&String| is_control(name);
        wrong(
            self.attacks.iter().any(|name| wrongly(&name)),
            "names a control among its attacks",
        );
        wrong(
            !self.controls.iter().all(|name| wrongly(&name)),
            "names something else among its controls",
        );
        let known = |who: &String| WHOS.contains(&who.as_str());
        wrong(!self.absent.keys().all(known), "speaks of nobody known");
        out
    }

    /// For whom an attack or its control is missing.
    fn gaps(&self, ran: &[Parts]) -> Vec<String> {
        let has = |names: &[String], who: &str, backend: &str| {
            let names = names.iter().filter_map(|n| n.strip_prefix("isolation "));
            let mut names = names.map(|name| {
                ran.iter().any(|trial| {
                    trial.who == who && trial.backend == backend && stands_for(name, &trial.id)
                })
            });
            names.any(|found| found)
        };
        let mut out = Vec::new();
        let here = |names: &[String]| names.iter().all(|name| name.starts_with("isolation "));
        if !self.is_tried() || self.either.is_some() || !here(&self.attacks) {
            return out;
        }
        for who in WHOS {
            if has(&self.attacks, who, "process") == self.absent.contains_key(who) {
                out.push(format!("{who} attacks, or is said to be absent"));
            }
            let control = has(&self.controls, who, "noop") || has(&self.controls, who, "process");
            if here(&self.controls)
                && self.within.is_none()
                && !self.absent.contains_key(who)
                && !control
            {
                out.push(format!("{who} has no control"));
            }
        }
        out
    }
}

/// The checks of one test program, which knows its own trials.
pub(crate) fn trials(target: &'static str, names: Vec<String>) -> Vec<Trial> {
    let ran: Vec<Parts> = names.iter().map(|name| parts(target, name)).collect();
    let all = ran.clone();
    let check = |problems: Vec<String>| match problems.as_slice() {
        [] => Ok(()),
        problems => Err(format!("tests/attacks.toml:\n{}", problems.join("\n")).into()),
    };
    let mut out = vec![Trial::test(
        format!("register::what_it_names_in_{target}_is_there"),
        move || check(Registry::read().untrue(target, &ran)),
    )];
    if target == "isolation" {
        out.push(Trial::test(
            "register::every_hostile_trial_is_in_it",
            move || check(Registry::read().unnamed(&all)),
        ));
    }
    out
}
