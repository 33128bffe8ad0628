//! Laws of policies: written and read, merged, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::control::{Control, Requirement};
use crate::scoring;

/// Paths that lie in each other, and some that do not.
fn paths() -> impl Strategy<Value = Vec<PathBuf>> {
    let path = prop_oneof![
        Just("/srv"),
        Just("/srv/data"),
        Just("/srv/data/set one"),
        Just("/srv2"),
        Just("/opt/tools"),
        Just("/home/ann/é"),
    ];
    // Sorted, as a merge leaves them.
    proptest::collection::btree_set(path, 0..4)
        .prop_map(|paths| paths.into_iter().map(PathBuf::from).collect())
}

fn filesystem() -> impl Strategy<Value = Filesystem> {
    let private = prop_oneof![3 => Just(View::Private), 1 => Just(View::Host)];
    let links = prop_oneof![Just(Links::Follow), Just(Links::Refuse)];
    let sizes = (1..4000_u64, 16..9000_u64, 1..4000_u64);
    let write_through = prop_oneof![3 => Just(Vec::new()), 1 => paths()];
    let workspace = (1..4000_u64, 16..9000_u64, write_through);
    (private, any::<bool>(), paths(), links, sizes, workspace).prop_map(
        |(view, read_only_root, read, read_links, sizes, workspace)| Filesystem {
            view,
            read_only_root,
            read,
            read_links,
            tmp_mb: sizes.0,
            tmp_inodes: sizes.1,
            shm_mb: sizes.2,
            workspace_mb: workspace.0,
            workspace_inodes: workspace.1,
            // Needs a filter, which other strategies leave out; its values are those of `read`.
            write_through: workspace.2,
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    use proptest::option::of;
    (
        of(1..9000_u64),
        of(prop_oneof![
            Just(0.01),
            Just(0.5),
            Just(1.0),
            0.01..64.0_f64
        ]),
        of(1..90_000_u64),
        of(1..5000_u32),
        of(8..5000_u32),
        of(1..9000_u64),
        1..5000_u64,
        prop_oneof![Just(OnOutput::Truncate), Just(OnOutput::Kill)],
    )
        .prop_map(
            |(
                memory_mb,
                cpus,
                cpu_time_ms,
                pids,
                open_files,
                file_size_mb,
                output_kb,
                on_output,
            )| {
                Limits {
                    memory_mb,
                    cpus,
                    cpu_time_ms,
                    pids,
                    open_files,
                    file_size_mb,
                    output_kb,
                    on_output,
                }
            },
        )
}

fn namespaces() -> impl Strategy<Value = Namespaces> {
    let mostly = || proptest::bool::weighted(0.8);
    (mostly(), mostly(), mostly(), mostly(), mostly(), mostly()).prop_map(
        |(user, pid, mount, ipc, uts, cgroup)| Namespaces {
            user,
            pid,
            mount,
            ipc,
            uts,
            cgroup,
        },
    )
}

fn requirements() -> impl Strategy<Value = BTreeMap<Control, Requirement>> {
    let control = proptest::sample::select(&Control::ALL[..]);
    let requirement = prop_oneof![
        Just(Requirement::Required),
        Just(Requirement::Preferred),
        Just(Requirement::Off),
    ];
    proptest::collection::btree_map(control, requirement, 0..5)
}

fn approximate() -> impl Strategy<Value = BTreeSet<Control>> {
    let all = Control::ALL.into_iter();
    let may: Vec<Control> = all.filter(|control| control.may_be_approximate()).collect();
    proptest::collection::btree_set(proptest::sample::select(may), 0..4)
}

/// Any valid policy.
fn policy() -> impl Strategy<Value = SandboxPolicy> {
    let profile = prop_oneof![Just(None), Just(Some("basic")), Just(Some("strict"))];
    let network = prop_oneof![2 => Just(Network::Off), 1 => Just(Network::On)];
    let parts = (filesystem(), namespaces(), limits());
    (
        profile,
        network,
        any::<bool>(),
        parts,
        requirements(),
        approximate(),
    )
        .prop_map(
            |(profile, network, landlock, parts, requirements, accept_approximate)| {
                let (filesystem, namespaces, limits) = parts;
                SandboxPolicy {
                    name: "p".into(),
                    syscall_filter: SyscallFilter {
                        profile: profile.map(str::to_owned),
                    },
                    filesystem,
                    landlock,
                    network,
                    namespaces,
                    limits,
                    requirements,
                    accept_approximate,
                }
            },
        )
        .prop_filter("a policy that contradicts itself", |policy| {
            policy.validate().is_ok()
        })
}

/// The same but for the name, which says in which order policies were merged.
fn nameless(mut policy: SandboxPolicy) -> SandboxPolicy {
    policy.name.clear();
    policy
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(policy in policy()) {
        let toml = policy.to_toml().unwrap();
        prop_assert_eq!(&SandboxPolicy::parse(&toml, Format::Toml, "x").unwrap(), &policy);
        let json = policy.to_json().unwrap();
        prop_assert_eq!(&SandboxPolicy::parse(&json, Format::Json, "x").unwrap(), &policy);
    }

    #[test]
    fn a_merge_does_not_depend_on_the_order(a in policy(), b in policy(), c in policy()) {
        prop_assert_eq!(nameless(a.merge(&b)), nameless(b.merge(&a)));
        prop_assert_eq!(nameless(a.merge(&b).merge(&c)), nameless(a.merge(&b.merge(&c))));
        prop_assert_eq!(&a.merge(&a), &a);
    }

    #[test]
    fn a_merge_is_valid_and_as_strict_as_both(a in policy(), b in policy()) {
        let merged = a.merge(&b);
        merged.validate().unwrap();
        prop_assert!(merged.is_at_least_as_strict_as(&a), "{:#?}", a.diff(&merged));
        prop_assert!(merged.is_at_least_as_strict_as(&b), "{:#?}", b.diff(&merged));
    }

    /// No more than both ask for: what is as strict as another gains nothing by it, but that
    /// read paths through links are refused where the lists differ.
    #[test]
    fn a_merge_asks_for_no_more_than_it_must(a in policy(), b in policy()) {
        let strict = a.merge(&b);
        let mut merged = strict.merge(&a);
        merged.filesystem.read_links = strict.filesystem.read_links;
        prop_assert!(strict.is_at_least_as_strict_as(&merged), "{:#?}", strict.diff(&merged));
        for control in Control::ALL {
            let either = a.asks_for(control) || b.asks_for(control);
            prop_assert_eq!(strict.asks_for(control), either, "{}", control);
        }
    }

    #[test]
    fn a_merge_scores_no_less_than_either(a in policy(), b in policy()) {
        let merged = a.merge(&b);
        for backend in crate::Backend::ALL {
            let score = |policy| scoring::score_backend(backend, policy).value();
            prop_assert!(score(&merged) >= score(&a).max(score(&b)));
        }
    }

    #[test]
    fn every_witness_of_a_diff_is_true(a in policy(), b in policy()) {
        for change in a.diff(&b) {
            if let Some(act) = &change.allows {
                prop_assert!(b.allows(act) && !a.allows(act), "{:?}", change);
            }
            if let Some(act) = &change.denies {
                prop_assert!(a.allows(act) && !b.allows(act), "{:?}", change);
            }
        }
    }

    #[test]
    fn a_diff_backwards_is_the_same_the_other_way(a in policy(), b in policy()) {
        let there = a.diff(&b);
        let back = b.diff(&a);
        prop_assert_eq!(there.len(), back.len());
        for (one, other) in there.iter().zip(&back) {
            prop_assert_eq!(&one.key, &other.key);
            prop_assert_eq!(&one.allows, &other.denies);
        }
        prop_assert!(a.diff(&a).is_empty());
    }

    #[test]
    fn strictness_is_transitive(a in policy(), b in policy(), c in policy()) {
        // Merging makes chains, which arbitrary policies hardly ever are.
        let (b, c) = (a.merge(&b), a.merge(&b).merge(&c));
        prop_assert!(c.is_at_least_as_strict_as(&b) && b.is_at_least_as_strict_as(&a));
        prop_assert!(c.is_at_least_as_strict_as(&a), "{:#?}", a.diff(&c));
    }
}

#[test]
fn presets_are_a_chain() {
    let [minimal, basic, strict] = PRESETS.map(|name| SandboxPolicy::from_preset(name).unwrap());
    assert!(strict.is_at_least_as_strict_as(&basic));
    assert!(basic.is_at_least_as_strict_as(&minimal));
    assert!(!basic.is_at_least_as_strict_as(&strict));
    assert_eq!(nameless(basic.merge(&strict)), nameless(strict.clone()));
}

/// A limit that its own policy does not ask for does not lower another's.
#[test]
fn a_limit_that_is_switched_off_does_not_count() {
    let mut off = SandboxPolicy::strict();
    off.requirements.insert(Control::Memory, Requirement::Off);
    let mut own = SandboxPolicy::basic();
    own.limits.memory_mb = Some(4096);
    let merged = off.merge(&own);
    assert_eq!(merged.limits.memory_mb, Some(4096));
    assert_eq!(merged.requirement(Control::Memory), Requirement::Required);
    // Approximations are accepted where all that ask for the limit accept them.
    assert!(!merged.accept_approximate.contains(&Control::Memory));
    assert!(merged.accept_approximate.contains(&Control::Pids));
}

#[test]
fn a_merge_of_read_paths_keeps_what_both_show_and_refuses_links() {
    let with = |paths: &[&str]| {
        let mut policy = SandboxPolicy::basic();
        policy.filesystem.read = paths.iter().map(PathBuf::from).collect();
        policy
    };
    let merged = with(&["/srv", "/opt"]).merge(&with(&["/srv/data", "/home/x"]));
    assert_eq!(merged.filesystem.read, [PathBuf::from("/srv/data")]);
    assert_eq!(merged.filesystem.read_links, Links::Refuse);
    // The host's view shows everything: the other's list counts alone.
    let merged = SandboxPolicy::minimal().merge(&with(&["/srv"]));
    assert_eq!(merged.filesystem.read, [PathBuf::from("/srv")]);
    assert_eq!(merged.filesystem.read_links, Links::Follow);
}

#[test]
fn names_are_joined_as_far_as_a_name_may_be() {
    let named = |name: &str| SandboxPolicy {
        name: name.into(),
        ..SandboxPolicy::basic()
    };
    assert_eq!(named("a").merge(&named("b")).name, "a + b");
    let long = named(&"é".repeat(64)).merge(&named("b"));
    long.validate().unwrap();
    assert!(long.name.ends_with('…'));
}

#[test]
fn a_diff_names_each_change_with_a_witness() {
    let strict = SandboxPolicy::strict();
    let mut mine = SandboxPolicy::strict();
    mine.syscall_filter.profile = Some("basic".into());
    mine.network = Network::On;
    mine.limits.memory_mb = Some(1024);
    mine.limits.pids = None;
    mine.limits.cpus = Some(0.5);
    mine.limits.file_size_mb = Some(10);
    mine.filesystem.read = vec!["/srv".into()];
    mine.requirements
        .insert(Control::Landlock, Requirement::Preferred);
    mine.requirements
        .insert(Control::OpenFiles, Requirement::Off);
    mine.accept_approximate.remove(&Control::Cpu);
    mine.limits.output_kb = 1;
    let out: String = strict
        .diff(&mine)
        .iter()
        .map(|change| {
            let act = |act: &Option<Act>| act.as_ref().map(Act::to_string).unwrap_or("-".into());
            format!(
                "{:<9} {}: {} -> {}\n    allows: {}\n    denies: {}\n",
                change.effect,
                change.key,
                change.from,
                change.to,
                act(&change.allows),
                act(&change.denies)
            )
        })
        .collect();
    insta::assert_snapshot!(out);
}
