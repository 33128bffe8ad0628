//! The register of attacks by itself: its rows and cases, the guests that its trials run, the
//! trials that it names in other programs, and the matrix of results in docs/security. The
//! programs with the trials check their own names (`common/attacks.rs`).

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../common/attacks.rs"]
#[allow(
    dead_code,
    reason = "the checks of trials are for programs that have some"
)]
mod attacks;
mod guests;
mod matrix;
mod outcome;
mod render;

use std::path::{Path, PathBuf};

use attacks::Registry;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// Whether this is the repository, and not the package of the crate alone; said if not.
fn repository(test: &str) -> Option<PathBuf> {
    let root = Path::new(CRATE).parent()?.parent()?;
    if root.join("scripts/matrix.sh").exists() {
        return Some(root.to_owned());
    }
    skip(
        test,
        "docs and the other crates are in the repository, not in the package",
    );
    None
}

/// docs/development/testing.md has the form.
#[allow(clippy::print_stderr, reason = "a skip without a log is said there")]
fn skip(test: &str, missing: &str) {
    use std::io::Write as _;
    let line = format!("SKIP: {test}: {missing}\n");
    match std::env::var_os("KAVACH_SKIP_LOG") {
        Some(log) => {
            let log = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(log);
            log.unwrap().write_all(line.as_bytes()).unwrap();
        }
        None => eprint!("{line}"),
    }
}

#[test]
fn every_row_is_there_once_with_trials_or_a_reason() {
    let mistakes = Registry::read().mistakes();
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// Unit tests and tests of the command line, which cannot list themselves here.
#[test]
fn the_tests_it_names_in_other_programs_are_there() {
    let Some(root) = repository("the_tests_it_names_in_other_programs_are_there") else {
        return;
    };
    let registry = Registry::read();
    let names = registry
        .cases()
        .flat_map(|(_, case)| case.attacks.iter().chain(&case.controls));
    let mut looked_at = 0;
    for name in names {
        let (target, id) = name.split_once(' ').unwrap();
        let (file, function) = if target == "lib" {
            let (module, function) = id.rsplit_once("::").unwrap();
            let module = module.trim_end_matches("::tests").replace("::", "/");
            (format!("crates/kavach/src/{module}.rs"), function)
        } else if let Some(file) = target.strip_prefix("cli/") {
            (format!("crates/kavach-cli/tests/{file}.rs"), id)
        } else {
            assert!(
                ["isolation", "lifecycle", "workspace"].contains(&target),
                "{name}"
            );
            continue;
        };
        let text =
            std::fs::read_to_string(root.join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(
            text.contains(&format!("fn {function}(")),
            "no {function} in {file}"
        );
        looked_at += 1;
    }
    assert!(looked_at > 10, "{looked_at}");
}
