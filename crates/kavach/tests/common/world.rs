//! A sandbox for a trial, and looks at the host around it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kavach::config::SandboxConfigBuilder;
use kavach::workspace::{Applied, ApplyOptions, Changes};
use kavach::{
    Backend, Child, ExecResult, IntoCommand, KavachError, Sandbox, SandboxConfig, SandboxPolicy,
    SandboxState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::fixture;

/// The policies of the process backend that isolate.
pub(crate) const ISOLATING: [&str; 2] = ["basic", "strict"];
/// How long something may take that should take no time.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A running sandbox and the runtime that drives it.
pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    pub(crate) sandbox: Sandbox,
}

/// A preset, or a ready policy by its name.
pub(crate) fn policy(name: &str) -> SandboxPolicy {
    if kavach::policy::PRESETS.contains(&name) {
        return SandboxPolicy::from_preset(name).unwrap();
    }
    SandboxPolicy::load(fixture().join("policies").join(format!("{name}.toml"))).unwrap()
}

/// A config of the trial's backend and nothing else.
pub(crate) fn builder() -> SandboxConfigBuilder {
    SandboxConfig::builder().backend(crate::harness::backend())
}

/// A config that shows the guests; `noop` is the positive control.
pub(crate) fn config(policy: &str) -> SandboxConfigBuilder {
    if policy == "noop" {
        return SandboxConfig::builder()
            .backend(Backend::Noop)
            .policy(SandboxPolicy::minimal());
    }
    let builder = builder().policy(self::policy(policy));
    match policy {
        // It shows them already.
        "minimal" => builder,
        _ => builder.read(fixture().join("guests")),
    }
}

/// Where a guest program is, inside and outside.
pub(crate) fn guest(name: &str) -> String {
    fixture()
        .join("guests")
        .join(name)
        .to_str()
        .unwrap()
        .to_owned()
}

