//! What a jail enforced, read from /proc about a guest that waits in it. The same reading for
//! every jail: what a tool says of itself does not count.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::record::Jail;

const NAMESPACES: [&str; 7] = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];
const RLIMITS: [&str; 5] = [
    "Max open files",
    "Max processes",
    "Max file size",
    "Max core file size",
    "Max cpu time",
];
/// Limits of control groups, by file, for v1 and v2.
const GROUP_LIMITS: [&str; 6] = [
    "memory.limit_in_bytes",
    "pids.max",
    "cpu.cfs_quota_us",
    "memory.max",
    "memory.swap.max",
    "cpu.max",
];
/// How long a jail may take until its guest waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the restrictions of the process that was started with this argument, and ends it: a jail
/// whose own process is killed may leave the guest behind.
pub(crate) fn read(label: &str, token: &str, landlock: &str) -> Result<Jail> {
    let pid = find(token)?;
    let jail = read_of(pid, label, landlock);
    let guest = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(guest.context("the guest's pid")?, Signal::KILL).context("end the guest")?;
    jail
}

fn read_of(pid: u32, label: &str, landlock: &str) -> Result<Jail> {
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let status = fields(&file("status")?);
    let own = fields(&fs::read_to_string("/proc/self/status")?);
    let get = |map: &BTreeMap<String, String>, name: &str| {
        map.get(name).cloned().unwrap_or_else(|| "?".into())
    };
    let mut controls = Vec::new();
    let mut add = |name: &str, value: String| controls.push((name.to_owned(), value));

    add("namespaces of its own", namespaces(&pid.to_string()));
    add(
        "user ids, real and in the host",
        format!(
            "{}; map {}",
            get(&status, "Uid").split_whitespace().next().unwrap_or("?"),
            file("uid_map").map_or_else(|e| e.to_string(), |map| one_line(&map)),
        ),
    );
    add("capabilities", capabilities(&status));
    add("no_new_privs", get(&status, "NoNewPrivs"));
    let filters = |map| get(map, "Seccomp_filters").parse::<i64>().unwrap_or(0);
    add(
        "seccomp",
        match (
            get(&status, "Seccomp").as_str(),
            filters(&status) - filters(&own),
        ) {
            ("2", n) if n > 0 => format!("filter ({n})"),
            _ => "no".into(),
        },
    );
    add("Landlock", landlock.to_owned());
    match file("mountinfo") {
        Ok(text) => {
            let mounts: Vec<_> = text.lines().filter_map(mount).collect();
            add("root", root(&mounts));
            add("writable host mounts", writable(&mounts));
        }
        Err(e) => add("mounts", format!("unreadable: {e}")),
    }
    add("limits of the process", rlimits(&file("limits")?));
    add("limits of its control groups", groups(&file("cgroup")?));
    Ok(Jail {
        label: label.to_owned(),
        controls,
    })
}

fn find(token: &str) -> Result<u32> {
    let start = Instant::now();
    let wanted = format!("/wait\0{token}\0");
    while start.elapsed() < PATIENCE {
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            // Not the jail's own processes, which have the guest's words as arguments: the guest
            // itself begins with them.
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if line.ends_with(&wanted) && line.matches('\0').count() == 2 {
                return Ok(pid);
            }
        }
        thread::yield_now();
    }
    bail!("no guest waits")
}

fn fields(status: &str) -> BTreeMap<String, String> {
    let pairs = status.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("; ")
}

fn namespaces(pid: &str) -> String {
    let link = |who: &str, name: &str| fs::read_link(format!("/proc/{who}/ns/{name}"));
    let mut own = Vec::new();
    for name in NAMESPACES {
        match (link(pid, name), link("self", name)) {
            (Ok(inside), Ok(host)) if inside != host => own.push(name),
            (Ok(_), _) => {}
            (Err(e), _) => return format!("unreadable: {e}"),
        }
    }
    let missing: Vec<_> = NAMESPACES.iter().filter(|n| !own.contains(n)).collect();
    if missing.is_empty() {
        return "all seven".into();
    }
    let missing: Vec<_> = missing.into_iter().copied().collect();
    format!("{} (not {})", own.join(" "), missing.join(" "))
}

