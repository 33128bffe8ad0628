//! What came of many rounds of a fault, and what a process has after them.

use std::collections::BTreeMap;
use std::fs;

use kavach::KavachError;

use crate::life::Around;
use crate::place::who;

/// What came of many rounds of one fault.
#[derive(Debug)]
pub(crate) struct Tally {
    fault: String,
    rounds: u64,
    ends: BTreeMap<String, u64>,
    leftovers: Vec<String>,
    wrong: Vec<String>,
}

impl Tally {
    pub(crate) fn new(fault: impl Into<String>) -> Self {
        Self {
            fault: fault.into(),
            rounds: 0,
            ends: BTreeMap::new(),
            leftovers: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// A round ended so.
    pub(crate) fn round(&mut self, end: impl Into<String>) {
        self.rounds += 1;
        *self.ends.entry(end.into()).or_default() += 1;
    }

    /// A round of a life ended so; `allowed` are the codes that this fault may have.
    pub(crate) fn life<T>(&mut self, result: &Result<T, KavachError>, allowed: &[&str], at: &str) {
        match result {
            Ok(_) => self.round("ok"),
            Err(e) => {
                self.round(e.code());
                if !allowed.contains(&e.code()) {
                    self.wrong(format!("{at}: {}: {e}", e.code()));
                }
            }
        }
    }

    /// What was there before is there now, and nothing else.
    pub(crate) fn settled(&mut self, before: &mut Around, at: &str) {
        if let Some(differs) = before.differs() {
            self.leftovers.push(format!("{at}: {differs}"));
            // Told once.
            *before = Around::now();
        }
    }

    /// An answer that must not be.
    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    pub(crate) const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// So many rounds ended so.
    pub(crate) fn more_rounds(&mut self, end: &str, count: u64) {
        self.rounds += count;
        *self.ends.entry(end.to_owned()).or_default() += count;
    }

    /// How many rounds ended so.
    pub(crate) fn count(&self, end: &str) -> u64 {
        self.ends.get(end).copied().unwrap_or(0)
    }

    pub(crate) fn is_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// Whether enough is known already.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.leftovers.len() + self.wrong.len() >= 20
    }

    /// Says what came of it; fails if anything is left or wrong.
    pub(crate) fn end(self) {
        Self::end_all(vec![self]);
    }

    /// The same for several, all of which are told of first.
    pub(crate) fn end_all(tallies: Vec<Self>) {
        for tally in &tallies {
            tally.print();
        }
        for Self {
            fault,
            leftovers,
            wrong,
            ..
        } in &tallies
        {
            assert!(
                leftovers.is_empty() && wrong.is_empty(),
                "{fault}: left: {leftovers:#?}, wrong: {wrong:#?}"
            );
        }
    }

    fn print(&self) {
        let ends: Vec<_> = self.ends.iter().map(|(k, n)| format!("{k} {n}")).collect();
        println!(
            "fault {} ({}): rounds {}, leftovers {}, wrong {}; {}",
            self.fault,
            who(),
            self.rounds,
            self.leftovers.len(),
            self.wrong.len(),
            ends.join(", ")
        );
        for one in self.leftovers.iter().chain(&self.wrong) {
            println!("  {one}");
        }
    }
}

/// What a process has.
#[derive(Debug)]
#[expect(dead_code, reason = "is printed")]
pub(crate) struct Counters {
    descriptors: usize,
    threads: usize,
    resident_kb: u64,
}

impl Counters {
    pub(crate) fn now() -> Self {
        let count = |dir: &str| fs::read_dir(dir).unwrap().count();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let resident = line.unwrap().trim().trim_end_matches(" kB");
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            resident_kb: resident.parse().unwrap(),
        }
    }
}
