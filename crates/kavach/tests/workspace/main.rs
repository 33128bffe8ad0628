//! Workspaces on real overlay mounts: what a guest changed is listed, and applied whole or not at
//! all.
//!
//! The guest is a process of this program in namespaces of its own (`--child overlay`), told over
//! a pipe what to do. `ordinary_user::the_whole_suite` starts all of it as another user.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of this program is tests, which its own harness does not mark as such"
)]

mod applying;
#[path = "../common/attacks.rs"]
#[allow(dead_code, reason = "what the other programs need of it")]
mod attacks;
mod common;
mod hostile;
mod kill;
mod listing;
mod ordinary_user;
mod overlay;
mod random;
mod session;
mod tree;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, rest @ ..] = args.as_slice()
        && flag == "--child"
    {
        match name.as_str() {
            "overlay" => overlay::child(rest),
            "apply" => kill::child(rest),
            _ => panic!("no child {name}"),
        }
        return ExitCode::SUCCESS;
    }
    let trials = [
        listing::trials(),
        applying::trials(),
        hostile::trials(),
        random::trials(),
        kill::trials(),
        session::trials(),
        ordinary_user::trials(),
    ];
    let mut trials: Vec<_> = trials.into_iter().flatten().collect();
    let names = trials.iter().map(|trial| trial.name().to_owned()).collect();
    trials.extend(attacks::trials("workspace", names));
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, trials).exit_code()
}
