//! A whole life of a sandbox, and what must be as before when it is over.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kavach::workspace::ApplyOptions;
use kavach::{Command, KavachError, Sandbox, SandboxConfig, SandboxState, Workspace};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;

use crate::common::{cgroups, comes_true, descriptors};
use crate::place::{is_private, place};

/// The caller's runtime, made while there is enough of everything: what fails is kavach's part.
pub(crate) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// What a guest says about its restrictions: the same in every life, or a control was lost.
const PROBE: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' /proc/self/status; id -u; \
                     ls /; ls -l /proc/self/ns | grep -c -- '->'; wc -l < /proc/net/dev; \
                     cut -d' ' -f3- /proc/self/mountinfo | wc -l; hostname; cat /proc/1/environ; \
                     ulimit -a | grep -E 'core|nofile'; echo >&2 said; \
                     touch /etc/kavach-fault 2>/dev/null && echo writable";

/// What a life shows from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// What a captured command said.
    pub(crate) probe: String,
    /// How one ended that takes too long, where it can be ended alone.
    pub(crate) limited: String,
    /// What a streaming one said, read to its end.
    pub(crate) streamed: String,
    /// What is in the workspace of the host after the apply.
    pub(crate) applied: String,
    /// Changes that were refused, each with its reason.
    pub(crate) refused: Vec<String>,
}

/// One life: create, run, a command, a pause where that can be, a streaming command, an apply,
/// destroy. As far as it gets.
pub(crate) fn life(runtime: &Runtime, config: SandboxConfig) -> Result<Seen, KavachError> {
    let work = config.workspace().map(|w| w.directory().to_owned());
    runtime.block_on(async {
        let mut sandbox = Sandbox::create(config).await?;
        // A pause is announced as impossible, or it works.
        sandbox.transition(SandboxState::Running)?;
        let result = sandbox.exec(Command::shell(PROBE)).await?;
        let mut seen = Seen {
            probe: format!("{} {}{}", result.termination, result.stdout, result.stderr),
            ..Seen::default()
        };
        match sandbox.transition(SandboxState::Paused) {
            Ok(()) => {
                sandbox.transition(SandboxState::Running)?;
                // With a freezer there are groups, by which one command alone can be killed.
                let command = Command::new("sleep").arg("1000").timeout_ms(2);
                seen.limited = sandbox.exec(command).await?.termination.to_string();
            }
            Err(KavachError::Unsupported { .. }) => {}
            Err(e) => return Err(e),
        }
        let mut script = "seq 1000".to_owned();
        if let Some(work) = &work {
            script += &format!("; echo new > '{}'", file(work).display());
        }
        let mut child = sandbox.spawn(Command::shell(script)).await?;
        if let Some(out) = &mut child.stdout {
            let read = out.read_to_string(&mut seen.streamed).await;
            // The caller's own stream: its errors are plain.
            if let Err(e) = read {
                seen.streamed = format!("error {:?}", e.kind());
            }
        }
        let end = child.wait().await?;
        seen.streamed = format!("{} {}", end.termination, seen.streamed.len());
        if let Some(work) = &work {
            let done = sandbox.apply(ApplyOptions::new()).await?;
            seen.refused = done.refused.iter().map(ToString::to_string).collect();
            // The call that fails may be this one, which is not kavach's.
            let read = || fs::read_to_string(file(work));
            seen.applied = read().or_else(|_| read()).unwrap_or_default();
        }
        sandbox.destroy().await?;
        Ok(seen)
    })
}

/// What the guest changes.
fn file(work: &Path) -> PathBuf {
    work.join("file")
}

/// A directory to work in, with an old file.
pub(crate) fn workspace() -> PathBuf {
    let dir = place().join("work");
    let _ = fs::create_dir(&dir);
    renew(&dir);
    dir
}

/// The old file is there again.
pub(crate) fn renew(work: &Path) {
    let _ = fs::remove_file(file(work));
    fs::write(file(work), "old\n").unwrap();
}

impl Seen {
    /// How it differs from what was expected, line by line.
    pub(crate) fn unlike(&self, expected: &Self) -> String {
        let lines = |seen: &Self| {
            let mut lines: Vec<_> = seen.probe.lines().map(str::to_owned).collect();
            lines.push(format!(
                "streamed {}, limited {}",
                seen.streamed, seen.limited
            ));
            lines.push(format!(
                "applied {:?}, refused {:?}",
                seen.applied, seen.refused
            ));
            lines
        };
        difference("seen", &lines(expected), &lines(self))
    }
}

/// A config of the preset with everything that a life uses.
pub(crate) fn config(preset: &str, work: &Path) -> SandboxConfig {
    let policy = kavach::SandboxPolicy::from_preset(preset).unwrap();
    SandboxConfig::builder()
        .policy(policy)
        .workspace(Workspace::new(work))
        .build()
}

/// What is there besides the sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Around {
    descriptors: Vec<String>,
    processes: Vec<String>,
    mounts: Vec<String>,
    groups: Vec<PathBuf>,
    /// Held locks of id ranges, and what is in the workspace. The empty file of a lock that nobody
    /// holds is taken over by a later sandbox, and what a cut-off apply leaves is removed by the
    /// next one: neither is anybody's.
    files: Vec<PathBuf>,
}

