//! Whatever a guest does with files, directories and links: after an apply the host has what the
//! guest sees.
//!
//! `KAVACH_SEED` chooses the seed (printed), `KAVACH_ROUNDS` the number of rounds.

use std::time::SystemTime;

use kavach::ApplyOptions;
use libtest_mimic::Trial;

use crate::common::{Random, each, number};
use crate::overlay::{Kind, Overlay};
use crate::tree::{perform, random_ops};

const ROUNDS: u64 = 12;
/// Times that a guest works and is applied, in one mount.
const TURNS: usize = 3;

pub(crate) fn trials() -> Vec<Trial> {
    each("random::the_host_has_what_the_guest_sees", the_same)
}

fn the_same(kind: Kind) {
    let by_time = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap().subsec_nanos().into()
    };
    let seed = number("KAVACH_SEED").unwrap_or_else(by_time);
    let rounds = number("KAVACH_ROUNDS").unwrap_or(ROUNDS);
    println!("random: KAVACH_SEED={seed} KAVACH_ROUNDS={rounds}");
    for round in 0..rounds {
        let mut random = Random(seed.wrapping_add(round));
        let at_first = random_ops(&mut random, 60);
        let mut overlay = Overlay::new(kind, |lower| perform(lower, &at_first));
        for turn in 0..TURNS {
            let place = format!("KAVACH_SEED={seed}, round {round}, turn {turn}");
            let before = overlay.host();
            let ops = random_ops(&mut random, 40);
            overlay.perform(ops.clone());
            let seen = overlay.tree();
            let changes = overlay.changes();
            // Nothing is written by looking, and what is listed is what differs.
            assert_eq!(overlay.host(), before, "{place}");
            let differing = |path: &String| before.get(path) != seen.get(path);
            let mut expected: Vec<&String> = before
                .keys()
                .chain(seen.keys())
                .filter(|p| differing(p))
                .collect();
            expected.sort();
            expected.dedup();
            let mut listed: Vec<String> = changes.iter().map(|c| c.path.to_string()).collect();
            listed.sort();
            assert_eq!(
                listed.iter().collect::<Vec<_>>(),
                expected,
                "{place}\n{before:#?}\n{ops:?}\n{seen:#?}"
            );
            let options = ApplyOptions::new().all_or_nothing(random.below(2) == 0);
            let applied = overlay.apply(options);
            assert_eq!(applied.refused, [], "{place}\n{at_first:?}\n{ops:?}");
            assert!(applied.is_complete(), "{place}");
            assert_eq!(overlay.host(), seen, "{place}\n{at_first:?}\n{ops:?}");
            assert_eq!(overlay.listed(), [""; 0], "{place}");
            // The guest works on, on this mount or on a new one.
            if random.below(2) == 0 {
                overlay = overlay.again(kind);
            }
        }
    }
}
