//! Collecting what a dead host left.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use super::super::Version;
use super::super::gc::{clean, stale};
use super::super::limits::Limits;
use super::super::name::Owner;
use super::super::probe::unified_chain;
use super::{SPIN, Scratch, Shell, available, host, until, version};

/// An owner that is dead by now.
fn dead_owner() -> Owner {
    let shell = Shell::new("exit");
    let stat = fs::read_to_string(format!("/proc/{}/stat", shell.0.id())).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let start_time = rest.split_whitespace().nth(19).unwrap().parse().unwrap();
    Owner {
        pid: shell.0.id(),
        start_time,
        ..Owner::current(0, "gc").unwrap()
    }
}

/// Directories at and below `path`; none where it is not.
fn below(path: &Path) -> usize {
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    let children = entries.flatten().map(|entry| entry.path());
    1 + children
        .filter(|c| c.is_dir())
        .map(|c| below(&c))
        .sum::<usize>()
}

#[test]
fn the_frozen_group_of_a_dead_owner_is_collected_and_a_live_one_is_not() {
    let Some(support) = host() else { return };
    let alive = Scratch::new(&support, &Limits::default());
    let owner = dead_owner();
    let dead = Scratch::named(&support, &Limits::default(), &owner);
    let leaf = dead.group.leaf(1).unwrap();
    let mut shell = Shell::start_in(SPIN, &leaf);
    dead.group.freeze().unwrap();
    until("the guest to freeze", || dead.group.frozen().unwrap());

    let made: Vec<_> = dead
        .bases
        .iter()
        .map(|base| below(&base.join(&dead.name)))
        .filter(|directories| *directories > 0)
        .collect();

    let found = stale(&support, &unified_chain());
    assert!(
        found
            .iter()
            .all(|stale| stale.owner.to_string() != alive.name)
    );
    let stale = found.iter().find(|stale| stale.owner == owner).unwrap();
    assert_eq!(stale.paths().count(), made.len());
    let cleaned = clean(stale).unwrap();
    assert_eq!(cleaned.killed, 1);
    assert_eq!(
        cleaned.removed,
        made.iter().sum::<usize>(),
        "name, guest and one leaf each, where each is made"
    );
    assert_eq!(shell.0.wait().unwrap().signal(), Some(9));
    assert_eq!(dead.dirs(), <[PathBuf; 0]>::default());
    assert_eq!(clean(stale).unwrap().removed, 0, "twice is no error");
    alive.end();
}

#[test]
fn what_was_left_in_a_group_above_is_found_too() {
    let Some(support) = host() else { return };
    let chain = unified_chain();
    let missing = (version(&support) == Version::V1)
        .then(|| "the cgroup controllers of version 2: one of version 1 has one place".to_owned());
    if !available(missing.as_slice()) {
        return;
    }
    assert!(chain.len() > 1, "{chain:?}");
    for (above, seq) in chain.iter().zip(1000..) {
        let owner = Owner {
            seq,
            ..dead_owner()
        };
        let left = above.join(owner.to_string());
        fs::create_dir(&left).unwrap();
        let found = stale(&support, &chain);
        let found = found.iter().find(|stale| stale.owner == owner).unwrap();
        assert_eq!(clean(found).unwrap().removed, 1);
        assert!(!left.exists());
    }
}
