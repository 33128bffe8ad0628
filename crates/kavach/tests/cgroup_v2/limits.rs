//! Limits, and what the report and the result say of them.

use std::time::Duration;

use kavach::{Command, Control, ControlState, Termination};

use crate::support::{group, hits, key, mark, read, run, sleeping, strict, until};

/// Above every limit here.
const EAT: &str = "exec dd if=/dev/zero of=/dev/null bs=200M count=1";

pub(crate) fn report() {
    run(async {
        let sandbox = strict(|_| {}).await;
        let group = group();
        let rows = [
            (
                Control::Memory,
                "cgroup v2 memory.max = 536870912",
                "cgroup v2 memory.max = 536870912, cgroup v2 memory.swap.max = 0",
            ),
            (
                Control::Cpu,
                "cgroup v2 cpu.max for 1 of a CPU",
                "cgroup v2 cpu.max = 100000 100000",
            ),
            (
                Control::Pids,
                "cgroup v2 pids.max = 64",
                "cgroup v2 pids.max = 64",
            ),
        ];
        for (control, mechanism, evidence) in rows {
            let row = sandbox.report().get(control).unwrap();
            assert_eq!(row.state, ControlState::Enforced, "{row:?}");
            assert_eq!(row.mechanism, mechanism);
            assert_eq!(row.evidence, evidence);
        }
        assert_eq!(sandbox.strength().value(), 63);
        // Read back here, not only there.
        let guest = group.join("guest");
        for (file, value) in [
            ("memory.max", "536870912"),
            ("memory.swap.max", "0"),
            ("cpu.max", "100000 100000"),
            ("pids.max", "64"),
        ] {
            assert_eq!(read(&guest, file), value, "{file}");
        }
        assert_eq!(read(&group.join("agent"), "memory.max"), "max");
        // Older kernels know less of Landlock, and the report says so.
        let abi = kavach::host::probe().landlock_abi;
        let landlock = sandbox.report().get(Control::Landlock).unwrap();
        assert_eq!(landlock.state, ControlState::Enforced, "{landlock:?}");
        let said = format!("Landlock ABI {}", abi.min(7));
        assert!(landlock.mechanism.starts_with(&said), "{landlock:?}");
        assert_eq!(abi < 6, landlock.mechanism.contains("no scopes"));
    });
}

pub(crate) fn memory() {
    run(async {
        let sandbox = strict(|policy| policy.limits.memory_mb = Some(64)).await;
        let mark = mark();
        let script = format!("sleep {mark} & {EAT}");
        let result = sandbox.exec(Command::shell(script)).await.unwrap();
        assert_eq!(result.termination, Termination::OutOfMemory, "{result:?}");
        assert!(hits(&result, Control::Memory) > 0, "{result:?}");
        let peak = result.usage.memory_peak_bytes.unwrap();
        assert!((32 << 20..=64 << 20).contains(&peak), "{peak}");
        // memory.oom.group: the one that slept has gone with the one that ate.
        until("the whole command to be gone", || {
            sleeping(&mark).is_empty()
        });
        assert!(sandbox.exec("true").await.unwrap().success());
        let enough = strict(|policy| policy.limits.memory_mb = Some(400)).await;
        let control = enough.exec(Command::shell(EAT)).await.unwrap();
        assert_eq!(control.termination, Termination::Exited(0), "{control:?}");
    });
}

pub(crate) fn pids() {
    run(async {
        let script = "i=0; while [ $i -lt 40 ]; do sleep 600 >&- 2>&- & i=$((i+1)); done";
        let sandbox = strict(|policy| policy.limits.pids = Some(16)).await;
        let result = sandbox.exec(Command::shell(script)).await.unwrap();
        // A shell that cannot fork gives up.
        assert!(!result.success(), "{result:?}");
        assert!(hits(&result, Control::Pids) > 0, "{result:?}");
        if group().join("guest/pids.peak").exists() {
            assert_eq!(result.usage.pids_peak, Some(16));
        }
        drop(sandbox);
        let sandbox = strict(|policy| policy.limits.pids = Some(64)).await;
        let control = sandbox.exec(Command::shell(script)).await.unwrap();
        assert!(control.success(), "{control:?}");
        assert_eq!(hits(&control, Control::Pids), 0);
    });
}

pub(crate) fn cpu() {
    run(async {
        let sandbox = strict(|policy| policy.limits.cpus = Some(0.1)).await;
        let guest = group().join("guest");
        assert_eq!(read(&guest, "cpu.max"), "10000 100000");
        let spin = Command::shell("while :; do :; done");
        let mut child = sandbox.spawn(spin).await.unwrap();
        until("the quota to throttle", || {
            key(&guest, "cpu.stat", "nr_throttled") > 0
        });
        let result = child.kill(Duration::ZERO).await.unwrap();
        assert_eq!(result.termination, Termination::Killed);
        assert!(hits(&result, Control::Cpu) > 0, "{result:?}");
    });
}

pub(crate) fn usage() {
    run(async {
        let sandbox = strict(|_| {}).await;
        let guest = group().join("guest");
        let script = "dd if=/dev/zero of=/dev/null bs=20M count=20 2>/dev/null";
        let result = sandbox.exec(Command::shell(script)).await.unwrap();
        assert!(result.success(), "{result:?}");
        let usage = &result.usage;
        // The only command so far: the group that holds the limits has the same figures, or more
        // where it was charged for more than this command.
        let there = |file: &str| guest.join(file).exists();
        let number = |file: &str| read(&guest, file).parse::<u64>().unwrap();
        assert_eq!(usage.memory_peak_bytes.is_some(), there("memory.peak"));
        if let Some(peak) = usage.memory_peak_bytes {
            assert!((20 << 20..=number("memory.peak")).contains(&peak), "{peak}");
        }
        assert_eq!(usage.pids_peak.is_some(), there("pids.peak"));
        if let Some(peak) = usage.pids_peak {
            assert!((1..=number("pids.peak")).contains(&peak), "{peak}");
        }
        let (user, system) = (usage.cpu_user.unwrap(), usage.cpu_system.unwrap());
        let micros = (user + system).as_micros();
        let of_group = u128::from(key(&guest, "cpu.stat", "usage_usec"));
        assert!(micros > 0 && micros <= of_group, "{micros} of {of_group}");
        // Only where the groups above hand the io controller on; none is invented.
        assert_eq!(usage.io_read_bytes.is_some(), there("io.stat"));
    });
}
