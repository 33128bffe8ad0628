//! Control groups of version 2 as users meet them: root in a service of systemd, an ordinary user
//! in a scope or a service with `Delegate=yes`, in groups that root chowned, in a container's own
//! cgroup namespace, and in a session to which nothing was delegated.
//!
//! Each body runs in a process of its own in each of these settings: the program starts itself
//! again with `--child BODY`. It needs root and a machine whose only hierarchy is version 2 with
//! its controllers; elsewhere one line says so. scripts/test-v2.sh boots such a machine.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "all of this program is tests, which its own harness does not mark as such"
)]

mod bodies;
mod containment;
#[path = "../common/delegate.rs"]
mod delegate;
mod life;
mod limits;
mod settings;
mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, body] = args.as_slice()
        && flag == "--child"
    {
        bodies::run(body);
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let trials = match missing() {
        None => settings::trials().into_iter().chain(containment::trials()),
        Some(missing) => {
            const NAME: &str = "control_groups_of_version_2";
            if !arguments.list {
                skip(NAME, &missing);
            }
            let skipped = Trial::test(NAME, || Ok(())).with_ignored_flag(true);
            return libtest_mimic::run(&arguments, vec![skipped]).exit_code();
        }
    };
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// What keeps this machine from running any of it.
fn missing() -> Option<String> {
    let elsewhere = "scripts/test-v2.sh runs it in a virtual machine";
    if !delegate::is_unified() {
        Some(format!("this machine has cgroup v1: {elsewhere}"))
    } else if !rustix::process::geteuid().is_root() {
        Some(format!("needs root, to give groups away: {elsewhere}"))
    } else if !Path::new("/run/systemd/system").exists() {
        Some(format!("systemd does not run here: {elsewhere}"))
    } else {
        delegate::missing()
    }
}

/// Records a skip with its reason (docs/development/testing.md).
fn skip(name: &str, missing: &str) {
    let line = format!("SKIP: {name}: {missing}\n");
    match std::env::var_os("KAVACH_SKIP_LOG") {
        Some(log) => {
            let log = fs::OpenOptions::new().append(true).open(log);
            log.unwrap().write_all(line.as_bytes()).unwrap();
        }
        None => eprint!("{line}"),
    }
}
