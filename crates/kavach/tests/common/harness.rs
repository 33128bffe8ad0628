//! Trials that run twice: as root and as an ordinary user, each in a process of its own.
//!
//! The program lists every trial; to run one it starts itself again as the right user. So a
//! trial can measure its own process, hold a secret in its own environment, and crash alone. As
//! root, the ordinary user is `kavach-test`, made here if it is not there. Not as root, the half
//! that needs root is listed as skipped.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kavach::Backend;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::attacks::{self, Registry};
use crate::delegate::{self, Delegated};

/// What every trial runs on, but for the positive controls, which run on `noop`. A backend that
/// is added here is a column of the pass matrix; what it does not face, `attacks.toml` says.
pub(crate) const COLUMNS: &[Backend] = &[Backend::Process];

/// The ordinary user of root's runs.
const USER: &str = "kavach-test";
/// Tells a child which trial it is.
const TRIAL: &str = "KAVACH_TEST_TRIAL";
/// The directory of what all trials share.
const FIXTURE: &str = "KAVACH_TEST_FIXTURE";
/// A directory with the guests compiled already, for a machine on which that takes long.
const COMPILED: &str = "KAVACH_TEST_GUESTS";
/// A trial that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(150);

/// Who runs a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
    /// The ordinary user, in control groups that root gave it.
    Delegated,
}

impl Who {
    pub(crate) const BOTH: &[Who] = &[Who::Root, Who::User];
    pub(crate) const ALL: &[Who] = &[Who::Root, Who::User, Who::Delegated];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Root => "root",
            Who::User => "user",
            Who::Delegated => "delegated",
        }
    }

    pub(crate) fn is_root(self) -> bool {
        self == Who::Root
    }

    /// Whether the kernel's control groups can hold its limits.
    pub(crate) fn has_cgroups(self) -> bool {
        self != Who::User
    }
}

/// What a trial's body is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) who: Who,
    pub(crate) policy: &'static str,
}

/// What the trial of this process runs on.
static BACKEND: OnceLock<Backend> = OnceLock::new();

/// The backend of the running trial: one for a whole process, as every trial has its own.
pub(crate) fn backend() -> Backend {
    *BACKEND.get().expect("asked for by a trial")
}

struct Case {
    name: String,
    who: Who,
    backend: Backend,
    needs: Option<Needs>,
    toolchain: bool,
    shared_mounts: bool,
    body: Arc<dyn Fn() + Send + Sync>,
}

/// What is missing for a trial, if something is.
type Needs = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The trials of one subject.
pub(crate) struct Suite {
    registry: Registry,
    cases: Vec<Case>,
    subject: &'static str,
    whos: &'static [Who],
}

impl Default for Suite {
    fn default() -> Self {
        Self {
            registry: Registry::read(),
            cases: Vec::new(),
            subject: "",
            whos: Who::BOTH,
        }
    }
}

impl Suite {
    /// What follows belongs to this subject.
    pub(crate) fn subject(&mut self, subject: &'static str) {
        self.subject_for(subject, Who::BOTH);
    }

    /// The same, for these users.
    pub(crate) fn subject_for(&mut self, subject: &'static str, whos: &'static [Who]) {
        self.subject = subject;
        self.whos = whos;
    }