fn capabilities(status: &BTreeMap<String, String>) -> String {
    let set = |name: &str| {
        let value = status.get(name).map_or("", String::as_str);
        u64::from_str_radix(value, 16).unwrap_or(u64::MAX)
    };
    let (effective, bounding) = (set("CapEff"), set("CapBnd"));
    match (effective, bounding) {
        (0, 0) => "none, none to gain".into(),
        (0, b) => format!("none, {} in the bounding set", b.count_ones()),
        (e, b) => format!(
            "{} effective, {} in the bounding set",
            e.count_ones(),
            b.count_ones()
        ),
    }
}

/// Target, options and kind of a line of proc_pid_mountinfo(5).
struct Mount {
    target: String,
    read_only: bool,
    kind: String,
}

fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let before: Vec<_> = before.split(' ').collect();
    Some(Mount {
        target: (*before.get(4)?).to_owned(),
        read_only: before.get(5)?.split(',').any(|option| option == "ro"),
        kind: after.split(' ').next()?.to_owned(),
    })
}

fn root(mounts: &[Mount]) -> String {
    match mounts.iter().rev().find(|mount| mount.target == "/") {
        Some(root) => format!(
            "{}, {}",
            root.kind,
            if root.read_only {
                "read-only"
            } else {
                "writable"
            }
        ),
        None => "none".into(),
    }
}

fn writable(mounts: &[Mount]) -> String {
    let own = ["tmpfs", "proc", "devpts", "mqueue", "devtmpfs"];
    let open: Vec<_> = mounts
        .iter()
        .filter(|m| {
            !m.read_only && !own.contains(&m.kind.as_str()) && !m.target.starts_with("/dev")
        })
        .map(|m| m.target.as_str())
        .collect();
    match open.as_slice() {
        [] => "none".into(),
        [first, .., last] if open.len() > 3 => format!("{}: {first} … {last}", open.len()),
        few => few.join(" "),
    }
}

/// Those that are lower than this process's own.
fn rlimits(limits: &str) -> String {
    let soft = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let own = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let lower: Vec<_> = RLIMITS
        .iter()
        .filter_map(|name| {
            let (inside, host) = (soft(limits, name)?, soft(&own, name)?);
            let short = name.strip_prefix("Max ").unwrap_or(name);
            (number(&inside) < number(&host)).then(|| format!("{short} {inside}"))
        })
        .collect();
    listed(&lower)
}

/// Limits of the groups that the guest is in and this process is not.
fn groups(of_guest: &str) -> String {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = Vec::new();
    for line in of_guest
        .lines()
        .filter(|line| !own.lines().any(|l| l == *line))
    {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let Some(at) = mounted(&mounts, controllers) else {
            continue;
        };
        let mut group = at.join(path.trim_start_matches('/'));
        while group.starts_with(&at) && group != at {
            for file in GROUP_LIMITS {
                let value = fs::read_to_string(group.join(file)).unwrap_or_default();
                let value = value.trim();
                // A page less than the largest signed number is v1's "unlimited".
                let none = value.is_empty()
                    || value == "-1"
                    || value.starts_with("max")
                    || value.parse::<u64>().is_ok_and(|v| v > 1 << 60);
                let name = format!("{file} {value}");
                if !none && !found.contains(&name) {
                    found.push(name);
                }
            }
            group.pop();
        }
    }
    listed(&found)
}

fn mounted(mounts: &str, controllers: &str) -> Option<PathBuf> {
    let first = controllers.split(',').next().unwrap_or_default();
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let fits = if first.is_empty() {
            after.starts_with("cgroup2 ")
        } else {
            let options = after.rsplit(' ').next()?;
            after.starts_with("cgroup ") && options.split(',').any(|option| option == first)
        };
        let target = before.split(' ').nth(4)?;
        fits.then(|| Path::new(target).to_owned())
    })
}

fn listed(all: &[String]) -> String {
    if all.is_empty() {
        "none".into()
    } else {
        all.join(", ")
    }
}

/// An argument that no other process has.
pub(crate) fn token(label: &str) -> Result<String> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("the clock")?;
    let name: String = label.chars().filter(char::is_ascii_alphanumeric).collect();
    Ok(format!("{name}-{}-{}", std::process::id(), now.as_nanos()))
}
