//! A play kernel: cgroup file systems of every kind in a temporary directory.
//!
//! All state is on the disk, so that one static kernel serves all tests, and
//! it keeps the rules that code can get wrong: control files follow what the
//! parent hands down, processes live in leaves only (version 2), memory+swap
//! is never below memory (version 1), groups in use stay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::files::ControlFiles;
use super::layout::Layout;
use super::probe::{CgroupSupport, probe_layout};

/// A kernel as the user `uid` sees it.
#[derive(Debug)]
pub(super) struct FakeKernel {
    uid: u32,
}

/// As root.
pub(super) static ROOT: FakeKernel = FakeKernel { uid: 0 };
/// As an ordinary user.
pub(super) static USER: FakeKernel = FakeKernel { uid: 1000 };

/// A host in a temporary directory, removed on drop.
pub(super) struct FakeHost {
    pub(super) root: PathBuf,
    mountinfo: String,
    cgroup: String,
}

impl FakeHost {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("kavach-fake.{}.{next}", std::process::id()));
        fs::create_dir(&root).unwrap();
        fs::write(root.join(".fake"), "").unwrap();
        Self {
            root,
            mountinfo: String::new(),
            cgroup: String::new(),
        }
    }

    fn mount(&mut self, shown: &str, at: &Path, kind: &str, options: &str) {
        let at = at.display();
        self.mountinfo += &format!("1 2 0:3 {shown} {at} rw - {kind} none rw,{options}\n");
    }

    /// A version 1 hierarchy in which the process stands at `own`.
    pub(super) fn v1(mut self, controllers: &str, own: &str) -> Self {
        let mount = self.root.join(controllers);
        fs::create_dir(&mount).unwrap();
        put(&mount, ".v1", controllers);
        put(&mount, "cgroup.procs", "");
        make_path(&mount, own);
        self.mount("/", &mount, "cgroup", controllers);
        self.cgroup += &format!("1:{controllers}:{own}\n");
        self
    }

    /// The unified hierarchy with `controllers`, handed down to every ancestor
    /// of `own`, where the process stands. `is_root` is false in a container.
    pub(super) fn v2(mut self, controllers: &str, own: &str, is_root: bool) -> Self {
        let mount = self.root.join("unified");
        fs::create_dir(&mount).unwrap();
        v2_files(&mount, controllers);
        if is_root {
            fs::remove_file(mount.join("cgroup.type")).unwrap();
            fs::remove_file(mount.join("cgroup.freeze")).unwrap();
        }
        let mut dir = mount.clone();
        for name in Path::new(own).iter().skip(1) {
            put(&dir, "cgroup.subtree_control", controllers);
            dir.push(name);
            ROOT.make_dir(&dir).unwrap();
        }
        put(&dir, "cgroup.procs", "1\n");
        self.mount("/", &mount, "cgroup2", "nsdelegate");
        self.cgroup += &format!("0::{own}\n");
        self
    }

    /// Gives a directory and what is below it to the ordinary user.
    pub(super) fn delegate(self, path: &str) -> Self {
        for dir in super::tree::walk(&self.root.join(path)) {
            put(&dir, ".owner", "1000");
        }
        self
    }

    pub(super) fn set(self, file: &str, value: &str) -> Self {
        fs::write(self.root.join(file), value).unwrap();
        self
    }

    /// Makes writes to the file at this path below the host fail, or (`lie`)
    /// be taken and forgotten.
    pub(super) fn fail(&self, file: &str, lie: bool) {
        fs::write(self.root.join(if lie { ".lie" } else { ".fail" }), file).unwrap();
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::parse(self.cgroup.as_bytes(), self.mountinfo.as_bytes()).unwrap()
    }

    pub(super) fn probe(&self, kernel: &FakeKernel) -> CgroupSupport {
        probe_layout(kernel, &self.layout())
    }

    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// Every write so far, `path below the host=value` per line.
    pub(super) fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.root.join(".log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Directories whose name belongs to kavach.
    pub(super) fn groups(&self) -> Vec<PathBuf> {
        let ours = |path: &PathBuf| path.to_string_lossy().contains("/kavach.");
        super::tree::walk(&self.root)
            .into_iter()
            .filter(ours)
            .collect()
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn put(dir: &Path, file: &str, value: &str) {
    fs::write(dir.join(file), value).unwrap();
}

fn get(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default()
}

/// Makes the groups of `path` below a version 1 mount.
fn make_path(mount: &Path, path: &str) {
    let mut dir = mount.to_owned();
    for name in Path::new(path).iter().skip(1) {
        dir.push(name);
        ROOT.make_dir(&dir).unwrap();
    }
}

fn v1_files(dir: &Path, controllers: &str) {
    put(dir, ".v1", controllers);
    put(dir, "tasks", "");
    put(dir, "cgroup.procs", "");
    let files: &[(&str, &[(&str, &str)])] = &[
        (
            "memory",
            &[
                ("memory.limit_in_bytes", "9223372036854771712"),
                ("memory.memsw.limit_in_bytes", "9223372036854771712"),
                ("memory.use_hierarchy", "0"),
                ("memory.failcnt", "0"),
                ("memory.memsw.failcnt", "0"),
                ("memory.max_usage_in_bytes", "4096"),
                (
                    "memory.oom_control",
                    "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
                ),
            ],
        ),
        ("pids", &[("pids.max", "max"), ("pids.events", "max 0\n")]),
        (
            "cpu",
            &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "-1")],
        ),
        (
            "cpuacct",
            &[
                ("cpuacct.usage", "5000"),
                ("cpuacct.stat", "user 2\nsystem 1\n"),
            ],
        ),
        (
            "freezer",
            &[
                ("freezer.state", "THAWED"),
                ("freezer.parent_freezing", "0"),
            ],
        ),
    ];
    for (_, files) in files
        .iter()
        .filter(|(name, _)| controllers.split(',').any(|c| c == *name))
    {
        files.iter().for_each(|(file, value)| put(dir, file, value));
    }
    // A kernel that was booted with swapaccount=0.
    if controllers.contains("noswap") {
        fs::remove_file(dir.join("memory.memsw.limit_in_bytes")).unwrap();
    }
}

