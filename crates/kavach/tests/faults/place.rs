//! Where a fault is tried: a process of its own, as root or as an ordinary user, that sees nothing
//! of what else runs on the machine, so that all that is left in it can be counted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Trial;

use crate::common::{is_root, test_with};

const USER: &str = "kavach-test";
/// Tells a child where it may leave files.
const PLACE: &str = "KAVACH_FAULTS_PLACE";
/// Tells a child that it sees its own processes, mounts and locks alone.
const PRIVATE: &str = "KAVACH_FAULTS_PRIVATE";

/// Who has the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
}

impl Who {
    pub(crate) const BOTH: [Who; 2] = [Who::Root, Who::User];

    const fn name(self) -> &'static str {
        match self {
            Who::Root => "root",
            Who::User => "user",
        }
    }
}

/// The name of whoever this process runs as.
pub(crate) fn who() -> &'static str {
    if is_root() { "root" } else { "user" }
}

/// What goes around the program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Around {
    /// Nothing.
    Nothing,
    /// The injector, which makes calls fail.
    Injector,
    /// A library that is loaded before any other, in this mode.
    Shim(&'static str),
    /// Namespaces with these words for unshare(1).
    Namespace(&'static [&'static str]),
}

/// A trial of `--child name` for each of `whos`. `missing` names what else it needs.
pub(crate) fn trials(
    name: &'static str,
    whos: &[Who],
    around: Around,
    missing: fn(Who) -> Option<String>,
) -> Vec<Trial> {
    let trial = |who: Who| {
        let missing = (who == Who::Root && !is_root())
            .then(|| "root".to_owned())
            .or_else(|| missing(who));
        let full = format!("{}::{name}", who.name());
        test_with(&full, missing.as_deref(), move || run(name, who, around))
    };
    whos.iter().copied().map(trial).collect()
}

/// Nothing is missing.
pub(crate) fn nothing(_: Who) -> Option<String> {
    None
}

/// The C compiler, for the programs beside the tests.
pub(crate) fn compiler(_: Who) -> Option<String> {
    let there = Command::new("cc").arg("--version").output().is_ok();
    let required = std::env::var_os("KAVACH_REQUIRE_ALL").is_some();
    (!there && !required).then(|| "cc is missing: `make setup` installs it".to_owned())
}

/// A directory with copies that any user can read; removed again.
struct Copies(PathBuf);

impl Copies {
    fn new(who: Who) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!(
            "/var/tmp/kavach-faults-{}-{number}",
            std::process::id()
        ));
        let copies = Self(dir.clone());
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let program = dir.join("faults");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let place = dir.join("place");
        fs::create_dir(&place).unwrap();
        if who == Who::User && is_root() {
            chown(&place, Some(id("-u")), Some(id("-g"))).unwrap();
        }
        copies
    }

    /// A program or a library of the sources beside this file.
    fn compile(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (from, to) = (self.0.join(format!("{name}.c")), self.0.join(name));
        fs::write(&from, source).unwrap();
        let status = Command::new("cc")
            .args(["-O1", "-pthread"])
            .args(flags)
            .arg("-o")
            .args([&to, &from])
            .status()
            .unwrap();
        assert!(status.success(), "cc {name}: {status}");
        to
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A number of the ordinary user, who is made if missing.
fn id(flag: &str) -> u32 {
    static MADE: Once = Once::new();
    let ask = || Command::new("id").args([flag, USER]).output().unwrap();
    MADE.call_once(|| {
        if !ask().status.success() {
            let made = Command::new("useradd")
                .args(["--create-home", USER])
                .status();
            assert!(made.unwrap().success());
        }
    });
    let text = String::from_utf8(ask().stdout).unwrap();
    text.trim().parse().unwrap()
}

/// Its first process waits for the orphans too; the locks of id ranges are its own.
const INIT: &str = "mkdir -p /run/kavach && mount -t tmpfs -o mode=0755 tmpfs /run/kavach && \"$@\"
                    code=$?; exit $code";

fn run(name: &str, who: Who, around: Around) {
    let copies = Copies::new(who);
    let mut words: Vec<String> = Vec::new();
    let mut word = |list: &[&str]| words.extend(list.iter().map(|word| (*word).to_owned()));
    if is_root() {
        word(&["unshare", "--pid", "--fork", "--kill-child", "--mount"]);
        word(&["--mount-proc", "--ipc"]);
        if let Around::Namespace(more) = around {
            word(more);
        }
        word(&["sh", "-c", INIT, "sh"]);
        if who == Who::User {
            let (uid, gid) = (id("-u").to_string(), id("-g").to_string());
            word(&["setpriv", "--reuid", &uid, "--regid", &gid]);
            word(&["--clear-groups", "--inh-caps=-all"]);
        }
    }
    let shim = match around {
        Around::Injector => {
            let program = copies.compile("inject", include_str!("inject.c"), &[]);
            let log = copies.0.join("place/injected");
            word(&[path(&program), path(&log)]);
            None
        }
        Around::Shim(mode) => {
            let flags = ["-shared", "-fPIC"];
            let library = copies.compile("shim.so", include_str!("shim.c"), &flags);
            // By the program itself: the helpers before it are not the subject.
            word(&["env", &format!("LD_PRELOAD={}", path(&library))]);
            Some(mode)
        }
        Around::Nothing | Around::Namespace(_) => None,
    };
    word(&[path(&copies.0.join("faults")), "--child", name]);
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env(PLACE, copies.0.join("place"))
        .env("RUST_BACKTRACE", "0")
        .current_dir("/");
    if is_root() {
        command.env(PRIVATE, "1");
    }
    if let Some(mode) = shim {
        command.env("KAVACH_SHIM", mode);
    }
    let status = command.status().unwrap();
    assert!(status.success(), "{name}: {status}");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// In a child: where it may leave files.
pub(crate) fn place() -> PathBuf {
    std::env::var_os(PLACE).unwrap().into()
}

/// In a child: whether it sees its own processes, mounts and locks alone.
pub(crate) fn is_private() -> bool {
    std::env::var_os(PRIVATE).is_some()
}
