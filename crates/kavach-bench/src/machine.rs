//! What the numbers were measured on.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The fact that tells whether something else was at work.
pub(crate) const BUSY: &str = "CPUs busy with other programs before";

/// In the order of the document.
pub(crate) fn describe(commit: &str) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    add(
        "processor",
        format!("{}, {cpus} CPUs{}", processor(), virtualised()),
    );
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or_default();
    let kib: u64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    add("memory", format!("{} GiB", kib >> 20));
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    add(
        "kernel",
        format!("{} {}", text(uname.sysname()), text(uname.release())),
    );
    add("control groups", cgroups());
    add(BUSY, busy());
    add(
        "kavach",
        format!("{}, commit {commit}", env!("CARGO_PKG_VERSION")),
    );
    add("date", today());
    add("bubblewrap", version("bwrap"));
    add("hakoniwa", hakoniwa().to_owned());
    facts
}

fn today() -> String {
    match Command::new("date").arg("+%Y-%m-%d").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(e) => format!("unknown: {e}"),
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": "));
    name.map_or("unknown", |(_, name)| name).to_owned()
}

/// What else was at work, over one second. Not the load average, which remembers the compiler
/// that built this program.
fn busy() -> String {
    let before = cpu_times();
    thread::sleep(Duration::from_secs(1));
    match (before, cpu_times()) {
        (Some((idle, all)), Some((idle_then, all_then))) if all_then > all => {
            let idle = 100 * (idle_then - idle) / (all_then - all);
            format!("{} %", 100_u64.saturating_sub(idle))
        }
        _ => "unknown".into(),
    }
}

/// Idle and in all, of the first line of proc_stat(5).
fn cpu_times() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_whitespace().skip(1);
    let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // Those after the eighth, steal, are counted in the first two already.
    let all = fields.iter().take(8).sum();
    Some((fields.get(3)? + fields.get(4)?, all))
}

fn virtualised() -> &'static str {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags"));
    if flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")) {
        ", in a virtual machine"
    } else {
        ""
    }
}

fn cgroups() -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kinds = |kind: &str| {
        let wanted = format!(" - {kind} ");
        mounts.lines().filter(|line| line.contains(&wanted)).count()
    };
    match (kinds("cgroup"), kinds("cgroup2")) {
        (0, 0) => "none mounted".into(),
        (0, _) => "v2".into(),
        (n, 0) => format!("v1, {n} hierarchies"),
        (n, _) => format!("v1, {n} hierarchies, and v2 (hybrid)"),
    }
}

fn version(program: &str) -> String {
    match Command::new(program).arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(e) => format!("not here: {e}"),
    }
}

const fn hakoniwa() -> &'static str {
    if cfg!(feature = "hakoniwa") {
        "the crate, 1.8 (features landlock, seccomp)"
    } else {
        "not built in"
    }
}
