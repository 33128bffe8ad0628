//! Running the real binary, and skipping out loud.
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod lease;
pub(crate) mod schema;
mod skip;

pub(crate) mod dialogue;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

pub(crate) use skip::skip;

/// The command with a known environment.
pub(crate) fn kavach<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kavach"));
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin");
    counted(&mut command);
    command.stdin(Stdio::null());
    command
}

/// Under scripts/coverage.sh the command counts where the tests do.
pub(crate) fn counted(command: &mut Command) {
    if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
        command.env("LLVM_PROFILE_FILE", profile);
    }
}

pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    kavach(args).output().unwrap()
}

/// The same with this on standard input.
pub(crate) fn run_with_input<const N: usize>(args: [&str; N], input: &[u8]) -> Output {
    feed(&mut kavach(args), input)
}

/// Runs any command with this on standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Both ways at once: a full pipe on one must not stop the other.
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    })
}

/// What is missing where this program of `make setup` is; under `KAVACH_REQUIRE_ALL` it must be
/// there.
pub(crate) fn missing_program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    if !there && std::env::var_os("KAVACH_REQUIRE_ALL").is_some() {
        panic!("`{name}` is not there; `make setup` installs it");
    }
    (!there).then(|| format!("the program `{name}`: run `make setup`"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&output.stdout)))
}

/// A line that a running guest wrote: how a test knows that it has come so far.
pub(crate) fn line(child: &mut Child) -> String {
    let out = child.stdout.as_mut().unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    text(&line)
}

pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    kill(i32::try_from(child.id()).unwrap(), signal);
}

pub(crate) fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A directory of one test's own.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kavach-cli-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.0.join(name);
        File::create(&path).unwrap().write_all(contents).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether sandboxes of this policy can be made here; if not, the calling test is listed as
/// skipped.
pub(crate) fn sandboxes(test: &str, policy: &str) -> bool {
    static BASIC: OnceLock<Option<String>> = OnceLock::new();
    static STRICT: OnceLock<Option<String>> = OnceLock::new();
    let cell = if policy == "strict" { &STRICT } else { &BASIC };
    let missing = cell.get_or_init(|| {
        let tried = run(["exec", "--policy", policy, "--", "true"]);
        let said = String::from_utf8_lossy(&tried.stderr).into_owned();
        (tried.status.code() == Some(125)).then_some(said)
    });
    match missing {
        None => true,
        Some(said) => {
            skip(
                test,
                &format!("no `{policy}` sandbox can be made here: {said}"),
            );
            false
        }
    }
}

/// The children of a process with this name.
pub(crate) fn children_named(pid: u32, name: &str) -> Vec<i32> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(path).unwrap().flatten();
    let children = tasks.flat_map(|task| {
        fs::read_to_string(task.path().join("children"))
            .unwrap_or_default()
            .split_whitespace()
            .map(|pid| pid.parse::<i32>().unwrap())
            .collect::<Vec<_>>()
    });
    children
        .filter(|pid| {
            fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"))
                .is_ok_and(|line| line.starts_with(name.as_bytes()))
        })
        .collect()
}