fn v2_files(dir: &Path, controllers: &str) {
    for (file, value) in [
        ("cgroup.controllers", controllers),
        ("cgroup.subtree_control", ""),
        ("cgroup.procs", ""),
        ("cgroup.type", "domain\n"),
        ("cgroup.freeze", "0"),
        ("cgroup.kill", ""),
        ("cgroup.events", "populated 0\nfrozen 0\n"),
        ("cpu.stat", "usage_usec 30\nuser_usec 20\nsystem_usec 10\n"),
    ] {
        put(dir, file, value);
    }
    v2_controller_files(dir, controllers);
}

fn v2_controller_files(dir: &Path, controllers: &str) {
    let files: &[(&str, &[(&str, &str)])] = &[
        (
            "memory",
            &[
                ("memory.max", "max"),
                ("memory.swap.max", "max"),
                ("memory.oom.group", "0"),
                ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"),
                ("memory.peak", "8192"),
            ],
        ),
        (
            "pids",
            &[
                ("pids.max", "max"),
                ("pids.events", "max 0\n"),
                ("pids.peak", "3"),
            ],
        ),
        ("cpu", &[("cpu.max", "max 100000")]),
        ("io", &[("io.stat", "8:0 rbytes=1 wbytes=2\n")]),
    ];
    for (_, files) in files
        .iter()
        .filter(|(c, _)| controllers.split(' ').any(|name| name == *c))
    {
        files.iter().for_each(|(file, value)| put(dir, file, value));
    }
}

