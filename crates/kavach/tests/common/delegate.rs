//! Control groups that root gives to an ordinary user, as a container manager or systemd would.
//!
//! Version 1 where all its controllers are mounted, else version 2. There a group that holds
//! processes can hand no controller on, so the user's processes start in a leaf of what they were
//! given, as systemd has it with `DelegateSubgroup=`.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const MOUNT: &str = "/sys/fs/cgroup";
/// Each has a hierarchy of its own in version 1.
const CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "cpuacct", "freezer"];
/// What version 2 has to hand on.
const UNIFIED: [&str; 3] = ["memory", "pids", "cpu"];
/// How long the last process of a group may take to leave it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the only hierarchy here is that of version 2.
pub(crate) fn is_unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// This process's own groups, or what is missing.
pub(crate) fn places() -> Result<Vec<PathBuf>, String> {
    let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
    let group = |name: &str| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let holds = parts.next()?.split(',').any(|held| held == name);
            let path = parts.next().filter(|_| holds)?;
            Some(path.trim_start_matches('/').to_owned())
        })
    };
    if is_unified() {
        let path = group("").ok_or("this process is in no group of cgroup v2")?;
        return Ok(vec![Path::new(MOUNT).join(path)]);
    }
    CONTROLLERS
        .iter()
        .map(|controller| {
            let place = group(controller).map(|path| Path::new(MOUNT).join(controller).join(path));
            place
                .filter(|place| place.join("cgroup.procs").exists())
                .ok_or_else(|| format!("no cgroup hierarchy with {controller} to delegate"))
        })
        .collect()
}

/// A group of version 2 below which others with every controller can be made: the root of the
/// hierarchy, the only one that may hold processes and hand controllers on.
pub(crate) fn unified_base() -> Result<PathBuf, String> {
    let base = PathBuf::from(MOUNT);
    for controller in UNIFIED {
        fs::write(
            base.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .map_err(|e| format!("cgroup v2 cannot hand on {controller} here: {e}"))?;
    }
    Ok(base)
}

/// The directories below which groups can be given away, or what is missing.
fn bases() -> Result<Vec<PathBuf>, String> {
    if is_unified() {
        Ok(vec![unified_base()?])
    } else {
        places()
    }
}

/// What keeps root from giving groups away here, if anything.
pub(crate) fn missing() -> Option<String> {
    bases().err()
}

/// A group in each hierarchy that belongs to the user.
pub(crate) struct Delegated {
    groups: Vec<PathBuf>,
    /// Where the user's processes start.
    starts: Vec<PathBuf>,
}

impl Delegated {
    pub(crate) fn new(user: &str) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kavach-delegated-{}-{number}", std::process::id());
        let id = Command::new("id").args(["-u", user]).output();
        let id = id.map_err(|e| e.to_string())?.stdout;
        let id = String::from_utf8_lossy(&id).trim().parse().ok();
        let give = |dir: &Path| {
            let made = fs::create_dir(dir).map_err(|e| format!("{}: {e}", dir.display()));
            made?;
            // What /sys/kernel/cgroup/delegate lists of the files that are used here.
            for file in [
                "",
                "cgroup.procs",
                "tasks",
                "cgroup.threads",
                "cgroup.subtree_control",
            ] {
                let owned = dir.join(file);
                if owned.exists() {
                    chown(&owned, id, id).map_err(|e| format!("{}: {e}", owned.display()))?;
                }
            }
            Ok::<_, String>(())
        };
        let mut delegated = Self {
            groups: Vec::new(),
            starts: Vec::new(),
        };
        for base in bases()? {
            let dir = base.join(&name);
            give(&dir)?;
            delegated.groups.push(dir.clone());
            if is_unified() {
                let start = dir.join("start");
                give(&start)?;
                delegated.starts.push(start);
            } else {
                delegated.starts.push(dir);
            }
        }
        Ok(delegated)
    }

    /// Removes the groups; what kavach made in them must be gone.
    pub(crate) fn remove(self) -> Result<(), String> {
        let since = Instant::now();
        let below = self.starts.iter().filter(|dir| !self.groups.contains(dir));
        for dir in below.chain(&self.groups) {
            while let Err(e) = fs::remove_dir(dir) {
                if since.elapsed() > PATIENCE {
                    return Err(format!("left behind: {}: {e}", dir.display()));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }
}

/// Starts a command that enters the groups first, while it is root.
pub(crate) fn enter(groups: Option<&Delegated>, then: &Command) -> Command {
    let mut command = Command::new("sh");
    let mut script = String::from("set -e; ");
    for dir in groups.into_iter().flat_map(|groups| &groups.starts) {
        script.push_str(&format!("echo $$ > '{}/cgroup.procs'; ", dir.display()));
    }
    script.push_str("exec \"$@\"");
    command.args(["-c", &script, "sh"]);
    command.arg(then.get_program()).args(then.get_args());
    command
}
