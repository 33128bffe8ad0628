//! What `Sandbox::verify` measures: as much as the report claims where that is honest, less where
//! something was given up, nothing under `noop`.
//!
//! That a lying report is found out, in each control, is shown by the library's own tests: no
//! public way leads to one.

use kavach::verify::{Observation, Outcome};
use kavach::{Control, Sandbox, SandboxConfig, SandboxPolicy, Verification};

use crate::harness::{Setting, Suite};
use crate::world::{World, builder, config, policy};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("verify");
    let presets = ["minimal", "basic", "strict"];
    suite.each("the_measured_score_is_the_claimed_one", &presets, |s| {
        let found = measure(config(s.policy).build());
        let world = World::of(s.policy);
        assert_eq!(found.claimed, world.sandbox.strength(), "{found}");
        assert_eq!(found.measured, found.claimed, "{found}");
        assert!(found.holds(), "{found}");
        let sum: i16 = found.breakdown.items.iter().map(|item| item.points).sum();
        assert_eq!(sum, i16::from(found.measured.value()), "{found}");
    });
    suite.each(
        "a_sandbox_with_few_processes_claims_nothing_unseen",
        &["strict"],
        |s| {
            let found = measure(config(s.policy).pids(1).build());
            assert!(found.holds(), "{found}");
        },
    );
    suite.each("every_point_was_seen", &["strict"], |s| {
        let found = measure(config(s.policy).build());
        for control in [
            Control::SyscallFilter,
            Control::Landlock,
            Control::Network,
            Control::ReadOnlyRoot,
            Control::Memory,
            Control::Pids,
        ] {
            assert_eq!(seen(&found, control), Observation::Observed, "{found}");
        }
        // Nobody could see it without harm, and it says so.
        assert_eq!(seen(&found, Control::Cpu), Observation::NotMeasured);
    });
    suite.each("what_is_given_up_costs_its_points", &["strict"], given_up);
    suite.each(
        "limits_on_time_are_seen_to_end_a_command",
        &["strict"],
        |s| {
            let found = measure(config(s.policy).timeout_ms(300).build());
            let time = found.control(Control::WallTime).unwrap();
            assert_eq!(time.observation, Observation::Observed, "{found}");
        },
    );
    suite.each("little_room_for_output_is_enough", &["strict"], |s| {
        let found = measure(config(s.policy).output_limit_kb(1).build());
        assert_eq!(found.measured, found.claimed, "{found}");
        let output = found.control(Control::Output).unwrap();
        assert_eq!(output.observation, Observation::Observed, "{found}");
    });
    suite.each(
        "limits_too_large_to_try_bring_no_points",
        &["strict"],
        |s| {
            let mut policy = policy(s.policy);
            policy.limits.memory_mb = Some(1 << 20);
            let found = measure(builder().policy(policy).build());
            let memory = found.control(Control::Memory).unwrap();
            assert_eq!(memory.observation, Observation::NotMeasured, "{found}");
            assert!(found.holds() && found.measured < found.claimed, "{found}");
        },
    );
    // The positive control of the probes: all of them go through where nothing is enforced, but
    // for what this host or user has not got.
    suite.each("control_everything_goes_through", &["noop"], |s| {
        let found = measure(config(s.policy).build());
        assert_eq!((found.measured.value(), found.claimed.value()), (0, 0));
        for probe in &found.probes {
            // By the supervisor and by the agent, which no backend is without.
            let held_everywhere =
                probe.control == Control::Output || probe.what.starts_with("find a descriptor");
            let not_here = NOT_EVERYWHERE.iter().any(|what| probe.what.contains(what));
            let not_a_users = !s.who.is_root()
                && ([Control::Capabilities, Control::AgentProtection].contains(&probe.control)
                    || probe.what.ends_with("for writing")
                    || NOT_FOR_USERS.contains(&probe.what.as_str()));
            if !(held_everywhere || not_here || not_a_users) {
                assert_eq!(probe.outcome, Outcome::Effect, "{probe:?}");
            }
        }
    });
}

/// What a kernel can be built without.
const NOT_EVERYWHERE: [&str; 2] = ["x32", "i386"];
/// What some kernels refuse to an ordinary user before they look at the call, or a switch does.
const NOT_FOR_USERS: [&str; 4] = [
    "bpf(2)",
    "perf_event_open(2)",
    "userfaultfd(2)",
    "io_uring_setup(2)",
];

fn measure(config: SandboxConfig) -> Verification {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(Sandbox::verify(config))
        .unwrap_or_else(|e| panic!("{e} ({:?})", e.hint()))
}

fn seen(found: &Verification, control: Control) -> Observation {
    found.control(control).unwrap().observation
}

/// Each named weakening, one by one.
fn given_up(s: Setting) {
    type Change = fn(&mut SandboxPolicy);
    let changes: [(Control, u8, Change); 4] = [
        (Control::Landlock, 2, |p| p.landlock = false),
        (Control::ReadOnlyRoot, 2, |p| {
            p.filesystem.read_only_root = false
        }),
        (Control::Network, 2, |p| {
            p.network = kavach::policy::Network::On
        }),
        (Control::SyscallFilter, 15, |p| {
            p.syscall_filter.profile = None
        }),
    ];
    for (control, points, change) in changes {
        let mut policy = policy(s.policy);
        // What the supervisor sums needs a filter that keeps guests from hiding it.
        if !s.who.has_cgroups() {
            (policy.limits.memory_mb, policy.limits.cpus) = (None, None);
        }
        let of = |policy| measure(builder().policy(policy).build());
        let whole = of(policy.clone()).measured.value();
        change(&mut policy);
        let found = of(policy);
        assert_eq!(whole - found.measured.value(), points, "{control}: {found}");
        let given_up = found.control(control).unwrap();
        assert_eq!(given_up.observation, Observation::NotClaimed);
        assert!(given_up.why.contains("not asked for"), "{}", given_up.why);
        let went_through =
            |p: &&kavach::verify::Probed| p.control == control && p.outcome == Outcome::Effect;
        assert!(found.probes.iter().any(|p| went_through(&p)), "{found}");
        assert!(found.holds(), "nothing of it was claimed: {found}");
    }
}
