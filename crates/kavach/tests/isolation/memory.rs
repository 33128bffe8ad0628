//! Memory of every kind: what a guest can hold is bounded by its limit, whatever it is called, and
//! what is the kernel's cache is reclaimed and ends nobody.

use kavach::{Command, Control, Termination};

use crate::harness::{Setting, Suite, Who, fixture};
use crate::world::{World, act, builder, policy};

const STRICT: [&str; 1] = ["strict"];
const CONTROL: [&str; 1] = ["noop"];
/// The limit, in MiB, and several times as much.
const LIMIT: u64 = 64;
const MUCH: &str = "400";

pub(crate) fn add(suite: &mut Suite) {
    suite.subject_for("memory", Who::ALL);
    for (name, args) in KINDS {
        suite.each(&format!("control_{name}"), &CONTROL, move |s| {
            let said = World::of(s.policy).said(act("resources", args));
            assert!(said.ends_with("EFFECT"), "{said}");
        });
    }
    suite.each("a_mapped_memfd", &STRICT, |s| {
        bounded(s, &["memfd_mapped", MUCH], "errno EPERM");
    });
    let shared = "shared_memory_that_nobody_has_mapped";
    suite.each(shared, &["basic"], |s| {
        bounded(s, &["shared_unmapped", MUCH], "400 MiB left errno EPERM");
    });
    suite.each(shared, &STRICT, |s| {
        let said = world(s).said(act("resources", &["shared_unmapped", MUCH]));
        assert_eq!(said, "400 MiB left errno ENOSYS");
    });
    suite.each("full_pipes", &STRICT, pipes);
    suite.each("the_cache_of_files", &STRICT, cache);
}

const KINDS: &[(&str, &[&str])] = &[
    ("a_mapped_memfd", &["memfd_mapped", "100"]),
    (
        "shared_memory_that_nobody_has_mapped",
        &["shared_unmapped", "100", "gone"],
    ),
    // So little that other trials of the same user cannot have used it up: the kernel counts
    // the pages in the pipes of a user.
    ("full_pipes", &["pipes", "3"]),
    ("the_cache_of_files", &["page_cache", "/bin/bash", "200"]),
];

fn world(s: Setting) -> World {
    let mut policy = policy(s.policy);
    policy.limits.memory_mb = Some(LIMIT);
    policy.accept_approximate.insert(Control::Memory);
    World::new(builder().policy(policy).read(fixture().join("guests")))
}

/// Counted by the control group; without one the filter keeps it from being made at all.
fn bounded(s: Setting, args: &[&str], refused: &str) {
    let world = world(s);
    let result = world.run(act("resources", args).timeout_ms(60_000));
    if s.who.has_cgroups() {
        assert_eq!(
            result.termination,
            Termination::OutOfMemory,
            "{}",
            result.stdout
        );
    } else {
        assert_eq!(result.stdout.trim_end(), refused);
    }
}

/// What a pipe holds is the kernel's memory. A control group counts it; without one the kernel's
/// own bound for an ordinary user holds (`pipe-user-pages-soft`, 64 MiB, and two pages for each
/// further pipe), and the number of open files.
fn pipes(s: Setting) {
    let mut policy = policy(s.policy);
    policy.limits.memory_mb = Some(LIMIT / 2);
    let world = World::new(builder().policy(policy).read(fixture().join("guests")));
    let fill = |args: &[&str]| world.run(act("resources", args).timeout_ms(60_000));
    if s.who.has_cgroups() {
        // Many processes: what other trials of this user hold leaves each of them 4 MiB at least.
        let result = fill(&["pipes", MUCH, "16"]);
        assert_eq!(
            result.termination,
            Termination::OutOfMemory,
            "{}",
            result.stdout
        );
        return;
    }
    let result = fill(&["pipes", MUCH]);
    let (held, why) = result.stdout.trim_end().split_once(" MiB ").unwrap();
    assert_eq!(why, "errno EMFILE");
    assert!(held.parse::<u64>().unwrap() < 100, "{held} MiB");
}

/// Six times the limit passes through the cache: it is given back, and nobody is killed for it.
fn cache(s: Setting) {
    let project = crate::project::Project::new();
    let file = project.path("large");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(400 << 20)
        .unwrap();
    let mut policy = policy(s.policy);
    policy.limits.memory_mb = Some(LIMIT);
    let config = builder()
        .policy(policy)
        .read(fixture().join("guests"))
        .read(&project.0);
    let world = World::new(config);
    let read = act("resources", &["page_cache", file.to_str().unwrap(), MUCH]);
    let result = world.run(read.timeout_ms(60_000));
    assert_eq!(result.termination, Termination::Exited(0));
    assert_eq!(result.stdout, "EFFECT\n");
    let killed = result
        .limit_events
        .iter()
        .filter(|e| e.control == Control::Memory);
    let peak = result.usage.memory_peak_bytes;
    if s.who.has_cgroups() {
        assert!(
            peak.is_some_and(|bytes| bytes <= (LIMIT + 1) << 20),
            "{peak:?} {:?}",
            killed.count()
        );
    }
    assert_eq!(world.said(Command::new("echo").arg("well")), "well");
}
