//! Skipping out loud.
#![allow(clippy::print_stderr, reason = "a skip without a log is said there")]

use std::fs::OpenOptions;
use std::io::Write as _;

/// docs/development/testing.md has the form.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("SKIP: {test}: {}\n", why.replace('\n', " ").trim());
    match std::env::var_os("KAVACH_SKIP_LOG") {
        Some(log) => OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap(),
        None => eprint!("{line}"),
    }
}
