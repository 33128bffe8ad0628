use std::sync::OnceLock;

use kavach::host::HostFacts;
use kavach::plan::{explain, plan};
use kavach::policy::{Format, PolicyProblem};
use kavach::{SandboxConfig, SandboxPolicy};

use crate::input::Input;
use crate::text::assert_plain;

/// Parts two policies in one input.
const BETWEEN: &str = "\n%%\n";
/// Where a policy of the process backend ends on the scale.
const CEILING: u8 = 69;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.byte();
    let text = String::from_utf8_lossy(input.rest());
    let (first, second) = text.split_once(BETWEEN).unwrap_or((&text, ""));
    let format = |bit: u8| match shape & bit {
        0 => Format::Toml,
        _ => Format::Json,
    };
    let Some(first) = read(first, format(1)) else {
        return;
    };
    explained(&first, &hosts()[usize::from(shape >> 2) % hosts().len()]);
    for preset in [SandboxPolicy::strict(), SandboxPolicy::minimal()] {
        compared(&first, &preset);
    }
    if let Some(second) = read(second, format(2)) {
        compared(&first, &second);
    }
}

/// The policy, if it is one; everything that is said about it is in order.
fn read(text: &str, format: Format) -> Option<SandboxPolicy> {
    let check = SandboxPolicy::check(text, format, "a policy");
    assert_eq!(check.policy.is_some(), check.problems.is_empty());
    for problem in check.problems.iter().chain(&check.warnings) {
        in_order(problem, text);
    }
    let policy = check.policy?;
    policy.validate().expect("what is read is valid");
    assert_plain(&policy.name);
    for (written, format) in [
        (policy.to_toml(), Format::Toml),
        (policy.to_json(), Format::Json),
    ] {
        let written = written.expect("it came from text");
        let again = SandboxPolicy::parse(&written, format, "again");
        assert_eq!(again.ok().as_ref(), Some(&policy), "{written}");
    }
    assert!(policy.diff(&policy).is_empty());
    Some(policy)
}

fn in_order(problem: &PolicyProblem, text: &str) {
    assert_plain(&problem.to_string());
    assert_plain(&problem.hint().unwrap_or_default());
    let lines = text.split('\n').count();
    assert!(
        problem
            .line
            .is_none_or(|line| (1..=lines).contains(&(line as usize)))
    );
    if let Some(excerpt) = &problem.excerpt {
        assert_plain(&excerpt.text);
        assert!(!excerpt.text.contains('\n'));
        // A mark may stand behind the end, where something is missing.
        let room = excerpt.text.chars().count() + 1;
        assert!(
            excerpt.length >= 1 && excerpt.start + excerpt.length <= room,
            "{excerpt:?}"
        );
    }
}

/// Merging and comparing keep what they promise.
fn compared(a: &SandboxPolicy, b: &SandboxPolicy) {
    let merged = a.merge(b);
    merged
        .validate()
        .expect("two valid policies make a valid one");
    for part in [a, b] {
        assert!(
            merged.is_at_least_as_strict_as(part),
            "{merged:?}\n{part:?}"
        );
    }
    let mut other = b.merge(a);
    other.name.clone_from(&merged.name);
    assert_eq!(other, merged, "the order does not matter");
    assert_eq!(a.merge(a), *a, "nor does doing it twice");
    for (from, to) in [(a, b), (b, a)] {
        for change in from.diff(to) {
            for (act, by, not_by) in [(&change.allows, to, from), (&change.denies, from, to)] {
                if let Some(act) = act {
                    assert!(by.allows(act) && !not_by.allows(act), "{change:?}");
                }
            }
        }
    }
}

/// The plan and its explanation agree, and the score stays on its scale.
fn explained(policy: &SandboxPolicy, host: &HostFacts) {
    let config = SandboxConfig::builder().policy(policy.clone()).build();
    let spec = config.validate().expect("a valid policy and no more");
    let planned = plan(&spec, host);
    match explain(&spec, host) {
        Ok(explanation) => {
            assert_eq!(explanation.starts, planned.is_ok(), "{:?}", planned.err());
            assert!(explanation.scale.value() <= CEILING);
            if let Some(strength) = explanation.strength {
                assert!(strength.value() <= explanation.scale.value());
            }
            for control in explanation.controls {
                assert_plain(&control.mechanism);
                assert_plain(&control.requested);
            }
        }
        Err(error) => {
            assert!(planned.is_err(), "{error}");
            assert_plain(&error.to_string());
        }
    }
}

fn hosts() -> &'static [HostFacts] {
    static HOSTS: OnceLock<Vec<HostFacts>> = OnceLock::new();
    HOSTS.get_or_init(|| {
        vec![
            HostFacts::modern_root(),
            HostFacts::modern_user(),
            HostFacts::in_docker(),
            HostFacts::modern_user()
                .without_cgroups()
                .without_landlock(),
            HostFacts::modern_root()
                .with_cgroup_v1()
                .with_landlock_abi(1),
            HostFacts::modern_user().without_userns().without_seccomp(),
        ]
    })
}
