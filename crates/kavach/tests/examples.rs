//! Runs every example, as root and as an ordinary user, and compares what it prints with what its
//! own documentation says it prints.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of this program is tests, which its own harness does not mark as such"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

/// The ordinary user of root's runs.
const USER: &str = "kavach-test";
/// Says what the user that starts this program so is missing here, if anything.
const MISSING: &str = "--missing";
/// What runs everywhere, for it builds no sandbox.
const WITHOUT_SANDBOX: [&str; 2] = ["fail_closed", "policies"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    User,
}

fn main() -> ExitCode {
    if let [_, flag, name] = &std::env::args().collect::<Vec<_>>()[..]
        && flag == MISSING
    {
        print!("{}", missing(name));
        return ExitCode::SUCCESS;
    }
    let args = Arguments::from_args();
    let place = Arc::new(Place::new(args.list));
    let mut trials = Vec::new();
    for name in names() {
        for who in [Who::Root, Who::User] {
            trials.push(trial(&place, name.clone(), who, args.list));
        }
    }
    trials.push(Trial::test("the_list_names_every_example", listed));
    libtest_mimic::run(&args, trials).exit_code()
}

/// The list for people.
fn listed() -> Result<(), Failed> {
    let list = fs::read_to_string(sources().join("README.md")).unwrap();
    let is_listed = |name: &&String| list.contains(&format!("]({name}.rs)"));
    match names().iter().find(|name| !is_listed(name)) {
        None => Ok(()),
        Some(name) => Err(format!("{name} is not in examples/README.md").into()),
    }
}

/// The examples, by their sources.
fn names() -> BTreeSet<String> {
    let entries = fs::read_dir(sources())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let sources = entries.filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    sources
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn trial(place: &Arc<Place>, name: String, who: Who, list: bool) -> Trial {
    let full = format!("{}::{name}", if who == Who::Root { "root" } else { "user" });
    let missing = match who {
        Who::Root if !is_root() => "root: run the tests as root".to_owned(),
        _ if list => String::new(),
        _ => place.missing(&name, who),
    };
    if !missing.is_empty() && !list {
        skip(&full, &missing);
    }
    let place = place.clone();
    Trial::test(full, move || place.run(&name, who)).with_ignored_flag(!missing.is_empty())
}

/// What the example needs and this user has not got here.
fn missing(name: &str) -> String {
    if WITHOUT_SANDBOX.contains(&name) {
        return String::new();
    }
    let facts = kavach::host::probe();
    if name == "pause_resume" && facts.cgroups.freezer.version().is_none() {
        return "a freezer: a control group that this user may make groups in".to_owned();
    }
    let policy = kavach::SandboxPolicy::strict();
    let config = kavach::SandboxConfig::builder().policy(policy).build();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    match runtime.block_on(kavach::Sandbox::create(config)) {
        Ok(_) => String::new(),
        Err(error) => format!("a host on which `strict` works: {error}"),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// docs/development/testing.md has the form.
fn skip(test: &str, missing: &str) {
    let line = format!("SKIP: {test}: {missing}\n");
    match std::env::var_os("KAVACH_SKIP_LOG") {
        Some(log) => fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap(),
        None => eprint!("{line}"),
    }
}

/// Where the programs are, and a copy that an ordinary user can start.
struct Place {
    built: PathBuf,
    copies: PathBuf,
}

impl Place {
    fn new(list: bool) -> Self {
        // target/PROFILE/deps/examples-HASH
        let this = std::env::current_exe().unwrap();
        let built = this.parent().unwrap().parent().unwrap().join("examples");
        let copies = PathBuf::from(format!("/var/tmp/kavach-examples-{}", std::process::id()));
        if !list {
            fs::create_dir(&copies).unwrap();
            fs::set_permissions(&copies, fs::Permissions::from_mode(0o755)).unwrap();
            copy(&this, &copies.join("this"));
            // All before the first trial starts a process: one that is being started holds for
            // a moment what is open for writing, and such a file cannot be executed.
            for name in names().iter().filter(|name| built.join(name).exists()) {
                copy(&built.join(name), &copies.join(name));
            }
            if is_root() {
                make_user();
            }
        }
        Self { built, copies }
    }

    fn missing(&self, name: &str, who: Who) -> String {
        let mut command = command(&self.copies.join("this"), who);
        text(&command.args([MISSING, name]).output().unwrap().stdout)
    }

    fn run(&self, name: &str, who: Who) -> Result<(), Failed> {
        fresh(&self.built.join(name))?;
        let done = command(&self.copies.join(name), who).output().unwrap();
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        if !done.status.success() || !err.is_empty() {
            return Err(format!("{}\n{out}\n{err}", done.status).into());
        }
        let source = fs::read_to_string(sources().join(format!("{name}.rs"))).unwrap();
        let expected =
            documented(&source).ok_or("its documentation does not say what it prints")?;
        compare(&expected, &out)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.copies);
    }
}

fn make_user() {
    let there = Command::new("id").arg(USER).output().unwrap();
    if !there.status.success() {
        let made = Command::new("useradd").args(["-m", USER]).status().unwrap();
        assert!(made.success());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The program as this user, in a directory that everybody may read.
fn command(program: &Path, who: Who) -> Command {
    let mut command = if who == Who::User && is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER]);
        command.args(["--clear-groups", "--inh-caps=-all", "--reset-env"]);
        // Under scripts/coverage.sh an example counts too.
        if let Ok(profile) = std::env::var("LLVM_PROFILE_FILE") {
            command.args(["env", &format!("LLVM_PROFILE_FILE={profile}")]);
        }
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `cargo test` builds the examples too, but not where it is asked for this program alone.
fn fresh(program: &Path) -> Result<(), Failed> {
    let rebuild = "run `cargo build -p kavach --examples` first";
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let built =
        time(program).ok_or_else(|| format!("{} is not there: {rebuild}", program.display()))?;
    // The compiler's own list of what it was made from: `program: source source …`.
    let list =
        fs::read_to_string(program.with_extension("d")).map_err(|e| format!("{e}: {rebuild}"))?;
    let sources = list
        .split_once(": ")
        .map_or("", |(_, sources)| sources.trim());
    for source in sources.split(' ') {
        if time(Path::new(source)).is_some_and(|changed| changed > built) {
            return Err(format!("{source} is newer than {}: {rebuild}", program.display()).into());
        }
    }
    Ok(())
}

/// The text block of the documentation at the top.
fn documented(source: &str) -> Option<String> {
    let docs: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let begin = docs.iter().position(|line| *line == "```text")? + 1;
    let end = begin + docs[begin..].iter().position(|line| *line == "```")?;
    Some(docs[begin..end].join("\n") + "\n")
}

/// `[..]` in a line stands for anything: what differs from host to host.
fn compare(expected: &str, printed: &str) -> Result<(), Failed> {
    let matches = |(expected, printed): (&str, &str)| {
        let mut parts = expected.split("[..]");
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = printed.strip_prefix(first) else {
            return false;
        };
        let mut open = false;
        for part in parts {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = &rest[at + part.len()..];
            open = part.is_empty();
        }
        open || rest.is_empty()
    };
    let same = expected.lines().count() == printed.lines().count();
    if same && expected.lines().zip(printed.lines()).all(matches) {
        return Ok(());
    }
    Err(format!("it says that it prints\n{expected}\nbut it prints\n{printed}").into())
}
