//! Control groups of version 1 that root gives to an ordinary user, as a container manager would.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "cpuacct", "freezer"];
/// How long the last process of a group may take to leave it.
const PATIENCE: Duration = Duration::from_secs(10);

/// This process's own groups, or what is missing.
pub(crate) fn places() -> Result<Vec<PathBuf>, String> {
    let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
    CONTROLLERS
        .iter()
        .map(|controller| {
            let path = own.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let holds = parts.next()?.split(',').any(|held| held == *controller);
                parts.next().filter(|_| holds)
            });
            let place = path.map(|path| {
                let mount = Path::new("/sys/fs/cgroup").join(controller);
                mount.join(path.trim_start_matches('/'))
            });
            place
                .filter(|place| place.join("cgroup.procs").exists())
                .ok_or_else(|| format!("no cgroup v1 hierarchy with {controller} to delegate"))
        })
        .collect()
}

/// A group in each hierarchy that belongs to the user.
pub(crate) struct Delegated(Vec<PathBuf>);

impl Delegated {
    pub(crate) fn new(user: &str) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kavach-delegated-{}-{number}", std::process::id());
        let id = Command::new("id").args(["-u", user]).output();
        let id = id.map_err(|e| e.to_string())?.stdout;
        let id = String::from_utf8_lossy(&id).trim().parse().ok();
        let mut made = Vec::new();
        for place in places()? {
            let dir = place.join(&name);
            fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            for owned in [dir.clone(), dir.join("cgroup.procs"), dir.join("tasks")] {
                chown(&owned, id, id).map_err(|e| format!("{}: {e}", owned.display()))?;
            }
            made.push(dir);
        }
        Ok(Self(made))
    }

    /// Removes the groups; what kavach made in them must be gone.
    pub(crate) fn remove(self) -> Result<(), String> {
        let since = Instant::now();
        for dir in &self.0 {
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
    for dir in groups.into_iter().flat_map(|groups| &groups.0) {
        script.push_str(&format!("echo $$ > '{}/cgroup.procs'; ", dir.display()));
    }
    script.push_str("exec \"$@\"");
    command.args(["-c", &script, "sh"]);
    command.arg(then.get_program()).args(then.get_args());
    command
}
