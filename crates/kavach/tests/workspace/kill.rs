//! kill -9 at any moment of an apply: each file is the old one or the new one, and the next apply
//! completes and cleans up.
//!
//! `KAVACH_SEED` chooses the seed (printed), `KAVACH_ROUNDS` the number of rounds.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use kavach::audit::Decision;
use kavach::workspace::{ApplyOptions, Baseline, Change, Layers, Review};
use libtest_mimic::Trial;

use crate::applying::assert_clean;
use crate::common::{Random, each, number};
use crate::overlay::{Kind, Overlay};
use crate::tree::Tree;

const ROUNDS: u64 = 12;
/// Files of each sort.
const FILES: usize = 25;

pub(crate) fn trials() -> Vec<Trial> {
    each("kill::each_file_is_old_or_new", old_or_new)
}

/// Says over standard output how far the apply is.
struct Progress;

impl Review for Progress {
    fn review(&self, _: &Change, _: Option<&File>) -> Decision {
        let mut out = std::io::stdout();
        out.write_all(b".").unwrap();
        out.flush().unwrap();
        Decision::Allow
    }
}

/// The process that is killed. The upper directory is its standard input.
pub(crate) fn child(args: &[String]) {
    let [lower, userxattr, all_or_nothing] = args else {
        panic!("{args:?}");
    };
    let layers = Layers {
        lower: File::open(lower).unwrap().into(),
        upper: File::open("/proc/self/fd/0").unwrap().into(),
        target: "/workspace".into(),
        userxattr: userxattr == "true",
    };
    let options = ApplyOptions::new()
        .review(Arc::new(Progress))
        .all_or_nothing(all_or_nothing == "true");
    let mut baseline = Baseline::now();
    let done = kavach::workspace::apply(&layers, &mut baseline, options).unwrap();
    assert_eq!(done.refused, []);
}

fn prepare(lower: &Path) {
    for n in 0..FILES {
        for sort in ["changed", "gone", "moved", "becomes"] {
            let content = format!("old {n} ").repeat(5000);
            fs::write(lower.join(format!("{sort}{n}")), content).unwrap();
        }
        fs::create_dir(lower.join(format!("dir{n}"))).unwrap();
        fs::write(lower.join(format!("dir{n}/x")), "old").unwrap();
    }
}

fn script() -> String {
    let mut script = String::new();
    for n in 0..FILES {
        script += &format!(
            "printf 'new {n} %.0s' $(seq 5000) > changed{n}; rm gone{n}; mkdir -p made{n}/a
             mv moved{n} made{n}/a/moved; chmod 600 dir{n}/x; ln -s changed{n} link{n}
             rm becomes{n}; mkdir becomes{n}; echo x > becomes{n}/x\n"
        );
        if n % 2 == 0 {
            script += &format!("rm -r dir{n}; echo now a file > dir{n}\n");
        }
    }
    script
}

fn old_or_new(kind: Kind) {
    let by_time = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap().subsec_nanos().into()
    };
    let seed = number("KAVACH_SEED").unwrap_or_else(by_time);
    let rounds = number("KAVACH_ROUNDS").unwrap_or(ROUNDS);
    println!("kill: KAVACH_SEED={seed} KAVACH_ROUNDS={rounds}");
    let (mut halfway, mut left_over) = (0, 0);
    for round in 0..rounds {
        let place = format!("KAVACH_SEED={seed}, round {round}");
        let mut random = Random(seed.wrapping_add(round));
        let mut overlay = Overlay::new(kind, prepare);
        let old = overlay.host();
        overlay.sh(&script());
        let new = overlay.tree();
        let all_or_nothing = random.below(2) == 0;
        let reviews = random.below(overlay.changes().len() as u64);
        kill_after(&overlay, reviews, random.below(200_000), all_or_nothing);
        let now = overlay.host();
        halfway += usize::from(now != old && now != new);
        left_over += usize::from(now.keys().any(|path| is_temporary(path)));
        check(&old, &new, &now, &place);
        // Another process, which knows nothing of the first.
        overlay.baseline = Baseline::now();
        let done = overlay.apply(ApplyOptions::new());
        assert_eq!(done.refused, [], "{place}");
        assert_eq!(overlay.host(), new, "{place}");
        assert_clean(&overlay);
    }
    println!("kill: {halfway} of {rounds} halfway, {left_over} with temporary files");
    assert!(halfway > 0, "no kill came in time: KAVACH_SEED={seed}");
}

fn is_temporary(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .unwrap()
        .starts_with(".kavach-apply-")
}

fn check(old: &Tree, new: &Tree, now: &Tree, place: &str) {
    for path in old.keys().chain(new.keys()) {
        let is = now.get(path);
        assert!(
            is == old.get(path) || is == new.get(path),
            "{place}: {path}: {is:?}, neither {:?} nor {:?}",
            old.get(path),
            new.get(path)
        );
    }
    for path in now.keys() {
        let known = old.contains_key(path) || new.contains_key(path);
        assert!(known || is_temporary(path), "{place}: {path}");
    }
}

/// Applies in a process of its own, and kills it after so many reviews and turns of a loop.
fn kill_after(overlay: &Overlay, reviews: u64, turns: u64, all_or_nothing: bool) {
    let upper = format!("/proc/self/fd/{}", overlay.layers.upper.as_raw_fd());
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--child", "apply"])
        .arg(&overlay.lower)
        .arg(overlay.layers.userxattr.to_string())
        .arg(all_or_nothing.to_string())
        .stdin(File::open(upper).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = process.stdout.take().unwrap();
    let mut byte = [0];
    for _ in 0..reviews {
        if out.read(&mut byte).unwrap() == 0 {
            break;
        }
    }
    for turn in 0..turns {
        std::hint::black_box(turn);
    }
    process.kill().unwrap();
    process.wait().unwrap();
}
