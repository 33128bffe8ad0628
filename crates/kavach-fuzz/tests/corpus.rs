//! The corpus through the targets, on the plain toolchain: what a fuzzer once found stays mended.
//!
//! One test at a time, because a target looks at which descriptors of the process are free.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use kavach_fuzz::{TARGETS, Target};

/// Beginnings of a seed that are tried too: a text may end anywhere.
const BEGINNINGS: usize = 16;

/// Targets count the descriptors of the process, and a panic opens files for its backtrace.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn every_seed_and_its_beginnings_pass_their_target() {
    let _alone = ONE_AT_A_TIME.lock();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut failed = Vec::new();
    for target in TARGETS {
        let mut seeds: Vec<_> = fs::read_dir(corpus.join(target.name))
            .unwrap_or_else(|e| panic!("no seeds for {}: {e}", target.name))
            .map(|entry| entry.unwrap().path())
            .collect();
        seeds.sort();
        assert!(seeds.len() >= 3, "too few seeds for {}", target.name);
        let (mut runs, begun) = (0, std::time::Instant::now());
        for path in seeds {
            let seed = fs::read(&path).unwrap();
            assert!(seed.len() <= 4096, "{} is no small seed", path.display());
            let step = seed.len().div_ceil(BEGINNINGS).max(1);
            for end in (0..seed.len()).step_by(step).chain([seed.len()]) {
                runs += 1;
                if fails(target, &seed[..end]) {
                    failed.push(format!("{} {} {end}", target.name, path.display()));
                }
            }
        }
        println!("{}: {runs} runs, {:?}", target.name, begun.elapsed());
    }
    let strangers: Vec<_> = fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_str().and_then(kavach_fuzz::target).is_none())
        .collect();
    assert!(
        strangers.is_empty(),
        "seeds without a target: {strangers:?}"
    );
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A target that could not fail would prove nothing.
#[test]
fn a_target_that_panics_is_seen() {
    let _alone = ONE_AT_A_TIME.lock();
    let broken = Target {
        name: "broken",
        about: "",
        run: |data| assert!(data.is_empty()),
    };
    assert!(fails(&broken, b"x") && !fails(&broken, b""));
}

fn fails(target: &Target, data: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_err()
}
