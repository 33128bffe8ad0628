//! What a sandbox lets ordinary programs do, and what it keeps hostile ones from doing: as root
//! and as an ordinary user, under `basic` and under `strict`. Each attack has its positive
//! control under `noop` with `minimal`, so that a pass means blocked and not broken.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../common/attacks.rs"]
#[allow(dead_code, reason = "what the other programs need of it")]
mod attacks;
#[path = "../common/delegate.rs"]
mod delegate;
#[path = "../common/harness.rs"]
mod harness;
#[path = "../common/world.rs"]
mod world;

mod daemons;
mod doors;
mod limits;
mod memory;
mod network;
mod others;
mod programs;
mod project;
mod races;
mod ready;
mod refused;
mod repeated;
mod rootfs;
mod secrets;
mod streams;
mod terminals;
mod verify;
mod view;
mod workspace;
mod workspace_attacks;
mod workspace_refused;
mod write_through;
mod write_through_attacks;

use std::process::ExitCode;

/// The hostile programs, compiled once for each run.
const GUESTS: [(&str, &str); 10] = [
    ("guest.h", include_str!("../guests/guest.h")),
    ("kernel.c", include_str!("../guests/kernel.c")),
    ("ring.c", include_str!("../guests/ring.c")),
    ("race.c", include_str!("../guests/race.c")),
    ("process.c", include_str!("../guests/process.c")),
    ("setuid.c", include_str!("../guests/setuid.c")),
    ("terminal.c", include_str!("../guests/terminal.c")),
    ("net.c", include_str!("../guests/net.c")),
    ("resources.c", include_str!("../guests/resources.c")),
    ("shared.c", include_str!("../guests/shared.c")),
];

fn main() -> ExitCode {
    let mut suite = harness::Suite::default();
    programs::add(&mut suite);
    view::add(&mut suite);
    others::add(&mut suite);
    doors::add(&mut suite);
    network::add(&mut suite);
    streams::add(&mut suite);
    terminals::add(&mut suite);
    daemons::add(&mut suite);
    limits::add(&mut suite);
    memory::add(&mut suite);
    races::add(&mut suite);
    repeated::add(&mut suite);
    secrets::add(&mut suite);
    refused::add(&mut suite);
    workspace::add(&mut suite);
    workspace_attacks::add(&mut suite);
    workspace_refused::add(&mut suite);
    write_through::add(&mut suite);
    write_through_attacks::add(&mut suite);
    rootfs::add(&mut suite);
    verify::add(&mut suite);
    ready::add(&mut suite);
    suite.main(&GUESTS)
}
