//! `kavach gc`: what dead host processes left behind.

use kavach::gc::{self, Leftover, Removed};
use serde::Serialize;

use crate::cli::GcArgs;
use crate::error::Result;
use crate::exit_code;
use crate::json;
use crate::output;

#[derive(Serialize)]
struct Document {
    dry_run: bool,
    found: Vec<Leftover>,
    removed: Vec<Removed>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    leftover: Leftover,
    error: String,
}

pub(crate) fn run(args: &GcArgs) -> Result<u8> {
    let mut document = Document {
        dry_run: args.dry_run,
        found: Vec::new(),
        removed: Vec::new(),
        failed: Vec::new(),
    };
    if args.dry_run {
        document.found = gc::find()?;
    } else {
        let report = kavach::gc()?;
        document.removed = report.removed;
        document.failed = report
            .failed
            .into_iter()
            .map(|failed| Failed {
                leftover: failed.leftover,
                error: failed.error.to_string(),
            })
            .collect();
    }
    let code = if document.failed.is_empty() {
        exit_code::OK
    } else {
        exit_code::NOT_OK
    };
    if args.json {
        json::print(&document)?;
    } else {
        for text in lines(&document) {
            output::line(&text)?;
        }
    }
    Ok(code)
}

fn lines(document: &Document) -> Vec<String> {
    let of = |leftover: &Leftover| {
        let paths = leftover.paths.iter().map(|path| path.display().to_string());
        format!(
            "of host process {} (dead): {}",
            leftover.host_pid,
            paths.collect::<Vec<_>>().join(", ")
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
