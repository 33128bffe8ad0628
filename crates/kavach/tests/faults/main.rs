//! What happens when something goes wrong that is not kavach's: too little of everything, calls
//! that fail, signals, jumping clocks, readers that stop, and kill -9 of whoever takes part.
//!
//! Every fault is tried in a process of its own (`--child NAME`), as root and as an ordinary user,
//! in namespaces in which nothing else runs. After each round nothing may be left, each error must
//! be one that fits, and the next sandbox must be as the first. A line of each fault says so:
//!
//! `fault NAME (root): rounds N, leftovers 0, wrong 0; ok N, KV-SETUP N …`
//!
//! `KAVACH_ROUNDS` and `KAVACH_SEED` choose the number of rounds and the seed, which is printed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of this program is tests, which its own harness does not mark as such"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the suite of the lifecycle, which uses the rest"
)]
#[path = "../lifecycle/common.rs"]
mod common;
mod inject;
mod kills;
mod life;
mod memory;
mod model;
mod place;
mod scarce;
mod storms;
mod streams;
mod tally;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, rest @ ..] = args.as_slice()
        && flag == "--child"
    {
        match name.as_str() {
            "inject_host" => inject::walk("host"),
            "inject_agent" => inject::walk("agent"),
            "inject_threads" => inject::threads(),
            "first_threads" => inject::first_threads(rest),
            "descriptors" => scarce::descriptors(),
            "descriptors_at_first" => scarce::descriptors_at_first(),
            "first_life" => scarce::first_life(rest),
            "processes_of_a_group" => scarce::processes_of_a_group(),
            "processes_of_a_user" => scarce::processes_of_a_user(),
            "disk" => scarce::disk(),
            "kill_host" => kills::kill_host(),
            "kill_agent" => kills::kill_agent(),
            "kill_guest" => kills::kill_guest(),
            "processes_at_first" => scarce::processes_at_first(),
            "signals" => storms::signals(),
            "wall_clock" => storms::wall_clock(),
            "other_clock" => storms::other_clock(),
            "hooks" => storms::hooks(),
            "streams" => streams::streams(),
            "model" => model::model(),
            "memory" => memory::memory(),
            "hungry_host" => memory::hungry_host(rest),
            "busy_host" => kills::busy_host(),
            _ => panic!("no child {name}"),
        }
        return ExitCode::SUCCESS;
    }
    let trials = [
        inject::trials(),
        scarce::trials(),
        memory::trials(),
        kills::trials(),
        storms::trials(),
        streams::trials(),
        model::trials(),
    ];
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Some look at the clock of the machine, by their limits of time.
    arguments.test_threads.get_or_insert(2);
    let trials = trials.into_iter().flatten().map(unless_timed).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What these compare lives with depends on how soon a limit of some milliseconds comes, which on
/// a busy machine differs from life to life: nothing may be left all the same, but an answer that
/// only came at another moment counts as wrong. They run where somebody looks at the answers.
const TIMED: [&str; 3] = ["inject_host", "inject_agent", "streams"];

fn unless_timed(trial: libtest_mimic::Trial) -> libtest_mimic::Trial {
    let name = trial.name().to_owned();
    let is_timed = TIMED.iter().any(|timed| name.ends_with(timed));
    if !is_timed || std::env::var_os("KAVACH_ROUNDS").is_some() {
        return trial;
    }
    let missing = "a machine without other work: scripts/faults.sh runs it";
    common::test_with(&name, Some(missing), || {})
}