/// A command of a guest program.
pub(crate) fn act(name: &str, args: &[&str]) -> kavach::Command {
    kavach::Command::new(guest(name)).args(args.iter().copied())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// What keeps a config from becoming a sandbox.
pub(crate) fn refusal(builder: SandboxConfigBuilder) -> KavachError {
    match runtime().block_on(Sandbox::create(builder.build())) {
        Ok(_) => panic!("the sandbox was made"),
        Err(e) => e,
    }
}

impl World {
    pub(crate) fn new(builder: SandboxConfigBuilder) -> Self {
        let runtime = runtime();
        let mut sandbox = runtime
            .block_on(Sandbox::create(builder.build()))
            .unwrap_or_else(|e| panic!("{e} ({:?})", e.hint()));
        sandbox.transition(SandboxState::Running).unwrap();
        Self { runtime, sandbox }
    }

    pub(crate) fn of(policy: &str) -> Self {
        Self::new(config(policy))
    }

    /// Runs a command; a failure of kavach fails the trial.
    pub(crate) fn run(&self, command: impl IntoCommand) -> ExecResult {
        self.try_run(command)
            .unwrap_or_else(|e| panic!("{e} ({:?})", e.hint()))
    }

    pub(crate) fn try_run(&self, command: impl IntoCommand) -> kavach::Result<ExecResult> {
        self.runtime.block_on(self.sandbox.exec(command))
    }

    /// What a script says on its standard output; it must succeed.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.said(kavach::Command::new("/bin/bash").args(["-c", script]))
    }

    /// What a command says on its standard output; it must succeed.
    pub(crate) fn said(&self, command: impl IntoCommand) -> String {
        let result = self.run(command);
        assert!(
            result.success(),
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            result.termination,
            result.stdout,
            result.stderr
        );
        result.stdout.trim_end().to_owned()
    }

    /// Runs several commands at once.
    pub(crate) fn run_all(&self, commands: Vec<kavach::Command>) -> Vec<ExecResult> {
        let running: Vec<_> = commands
            .into_iter()
            .map(|command| {
                let handle = self.sandbox.handle();
                self.runtime
                    .spawn(async move { handle.exec(command).await })
            })
            .collect();
        let end = |task: tokio::task::JoinHandle<kavach::Result<ExecResult>>| {
            self.runtime.block_on(task).unwrap().unwrap()
        };
        running.into_iter().map(end).collect()
    }

    pub(crate) fn spawn(&self, command: impl IntoCommand) -> Child {
        self.runtime.block_on(self.sandbox.spawn(command)).unwrap()
    }

    pub(crate) fn write(&self, child: &mut Child, bytes: &[u8]) {
        let stdin = child.stdin.as_mut().expect("piped");
        self.runtime.block_on(stdin.write_all(bytes)).unwrap();
    }

    /// The next bytes that a command wrote; empty at the end of the stream.
    pub(crate) fn read(&self, child: &mut Child) -> String {
        let stdout = child.stdout.as_mut().expect("not taken");
        let mut bytes = vec![0; 4096];
        let read = self.runtime.block_on(stdout.read(&mut bytes)).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    /// What a command writes up to a text, and past it if that came with it.
    #[track_caller]
    pub(crate) fn expect(&self, child: &mut Child, text: &str) -> String {
        let stdout = child.stdout.as_mut().expect("not taken");
        let mut said = String::new();
        let mut bytes = vec![0; 4096];
        while !said.contains(text) {
            let read = async { tokio::time::timeout(SOON, stdout.read(&mut bytes)).await };
            let read = self.runtime.block_on(read);
            let n = read.unwrap_or_else(|_| panic!("no {text:?} within {SOON:?} in {said:?}"));
            let n = n.unwrap();
            assert_ne!(n, 0, "the end, and no {text:?} in {said:?}");
            said.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        said
    }

    /// Kills a command.
    pub(crate) fn kill(&self, child: &mut Child, grace: Duration) -> ExecResult {
        self.runtime.block_on(child.kill(grace)).unwrap()
    }

    /// Starts a command, or what keeps it from being started.
    pub(crate) fn try_spawn(&self, command: impl IntoCommand) -> kavach::Result<Child> {
        self.runtime.block_on(self.sandbox.spawn(command))
    }

    /// Empties the pipe, and whether nothing more comes for this long.
    pub(crate) fn quiet_for(&self, child: &mut Child, time: Duration) -> bool {
        let stdout = child.stdout.as_mut().expect("not taken");
        let mut bytes = vec![0; 1 << 20];
        self.runtime.block_on(async {
            // The first read takes what is left of before.
            let _ = tokio::time::timeout(time, stdout.read(&mut bytes)).await;
            tokio::time::timeout(time, stdout.read(&mut bytes))
                .await
                .is_err()
        })
    }

    pub(crate) fn wait(&self, child: &mut Child) -> ExecResult {
        self.runtime.block_on(child.wait()).unwrap()
    }

    pub(crate) fn changes(&self) -> Changes {
        self.runtime.block_on(self.sandbox.changes()).unwrap()
    }

    pub(crate) fn apply(&self, options: ApplyOptions) -> Applied {
        self.runtime.block_on(self.sandbox.apply(options)).unwrap()
    }

    pub(crate) fn destroy(&mut self) {
        self.runtime.block_on(self.sandbox.destroy()).unwrap();
    }
}

/// A directory of this trial's own that everybody may read; gone with the value.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = PathBuf::from(format!("/tmp/kavach-trial-{}", std::process::id()));
        // Of a trial that was killed, and whose number this process has now.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A word that is in the command line of no other process.
pub(crate) fn mark() -> String {
    format!("mark-{}-{:?}", std::process::id(), Instant::now())
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect()
}

/// The processes of the host that hold a mark, by the last word of their command line.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).ends_with(&format!("\0hold\0{mark}\0"))
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Looks until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills a process of the host when it goes out of scope.
pub(crate) struct Victim(pub(crate) std::process::Child);

impl Victim {
    pub(crate) fn new() -> Self {
        Self(
            std::process::Command::new("sleep")
                .arg("600")
                .spawn()
                .unwrap(),
        )
    }

    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The most memory that this process had at a time since [`forget_peak`].
pub(crate) fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Makes the peak the present value (`proc_pid_clear_refs(5)`).
pub(crate) fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The text of a small file, or why it cannot be read.
pub(crate) fn contents(path: &Path) -> Result<String, std::io::ErrorKind> {
    fs::read_to_string(path).map_err(|e| e.kind())
}
