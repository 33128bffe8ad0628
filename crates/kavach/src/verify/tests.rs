//! The probes against real sandboxes, and against reports that lie.

use super::*;
use crate::config::SandboxConfig;
use crate::control::Requirement;
use crate::enforcement::EnforcementRow;
use crate::seccomp::{Options, Profile, SyscallData};
use kavach_proto::probe::ATTEMPTS;

fn block_on<T>(act: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(act)
}

/// Small limits, so that going past them outside is nothing.
fn small() -> SandboxPolicy {
    let mut policy = SandboxPolicy::strict();
    policy.limits.memory_mb = Some(32);
    policy.limits.pids = Some(16);
    policy.limits.open_files = Some(64);
    policy.limits.file_size_mb = Some(4);
    policy.filesystem.tmp_mb = 1;
    policy.filesystem.shm_mb = 1;
    policy.limits.cpu_time_ms = Some(1000);
    policy.accept_approximate.insert(Control::CpuTime);
    policy
}

fn config(policy: SandboxPolicy) -> SandboxConfig {
    SandboxConfig::builder().policy(policy).build()
}

fn nothing_isolated() -> SandboxConfig {
    SandboxConfig::builder()
        .backend(Backend::Noop)
        .policy(SandboxPolicy::minimal())
        .build()
}

/// Whether strict sandboxes can be made here; records the skip otherwise.
fn strict_works() -> bool {
    let missing = block_on(crate::Sandbox::create(config(small()))).err();
    let missing = missing.map(|e| format!("a host on which `strict` works: {e}"));
    crate::skips::available(&missing.into_iter().collect::<Vec<_>>())
}

fn claims_of(policy: SandboxPolicy) -> Claims {
    block_on(async {
        let mut sandbox = crate::Sandbox::create(config(policy)).await.unwrap();
        let claims = sandbox.claims();
        sandbox.destroy().await.unwrap();
        claims
    })
}

#[test]
fn every_call_that_is_tried_is_refused_by_every_profile() {
    for name in Profile::NAMES {
        let profile = Profile::by_name(name).unwrap();
        for bits in 0..16u8 {
            let options = Options {
                network: bits & 1 != 0,
                deny_unmapped_memory: bits & 2 != 0,
                pin_cpus: bits & 4 != 0,
                deny_unix_sockets: bits & 8 != 0,
            };
            for attempt in ATTEMPTS {
                let data = SyscallData {
                    nr: u32::try_from(attempt.number()).unwrap(),
                    args: attempt.arguments().map(|a| a as u64),
                    ..SyscallData::x86_64(syscalls::x86_64::Sysno::read, [0; 6])
                };
                let action = profile.decide(&options, &data);
                assert!(action.is_denial(), "{name}: {}", attempt.name());
            }
        }
    }
}

/// The claims of a strict sandbox, held against no isolation at all: whatever is claimed and can
/// be probed has to be seen through. It is the positive control of every probe.
#[test]
fn a_report_that_lies_about_everything_is_found_out_in_everything() {
    if !strict_works() {
        return;
    }
    let lie = claims_of(small());
    let claimed = lie.breakdown(&lie.report).score();
    let found = block_on(run::measure(nothing_isolated(), |_| lie.clone())).unwrap();
    // Held by the supervisor on every backend, or never probed.
    let spared = [Control::Output, Control::Cpu];
    let root = rustix::process::geteuid().is_root();
    for row in &lie.report.rows {
        let control = found.control(row.control).unwrap();
        let expected = match row.control {
            control if spared.contains(&control) => continue,
            // An ordinary user outside has no capability either, and is kept from the agent.
            Control::Capabilities if !root => Observation::NotMeasured,
            Control::AgentProtection if !root => Observation::Observed,
            _ => Observation::NotObserved,
        };
        assert_eq!(
            control.observation, expected,
            "{control:?} {:#?}",
            found.probes
        );
    }
    assert!(!found.holds());
    assert_eq!(found.claimed, claimed);
    // Process without its filter, less a point for each further control.
    assert!(found.measured < scoring::score_backend(Backend::Process, &SandboxPolicy::minimal()));
    let filter = found.control(Control::SyscallFilter).unwrap();
    assert_eq!(filter.points, -15, "{found:#?}");
    for probe in &found.probes {
        let through = probe.outcome == Outcome::Effect;
        assert_eq!(probe.expected, !through, "{probe:?}");
        // But for what this host has not got.
        let call = probe.control == Control::SyscallFilter;
        assert!(!call || through || probe.what.contains("x32") || probe.what.contains("i386"));
    }
}

/// One control is claimed and not there; everything else is honest.
#[test]
fn a_report_that_lies_about_one_control_is_found_out_in_that_one() {
    if !strict_works() {
        return;
    }
    let mut without = small();
    without.landlock = false;
    let lie = claims_of(small());
    let found = block_on(run::measure(config(without), |_| lie.clone())).unwrap();
    let lied: Vec<_> = found.claimed_not_observed().collect();
    assert_eq!(lied.len(), 1, "{lied:#?}");
    assert_eq!(lied[0].control, Control::Landlock);
    assert_eq!(lied[0].points, -2);
    let said = "\nlandlock: claimed, not observed: went through: one Landlock domain more";
    assert!(found.to_string().contains(said), "{found}");
    assert_eq!(found.measured.value() + 2, found.claimed.value());
}

#[test]
fn a_row_for_what_nobody_asked_for_is_found_out_too() {
    if !strict_works() {
        return;
    }
    let lie = |mut claims: Claims| {
        let row = EnforcementRow::new(
            Control::ReadOnlyRoot,
            "yes",
            Requirement::Required,
            ControlState::Enforced,
            "nothing",
        );
        claims.report.rows.push(row);
        claims
    };
    let found = block_on(run::measure(config(SandboxPolicy::basic()), lie)).unwrap();
    let root = found.control(Control::ReadOnlyRoot).unwrap();
    assert_eq!(root.observation, Observation::NotObserved);
    assert!(found.measured < found.claimed, "{found:#?}");
}

#[test]
fn an_honest_report_is_borne_out() {
    if !strict_works() {
        return;
    }
    let found = block_on(verify(config(small()))).unwrap();
    assert!(found.holds(), "{found:#?}");
    assert_eq!(found.measured, found.claimed, "{found:#?}");
    let observed = |c: Control| found.control(c).map(|c| c.observation);
    for control in [
        Control::SyscallFilter,
        Control::Landlock,
        Control::FilesystemView,
        Control::ReadOnlyRoot,
        Control::Network,
        Control::Memory,
        Control::Pids,
        Control::Disk,
        Control::FileSize,
        Control::OpenFiles,
        Control::Output,
        Control::CpuTime,
        Control::PidNamespace,
        Control::NoNewPrivs,
    ] {
        assert_eq!(
            observed(control),
            Some(Observation::Observed),
            "{control}: {found}"
        );
    }
}