impl Around {
    pub(crate) fn now() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = |line: &str| line.split(' ').nth(4).unwrap_or("").to_owned();
        let mut files = Vec::new();
        if is_private() {
            let locks = list(Path::new("/run/kavach/uid-ranges"));
            files.extend(locks.into_iter().filter(|lock| is_held(lock)));
        }
        let mut work = list(&place().join("work"));
        work.retain(|file| !is_temporary(file));
        files.extend(work);
        // kavach keeps one open for some seconds, to see that something was mounted.
        let mut descriptors = descriptors();
        let own = format!("/proc/{}/task", std::process::id());
        descriptors.retain(|open| !open.ends_with("/mountinfo") && *open != own);
        Self {
            descriptors,
            processes: processes(),
            mounts: mounts.lines().map(mount).collect(),
            groups: groups(),
            files,
        }
    }

    /// Whether no process, group or lock of a sandbox is there.
    fn has_no_sandbox(&self) -> bool {
        let is_agent = |line: &String| line.contains("kavach-agent [");
        let is_lock = |file: &PathBuf| file.starts_with("/run/kavach");
        self.groups.is_empty()
            && !self.processes.iter().any(is_agent)
            && !self.files.iter().any(is_lock)
    }

    fn is_no_more_than(&self, before: &Self) -> bool {
        let fewer = self.descriptors.len() <= before.descriptors.len();
        let others = Self {
            descriptors: before.descriptors.clone(),
            ..self.clone()
        };
        fewer && others == *before
    }

    /// Waits, for a bounded time, until nothing of a sandbox is there; tells what is, otherwise.
    pub(crate) fn await_no_sandbox() {
        let mut now = Self::now();
        let gone = comes_true(|| {
            now = Self::now();
            now.has_no_sandbox()
        });
        assert!(gone, "{now:#?}");
    }

    /// Waits, for a bounded time, until it is as it was; what differs otherwise. Fewer descriptors
    /// can be open, where what was counted then was about to be closed.
    pub(crate) fn differs(&self) -> Option<String> {
        let mut now = Self::now();
        let same = comes_true(|| {
            now = Self::now();
            now.is_no_more_than(self)
        });
        let differences = [
            difference("descriptors", &self.descriptors, &now.descriptors),
            difference("processes", &self.processes, &now.processes),
            difference("mounts", &self.mounts, &now.mounts),
            difference("groups", &self.groups, &now.groups),
            difference("files", &self.files, &now.files),
        ];
        (!same).then(|| differences.concat())
    }
}

fn is_held(lock: &Path) -> bool {
    match fs::File::open(lock) {
        Ok(file) => file.try_lock().is_err(),
        Err(_) => false,
    }
}

/// What an apply makes until a file is whole.
pub(crate) fn is_temporary(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(".kavach-apply-")
}

/// What is in one list and not in the other; nothing where they are the same.
fn difference<T: PartialEq + Clone + std::fmt::Debug>(
    what: &str,
    before: &[T],
    now: &[T],
) -> String {
    let mut more = now.to_vec();
    let mut fewer = Vec::new();
    for one in before {
        match more.iter().position(|other| other == one) {
            Some(at) => drop(more.remove(at)),
            None => fewer.push(one.clone()),
        }
    }
    if more.is_empty() && fewer.is_empty() {
        return String::new();
    }
    format!(" {what}: more {more:?}, fewer {fewer:?};")
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// The command lines of all other processes, and of the dead ones whose status nobody took; where
/// others' can be seen, those of this process's sandboxes alone.
fn processes() -> Vec<String> {
    let own = std::process::id();
    let agent = format!("kavach-agent [{own}-");
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or("").split(' ');
        let (state, parent) = (fields.next(), fields.next());
        let is_zombie = state == Some("Z") && parent == Some(&own.to_string());
        if is_zombie {
            all.push("a dead child".to_owned());
        } else if is_private() && pid != own && !line.is_empty() || line.contains(&agent) {
            all.push(line);
        }
    }
    all.sort();
    all
}

/// The groups that this process's sandboxes have.
fn groups() -> Vec<PathBuf> {
    let inode = fs::read_link("/proc/self/ns/pid").unwrap();
    let digits: String = inode
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    // The start time, too: another pid namespace may have had the same pid and the same inode.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let start = fields.split(' ').nth(19).unwrap_or_default();
    let mut groups = cgroups(&format!("kavach.{}.{start}.", std::process::id()));
    groups.retain(|path| path.to_string_lossy().ends_with(&format!(".{digits}")));
    groups.sort();
    groups
}

/// Waits until the threads that do work which blocks have retired: they do when they had none
/// for ten seconds.
pub(crate) fn threads_settle(most: usize) {
    let count = || fs::read_dir("/proc/self/task").unwrap().count();
    let mut now = count();
    for _ in 0..150 {
        if now <= most {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
        now = count();
    }
    panic!("{now} threads, {most} before");
}
