//! What sandboxes that stand ready cost the host in memory.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::guest::{self, Without};
use crate::record::Record;

/// Descriptors that one sandbox and this program may need, generously.
const FDS_EACH: u64 = 16;

/// Fields of proc_meminfo(5) that are kernel memory of the sandboxes: task structures, mounts,
/// cgroups and namespaces are slab or per CPU.
const KERNEL: [&str; 4] = ["SUnreclaim", "KernelStack", "PageTables", "Percpu"];

/// Lets `count` sandboxes of a preset live at a time and records what each takes.
pub(crate) fn measure(
    record: &mut Record,
    preset: &str,
    count: usize,
    guests: &Path,
) -> Result<()> {
    allow_descriptors(count as u64 * FDS_EACH)?;
    let runtime = guest::runtime()?;
    let config = guest::config(guest::policy(preset, guests, Without::Nothing)?);
    // Threads and caches of the first do not count as the others'.
    drop(runtime.block_on(guest::running(config.clone()))?);

    let before = Memory::now()?;
    let start = Instant::now();
    let mut alive = Vec::with_capacity(count);
    for number in 0..count {
        let sandbox = runtime.block_on(guest::running(config.clone()));
        alive.push(sandbox.with_context(|| format!("number {number} of {count}"))?);
    }
    let took = start.elapsed();
    let after = Memory::now()?;
    let pss = pss_of_children()?;
    let start = Instant::now();
    drop(alive);
    let ending = start.elapsed();

    let each = |kib: f64| kib / count as f64;
    let name = |what: &str| format!("crowd_{preset}_{what}");
    let label = |what: &str| format!("{preset}: {what}");
    let gone = before.available - after.available;
    record.add(
        &name("available"),
        &label("less MemAvailable, each"),
        each(gone),
        "KiB",
    );
    record.add(
        &name("kernel"),
        &label("kernel memory (slab, stacks, page tables, per CPU), each"),
        each(after.kernel - before.kernel),
        "KiB",
    );
    // Read of the whole machine: other programs disturb it less than MemAvailable, not at all only
    // where there are none.
    let sum = (after.kernel - before.kernel) + (after.own - before.own) + pss.unwrap_or(0.0);
    record.add(
        &name("sum"),
        &label(if pss.is_some() {
            "kernel memory, PSS and host process together, each"
        } else {
            "kernel memory and host process together, each"
        }),
        each(sum),
        "KiB",
    );
    match pss {
        Some(kib) => record.add(
            &name("pss"),
            &label("memory of its first process (PSS), each"),
            each(kib),
            "KiB",
        ),
        None => record.skipped.push(format!(
            "{preset}: memory of the first processes (PSS): an ordinary user may not read it of an \
             agent that cannot be traced"
        )),
    }
    record.add(
        &name("own"),
        &label("memory of the host process, each"),
        each(after.own - before.own),
        "KiB",
    );
    let milliseconds = |t: std::time::Duration| t.as_secs_f64() * 1000.0 / count as f64;
    record.add(
        &name("create"),
        &label("creation, each"),
        milliseconds(took),
        "ms",
    );
    record.add(
        &name("drop"),
        &label("end, each"),
        milliseconds(ending),
        "ms",
    );
    Ok(())
}

fn allow_descriptors(wanted: u64) -> Result<()> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|soft| soft >= wanted) {
        return Ok(());
    }
    if now.maximum.is_some_and(|hard| hard < wanted) {
        bail!(
            "needs {wanted} open files, the hard limit is {:?}: raise it (ulimit -Hn)",
            now.maximum
        );
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: now.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")
}

/// In KiB.
struct Memory {
    available: f64,
    kernel: f64,
    own: f64,
}

impl Memory {
    fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let field = |name: &str| kib(&text, name).with_context(|| format!("/proc/meminfo: {name}"));
        let own = fs::read_to_string("/proc/self/status")?;
        Ok(Self {
            available: field("MemAvailable")?,
            kernel: KERNEL.iter().map(|name| field(name)).sum::<Result<f64>>()?,
            own: kib(&own, "VmRSS").context("/proc/self/status: VmRSS")?,
        })
    }
}

fn kib(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .ok()
}

/// Of every child of this process, which are the first processes of the sandboxes; `None` where
/// it may not be read.
fn pss_of_children() -> Result<Option<f64>> {
    let mut sum = 0.0;
    for thread in fs::read_dir("/proc/self/task")? {
        for child in fs::read_to_string(thread?.path().join("children"))?.split_whitespace() {
            let Ok(rollup) = fs::read_to_string(format!("/proc/{child}/smaps_rollup")) else {
                return Ok(None);
            };
            sum += kib(&rollup, "Pss").unwrap_or(0.0);
        }
    }
    Ok(Some(sum))
}