    /// A trial for both users under `policies`, on every backend that faces it. The policy `noop`
    /// stands for the backend of that name with the policy `minimal`.
    pub(crate) fn each(
        &mut self,
        name: &str,
        policies: &[&'static str],
        body: impl Fn(Setting) + Send + Sync + 'static,
    ) -> &mut Self {
        self.each_needing(name, policies, |_| None, body)
    }

    /// The same, listed as skipped where `needs` names something.
    pub(crate) fn each_needing(
        &mut self,
        name: &str,
        policies: &[&'static str],
        needs: impl Fn(Who) -> Option<String> + Send + Sync + 'static,
        body: impl Fn(Setting) + Send + Sync + 'static,
    ) -> &mut Self {
        let (needs, body) = (Arc::new(needs), Arc::new(body));
        let subject = self.subject;
        for who in self.whos.iter().copied() {
            for policy in policies {
                let noop = *policy == "noop";
                for backend in if noop { &[Backend::Noop] } else { COLUMNS } {
                    let id = format!("{subject}::{name}");
                    if self
                        .registry
                        .not_faced("isolation", &id, *backend)
                        .is_some()
                    {
                        continue;
                    }
                    let on = if noop {
                        "noop".to_owned()
                    } else {
                        format!("{backend}::{policy}")
                    };
                    let setting = Setting { who, policy };
                    let (needs, body) = (needs.clone(), body.clone());
                    self.cases.push(Case {
                        name: format!("{}::{on}::{id}", who.name()),
                        who,
                        backend: *backend,
                        needs: Some(Arc::new(move || needs(who))),
                        toolchain: false,
                        shared_mounts: false,
                        body: Arc::new(move || body(setting)),
                    });
                }
            }
        }
        self
    }

    /// Shows the trials just added the Rust toolchain, also where it is in root's home.
    pub(crate) fn with_toolchain(&mut self, count: usize) {
        let from = self.cases.len() - count;
        for case in &mut self.cases[from..] {
            case.toolchain = true;
        }
    }

    /// Runs the trials just added where every mount is shared with others, as systemd has it.
    pub(crate) fn with_shared_mounts(&mut self, count: usize) {
        let from = self.cases.len() - count;
        for case in &mut self.cases[from..] {
            case.shared_mounts = true;
        }
    }

    /// Runs what the command line asks for.
    pub(crate) fn main(self, guests: &[(&str, &str)]) -> ExitCode {
        if let Ok(name) = std::env::var(TRIAL) {
            let case = self.cases.into_iter().find(|case| case.name == name);
            let case = case.unwrap_or_else(|| panic!("no trial {name}"));
            BACKEND.get_or_init(|| case.backend);
            // A panic ends this process with a status that the parent sees.
            case.body.as_ref()();
            return ExitCode::SUCCESS;
        }
        let mut args = Arguments::from_args();
        // Most of a trial's time is spent waiting for limits.
        args.test_threads.get_or_insert(4);
        let shared = Arc::new(if args.list {
            Shared::nothing()
        } else {
            Shared::make(guests)
        });
        let names = self.cases.iter().map(|case| case.name.clone()).collect();
        let mut trials = attacks::trials("isolation", names);
        trials.extend(
            self.cases
                .into_iter()
                .filter(|case| is_asked_for(&args, &case.name))
                .map(|case| shared.trial(case, args.list)),
        );
        let conclusion = libtest_mimic::run(&args, trials);
        conclusion.exit_code()
    }
}

/// What all trials share.
struct Shared {
    root: bool,
    directory: PathBuf,
    home: PathBuf,
    program: PathBuf,
    sysroot: Option<PathBuf>,
}

impl Shared {
    fn nothing() -> Self {
        Self {
            root: is_root(),
            directory: PathBuf::new(),
            home: PathBuf::new(),
            program: PathBuf::new(),
            sysroot: None,
        }
    }

    fn make(guests: &[(&str, &str)]) -> Self {
        let root = is_root();
        let id = std::process::id();
        let directory = directory();
        make_dir(&directory);
        make_dir(&directory.join("guests"));
        make_dir(&directory.join("rust"));
        fs::write(directory.join("canary"), "canary-tmp").unwrap();
        let compiled = std::env::var_os(COMPILED).map(PathBuf::from);
        for (name, source) in guests {
            let file = directory.join("guests").join(name);
            fs::write(&file, source).unwrap();
            let Some(name) = name.strip_suffix(".c") else {
                continue;
            };
            let program = directory.join("guests").join(name);
            match &compiled {
                Some(from) => drop(fs::copy(from.join(name), &program).unwrap()),
                None => must(
                    Command::new("cc")
                        .args(["-O1", "-pthread", "-o"])
                        .arg(&program)
                        .arg(&file),
                ),
            }
        }
        copy_ready_policies(&directory.join("policies"));
        // A home that everybody may read: only the view can hide it.
        let home = PathBuf::from(format!("/home/kavach-canary-{id}"));
        let mut program = std::env::current_exe().unwrap();
        if root {
            let there = Command::new("id")
                .arg(USER)
                .output()
                .unwrap()
                .status
                .success();
            if !there {
                must(Command::new("useradd").args(["-m", USER]));
            }
            make_dir(&home);
            fs::write(home.join("canary"), "canary-home").unwrap();
            let reachable = as_user()
                .args(["test", "-x"])
                .arg(&program)
                .status()
                .unwrap();
            if !reachable.success() {
                let copy = directory.join("trials");
                fs::copy(&program, &copy).unwrap();
                program = copy;
            }
        }
        let sysroot = Command::new("rustc")
            .args(["--print", "sysroot"])
            .output()
            .ok();
        let sysroot = sysroot.filter(|out| out.status.success());
        Self {
            root,
            directory,
            home,
            program,
            sysroot: sysroot.map(|out| String::from_utf8(out.stdout).unwrap().trim().into()),
        }
    }

    fn trial(self: &Arc<Self>, case: Case, list: bool) -> Trial {
        let missing = if case.who != Who::User && !self.root {
            Some("needs root: run the tests as root".to_owned())
        } else if case.shared_mounts && !self.root {
            Some("needs root, to share the mounts: run the tests as root".to_owned())
        } else if list {
            None
        } else if let Some(missing) = unusable(case.backend) {
            Some(missing)
        } else if case.who == Who::Delegated
            && let Some(missing) = delegate::missing()
        {
            Some(missing)
        } else {
            case.needs.as_ref().and_then(|needs| needs())
        };
        if let Some(missing) = &missing
            && !list
        {
            skip(&case.name, missing);
        }
        let shared = self.clone();
        let name = case.name.clone();
        Trial::test(name, move || shared.run(&case)).with_ignored_flag(missing.is_some())
    }

    /// Runs a trial in a process of its own.
    fn run(&self, case: &Case) -> Result<(), Failed> {
        let (name, who, toolchain) = (&case.name, case.who, case.toolchain);
        let delegated = match who {
            Who::Delegated => Some(Delegated::new(USER)?),
            _ => None,
        };
        let mut command = match who {
            Who::Delegated => delegate::enter(delegated.as_ref(), &as_user()),
            Who::User if self.root && toolchain => {
                // The toolchain of root's home, shown in a mount namespace that ends with the
                // trial.
                let mut command = Command::new("unshare");
                let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
                command.args([
                    "--mount",
                    "--propagation",
                    "private",
                    "sh",
                    "-c",
                    script,
                    "sh",
                ]);
                command.arg(self.sysroot.as_deref().unwrap_or(Path::new("/nonexistent")));
                command.arg(self.directory.join("rust"));
                let user = as_user();
                command.arg(user.get_program()).args(user.get_args());
                command
            }
            Who::User if self.root => as_user(),
            _ => Command::new("env"),
        };
        if case.shared_mounts {
            let mut shared = Command::new("unshare");
            shared.args(["--mount", "--propagation", "shared"]);
            shared.arg(command.get_program()).args(command.get_args());
            command = shared;
        }
        let home = match who {
            Who::User | Who::Delegated if self.root => format!("/home/{USER}"),
            _ => std::env::var("HOME").unwrap_or_else(|_| "/".into()),
        };
        let sysroot = match who {
            Who::User if self.root => Some(self.directory.join("rust")),
            _ => self.sysroot.clone(),
        };
        command
            .arg(&self.program)
            .arg("canary-argument")
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", home)
            .env("KAVACH_CANARY", "canary-environment")
            .env(TRIAL, name)
            .env(FIXTURE, &self.directory)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(sysroot) = sysroot {
            command.env("KAVACH_TEST_RUST", sysroot);
        }
        // Set by scripts/coverage.sh.
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        let mut child = command.spawn()?;
        let said = (gather(child.stdout.take()), gather(child.stderr.take()));
        let status = wait(&mut child)?;
        let said = [said.0, said.1]
            .map(|said| said.join().unwrap_or_default())
            .concat();
        if let Some(delegated) = delegated {
            delegated.remove()?;
        }
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{status}\n{said}").into()),
            None => Err(format!("did not end within {PATIENCE:?}\n{said}").into()),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for directory in [&self.directory, &self.home] {
            if directory.is_dir() {
                let _ = fs::remove_dir_all(directory);
            }
        }
    }
}

/// Why a backend cannot be used on this host; asked once for each.
fn unusable(backend: Backend) -> Option<String> {
    static ANSWERS: OnceLock<Vec<(Backend, Option<String>)>> = OnceLock::new();
    let answers = ANSWERS.get_or_init(|| {
        let facts = kavach::host::probe();
        let ask = |b: &Backend| {
            let answer = kavach::backend::availability(*b, &facts);
            (*b, answer.err().map(|e| e.to_string()))
        };
        COLUMNS.iter().map(ask).collect()
    });
    let answer = answers.iter().find(|(b, _)| *b == backend);
    answer.and_then(|(_, missing)| missing.clone())
}

/// As libtest-mimic filters: what is not asked for is no skip.
fn is_asked_for(args: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| match args.exact {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };
    args.filter.as_ref().is_none_or(matches) && !args.skip.iter().any(matches)
}

fn gather(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn as_user() -> Command {
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={USER}"))
        .arg(format!("--regid={USER}"));
    command.args([
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--",
    ]);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn make_dir(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn must(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(|s| s.success()),
        "{command:?}: {status:?}"
    );
}

/// Records a skip with its reason (docs/development/testing.md).
fn skip(name: &str, missing: &str) {
    let line = format!("SKIP: {name}: {missing}\n");
    let log = std::env::var_os("KAVACH_SKIP_LOG");
    let log = log.map(|log| fs::OpenOptions::new().append(true).create(true).open(log));
    match log {
        Some(log) => log.unwrap().write_all(line.as_bytes()).unwrap(),
        None => std::io::stderr().write_all(line.as_bytes()).unwrap(),
    }
}

/// Where the ready policies of the repository are; not in the package of the crate.
const READY_POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");

/// Copies them to where the ordinary user can read them too.
fn copy_ready_policies(to: &Path) {
    make_dir(to);
    for entry in fs::read_dir(READY_POLICIES).into_iter().flatten() {
        let from = entry.unwrap().path();
        fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
    }
}

/// Names the ready policies where they are missing.
pub(crate) fn ready_policies(_: Who) -> Option<String> {
    let there = Path::new(READY_POLICIES).is_dir();
    (!there).then(|| "policies/ is in the repository, not in the package".to_owned())
}

/// The directory of what all trials share.
pub(crate) fn fixture() -> PathBuf {
    match std::env::var_os(FIXTURE) {
        Some(directory) => directory.into(),
        None => directory(),
    }
}

/// The same, in the process that makes it.
fn directory() -> PathBuf {
    PathBuf::from(format!("/tmp/kavach-isolation-{}", std::process::id()))
}

/// Names a missing Rust toolchain, which cannot be shown then.
pub(crate) fn toolchain(_: Who) -> Option<String> {
    let there = Command::new("rustc").arg("-V").output();
    (!there.is_ok_and(|out| out.status.success()))
        .then(|| "rustc is missing for the user who runs the tests: https://rustup.rs".to_owned())
}

/// Names a missing program that `make setup` installs; with `KAVACH_REQUIRE_ALL` it is no reason
/// to skip, and the trial fails by itself.
pub(crate) fn program(path: &str) -> Option<String> {
    let there = Path::new(path).exists() || std::env::var_os("KAVACH_REQUIRE_ALL").is_some();
    (!there).then(|| format!("{path} is missing: `make setup` installs it"))
}
