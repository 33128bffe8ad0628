//! Tests that cannot run here are listed with what is missing (docs/development/testing.md).

use std::fs;
use std::io::Write;

/// Whether nothing is missing; records the skip of this test otherwise.
pub(crate) fn available(missing: &[String]) -> bool {
    if missing.is_empty() {
        return true;
    }
    // The harness names a test's thread after it.
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test of the library");
    let line = format!("SKIP: {name}: {}\n", missing.join("; "));
    match std::env::var_os("KAVACH_SKIP_LOG") {
        Some(log) => {
            let log = fs::OpenOptions::new().append(true).open(log);
            log.unwrap().write_all(line.as_bytes()).unwrap();
        }
        None => std::io::stderr().write_all(line.as_bytes()).unwrap(),
    }
    false
}
