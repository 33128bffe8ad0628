//! What the tests share.

use std::fs;
use std::io::Write as _;

use libtest_mimic::Trial;

use crate::overlay::{Kind, no_overlay};

/// A test with an overlay mount, of each kind that this user can mount.
pub(crate) fn each(name: &'static str, run: fn(Kind)) -> Vec<Trial> {
    let kinds = Kind::all().iter();
    kinds
        .map(|kind| {
            let name = match kind {
                Kind::User => format!("{name}::userxattr"),
                Kind::Trusted => format!("{name}::trusted"),
            };
            test_with(&name, no_overlay(), move || run(*kind))
        })
        .collect()
}

/// The name of a test, with who runs it where this is not the one who started the suite.
fn named(name: &str) -> String {
    std::env::var("KAVACH_TEST_AS").map_or_else(|_| name.to_owned(), |who| format!("{who}::{name}"))
}

/// A test that needs something; skipped, with what is missing, where it is not there.
pub(crate) fn test_with(
    name: &str,
    missing: Option<&str>,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let name = named(name);
    if let Some(missing) = missing {
        let missing = missing.replace('\n', " ");
        let line = format!("SKIP: {name}: {}\n", missing.trim());
        match std::env::var_os("KAVACH_SKIP_LOG") {
            Some(log) => {
                let log = fs::OpenOptions::new().append(true).open(log);
                log.unwrap().write_all(line.as_bytes()).unwrap();
            }
            None => eprint!("{line}"),
        }
    }
    let run = move || {
        run();
        Ok(())
    };
    Trial::test(name, run).with_ignored_flag(missing.is_some())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Numbers that look random and are the same for the same seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A number from the environment, for seeds and rounds.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{variable}: {e}")))
}