fn fake_root(path: &Path) -> &Path {
    path.ancestors()
        .find(|dir| dir.join(".fake").exists())
        .unwrap()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

impl FakeKernel {
    /// The side effects and refusals of a write.
    fn rules(&self, dir: &Path, file: &str, value: &str) -> io::Result<String> {
        let is_v2 = dir.join("cgroup.controllers").exists();
        let number = |text: String| text.trim().parse::<u64>().unwrap();
        Ok(match file {
            "cgroup.subtree_control" => {
                let name = value.strip_prefix('+').ok_or(Errno::INVAL)?;
                if !get(dir, "cgroup.controllers")
                    .split_whitespace()
                    .any(|held| held == name)
                {
                    return Err(Errno::NOENT.into());
                }
                if dir.join("cgroup.type").exists() && !get(dir, "cgroup.procs").is_empty() {
                    return Err(Errno::BUSY.into());
                }
                let enabled = format!("{} {name}", get(dir, file)).trim().to_owned();
                for child in children(dir) {
                    put(&child, "cgroup.controllers", &enabled);
                    v2_controller_files(&child, name);
                }
                enabled
            }
            "cgroup.procs" => {
                if is_v2 && !get(dir, "cgroup.subtree_control").is_empty() {
                    return Err(Errno::BUSY.into());
                }
                format!("{}{value}\n", get(dir, file))
            }
            "cgroup.kill" => {
                for dir in super::tree::walk(dir) {
                    put(&dir, "cgroup.procs", "");
                }
                String::new()
            }
            "cgroup.freeze" => {
                put(
                    dir,
                    "cgroup.events",
                    &format!("populated 1\nfrozen {value}\n"),
                );
                value.to_owned()
            }
            "memory.use_hierarchy" if !children(dir).is_empty() => {
                return Err(Errno::BUSY.into());
            }
            "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes" | "memory.max" => {
                let value = value.parse::<u64>().map_err(|_| Errno::INVAL)? / 4096 * 4096;
                let legal = match file {
                    "memory.limit_in_bytes" if dir.join("memory.memsw.limit_in_bytes").exists() => {
                        value <= number(get(dir, "memory.memsw.limit_in_bytes"))
                    }
                    "memory.memsw.limit_in_bytes" => {
                        value >= number(get(dir, "memory.limit_in_bytes"))
                    }
                    _ => true,
                };
                if !legal {
                    return Err(Errno::INVAL.into());
                }
                value.to_string()
            }
            _ => value.to_owned(),
        })
    }
}

impl ControlFiles for FakeKernel {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap();
        self.writable(parent)?;
        fs::create_dir(path)?;
        if parent.join("cgroup.controllers").exists() {
            v2_files(path, &get(parent, "cgroup.subtree_control"));
        } else {
            v1_files(path, &get(parent, ".v1"));
            if get(parent, "memory.use_hierarchy") == "1" {
                put(path, "memory.use_hierarchy", "1");
            }
        }
        put(path, ".owner", &self.uid.to_string());
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Err(Errno::NOENT.into());
        }
        if !children(path).is_empty() || !get(path, "cgroup.procs").is_empty() {
            return Err(Errno::BUSY.into());
        }
        fs::remove_dir_all(path)
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        let root = fake_root(path);
        let shown = path
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        fs::metadata(path)?;
        self.writable(path)?;
        if !get(root, ".fail").is_empty() && shown.ends_with(&get(root, ".fail")) {
            return Err(Errno::IO.into());
        }
        put(
            root,
            ".log",
            &format!("{}{shown}={value}\n", get(root, ".log")),
        );
        if !get(root, ".lie").is_empty() && shown.ends_with(&get(root, ".lie")) {
            return Ok(());
        }
        let dir = path.parent().unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        let new = self.rules(dir, file, value)?;
        fs::write(path, new)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn writable(&self, path: &Path) -> io::Result<()> {
        if fake_root(path).join(".readonly").exists() {
            return Err(Errno::ROFS.into());
        }
        if self.uid == 0 || self.owner(path)? == self.uid {
            Ok(())
        } else {
            Err(Errno::ACCESS.into())
        }
    }

    fn owner(&self, path: &Path) -> io::Result<u32> {
        let dir = if path.is_dir() {
            path
        } else {
            path.parent().unwrap()
        };
        Ok(get(dir, ".owner").parse().unwrap_or(0))
    }
}
