//! `kavach gc`: what dead host processes left behind.

use kavach::gc::{find, gc};

use crate::cli::GcArgs;
use crate::error::Result;
use crate::exit_code;
use crate::json::{self, Leftover};
use crate::output;
use crate::progress::Progress;

pub(crate) fn run(args: &GcArgs) -> Result<u8> {
    let progress = Progress::start(args.output, "removing what was left behind");
    let document = if args.dry_run {
        json::Gc::found(&find()?)
    } else {
        json::Gc::done(&gc()?)
    };
    drop(progress);
    let code = if document.failed.is_empty() {
        exit_code::OK
    } else {
        exit_code::NOT_OK
    };
    if args.output.json {
        json::print(&document)?;
    } else {
        for text in lines(&document) {
            output::line(&text)?;
        }
    }
    Ok(code)
}

fn lines(document: &json::Gc) -> Vec<String> {
    let of = |leftover: &Leftover| {
        format!(
            "of host process {} (dead): {}",
            leftover.host_pid,
            leftover.paths.join(", ")
        )
    };
    let mut lines: Vec<String> = Vec::new();
    lines.extend(
        document
            .found
            .iter()
            .map(|found| format!("would remove {}", of(found))),
    );
    lines.extend(document.removed.iter().map(|removed| {
        let killed = match removed.killed_processes {
            0 => String::new(),
            n => format!(", {n} processes killed"),
        };
        format!("removed {}{killed}", of(&removed.leftover))
    }));
    lines.extend(document.failed.iter().map(|failed| {
        format!(
            "could not remove {}: {}",
            of(&failed.leftover),
            failed.error
        )
    }));
    if lines.is_empty() {
        lines.push("nothing was left behind".into());
    }
    lines
        .iter()
        .map(|line| crate::terminal::plain(line))
        .collect()
}
