//! The life of a sandbox on the real host: states, pause, stop, cancellation, streams, hooks,
//! secrets, and what is left when everything goes wrong at once.
//!
//! Parts that need a process of their own (to count its descriptors, to kill it) start this
//! program again with `--child NAME`; `the_whole_suite` of `ordinary_user` and `delegated_user`
//! starts all of it as another user.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of this program is tests, which its own harness does not mark as such"
)]

#[path = "../common/attacks.rs"]
#[allow(dead_code, reason = "what the other programs need of it")]
mod attacks;
mod cancel;
mod common;
mod credentials;
#[path = "../common/delegate.rs"]
mod delegate;
mod ends;
mod exhaustion;
mod hooks;
mod host_kill;
mod interleave;
mod ordinary_user;
mod pause;
mod pool;
mod pty;
mod spawn;
mod states;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, rest @ ..] = args.as_slice()
        && flag == "--child"
    {
        match name.as_str() {
            "host" => host_kill::host(rest),
            "host_kill" => host_kill::driver(),
            "interleave" => interleave::driver(),
            "few_descriptors" => exhaustion::few_descriptors(),
            "few_descriptors_at_first" => exhaustion::few_descriptors_at_first(),
            "small_files" => exhaustion::small_files(),
            "few_processes" => exhaustion::few_processes(),
            "drops" => cancel::dropped_creations(),
            "terminals" => pty::terminals(),
            _ => panic!("no child {name}"),
        }
        return ExitCode::SUCCESS;
    }
    let trials = [
        states::trials(),
        pause::trials(),
        pool::trials(),
        ends::trials(),
        cancel::trials(),
        spawn::trials(),
        pty::trials(),
        hooks::trials(),
        credentials::trials(),
        exhaustion::trials(),
        interleave::trials(),
        host_kill::trials(),
        ordinary_user::trials(),
    ];
    let mut trials: Vec<_> = trials.into_iter().flatten().collect();
    let names = trials.iter().map(|trial| trial.name().to_owned()).collect();
    trials.extend(attacks::trials("lifecycle", names));
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, trials).exit_code()
}
