//! A real overlay mount, in namespaces of a process of its own, in which a "guest" works.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use kavach::workspace::{Applied, ApplyOptions, Baseline, Changes, Layers, Limits};
use serde::{Deserialize, Serialize};

use crate::common::is_root;
use crate::tree::{Op, Tree, perform, tree};

/// What the process in the namespaces is asked to do, in the mounted workspace.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Run this script; it must succeed.
    Shell(String),
    /// Do these, as far as they can be done.
    Perform(Vec<Op>),
    /// Tell what is there.
    Tree,
    /// Make directories within each other, with names of this length.
    Deep(usize, usize),
    /// Make a unix socket.
    Socket(String),
}

/// How the overlay is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In a user namespace, marks in `user.overlay.`.
    User,
    /// By root in the host's user namespace, marks in `trusted.overlay.`.
    Trusted,
}

impl Kind {
    /// Those that this user can mount.
    pub(crate) fn all() -> &'static [Kind] {
        if is_root() {
            &[Kind::User, Kind::Trusted]
        } else {
            &[Kind::User]
        }
    }
}

/// A directory of one test's own; gone with the value.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kavach-workspace-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Directories may have been left without the right to write.
        let _ = Command::new("chmod")
            .args(["-R", "u+rwX"])
            .arg(&self.0)
            .output();
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A workspace with a guest in it.
pub(crate) struct Overlay {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub(crate) layers: Layers,
    pub(crate) baseline: Baseline,
    /// The host's directory.
    pub(crate) lower: PathBuf,
    dir: Dir,
}

impl Overlay {
    /// Mounts over what `prepare` makes in the host's directory.
    pub(crate) fn new(kind: Kind, prepare: impl FnOnce(&Path)) -> Self {
        let dir = Dir::new();
        let lower = dir.0.join("lower");
        fs::create_dir(&lower).unwrap();
        fs::create_dir(dir.0.join("mount")).unwrap();
        prepare(&lower);
        Self::mount(kind, dir)
    }

    fn mount(kind: Kind, dir: Dir) -> Self {
        let flags: &[&str] = match kind {
            Kind::User => &["--user", "--map-root-user", "--mount"],
            Kind::Trusted => &["--mount"],
        };
        // What was made above lies before it, on whatever clock files have.
        let baseline = Baseline::now();
        let mut process = Command::new("unshare")
            .args(flags)
            .arg(std::env::current_exe().unwrap())
            .args(["--child", "overlay"])
            .arg(&dir.0)
            .arg(if kind == Kind::User { "userxattr," } else { "" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "{kind:?}");
        let lower = dir.0.join("lower");
        let mounted = PathBuf::from(format!("/proc/{}/root", process.id()));
        let upper = mounted.join(dir.0.join("mount/upper").strip_prefix("/").unwrap());
        let layers = Layers {
            lower: File::open(&lower).unwrap().into(),
            upper: File::open(upper).unwrap().into(),
            target: "/workspace".into(),
            userxattr: kind == Kind::User,
        };
        Self {
            process,
            stdin,
            stdout,
            layers,
            baseline,
            lower,
            dir,
        }
    }

    /// A new guest over the same directory: what was not applied is lost.
    pub(crate) fn again(mut self, kind: Kind) -> Self {
        self.end();
        let dir = std::mem::replace(&mut self.dir, Dir(PathBuf::from("/nonexistent")));
        drop(self);
        Self::mount(kind, dir)
    }

    /// Ends the guest's process; the layers stay open.
    pub(crate) fn end(&mut self) {
        drop(self.stdin.take());
        let _ = self.process.wait();
    }

    fn ask(&mut self, request: &Request) -> String {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{}", serde_json::to_string(request).unwrap()).unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the guest ended at {request:?}");
        line
    }

    /// Runs a script in the workspace.
    #[track_caller]
    pub(crate) fn sh(&mut self, script: &str) {
        let answer = self.ask(&Request::Shell(script.into()));
        assert_eq!(answer, "0\n", "{script}");
    }

    pub(crate) fn perform(&mut self, ops: Vec<Op>) {
        self.ask(&Request::Perform(ops));
    }

    /// What the guest sees.
    pub(crate) fn tree(&mut self) -> Tree {
        serde_json::from_str(&self.ask(&Request::Tree)).unwrap()
    }

    pub(crate) fn deep(&mut self, levels: usize, name: usize) {
        self.ask(&Request::Deep(levels, name));
    }

    pub(crate) fn socket(&mut self, name: &str) {
        self.ask(&Request::Socket(name.into()));
    }

    pub(crate) fn changes(&self) -> Changes {
        kavach::workspace::changes(&self.layers, &self.baseline, Limits::default()).unwrap()
    }

    pub(crate) fn apply(&mut self, options: ApplyOptions) -> Applied {
        kavach::workspace::apply(&self.layers, &mut self.baseline, options).unwrap()
    }

    /// What the host has.
    pub(crate) fn host(&self) -> Tree {
        tree(&self.lower)
    }

    /// Each change, as `kind path`.
    pub(crate) fn listed(&self) -> Vec<String> {
        let changes = self.changes();
        changes
            .iter()
            .map(|c| format!("{} {}", c.kind, c.path))
            .collect()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.end();
    }
}

/// What keeps this user from mounting an overlay, if anything.
pub(crate) fn no_overlay() -> Option<&'static str> {
    static ANSWER: OnceLock<Option<String>> = OnceLock::new();
    let probe = || {
        let dir = Dir::new();
        for name in ["lower", "mount"] {
            fs::create_dir(dir.0.join(name)).unwrap();
        }
        let tried = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args(["--child", "overlay"])
            .arg(&dir.0)
            .arg("userxattr,")
            .stdin(Stdio::null())
            .output();
        let tried = match tried {
            Ok(tried) if tried.stdout.starts_with(b"mounted") => return None,
            Ok(tried) => String::from_utf8_lossy(&tried.stderr).into_owned(),
            Err(e) => e.to_string(),
        };
        Some(format!(
            "no overlay can be mounted in a user namespace here: {tried}"
        ))
    };
    ANSWER.get_or_init(probe).as_deref()
}

/// The process in the namespaces.
pub(crate) fn child(args: &[String]) {
    let [dir, options] = args else {
        panic!("{args:?}");
    };
    let mount = Path::new(dir).join("mount");
    let run = |arguments: &[OsString]| {
        let status = Command::new("mount").args(arguments).status().unwrap();
        assert!(status.success(), "mount {arguments:?}: {status}");
    };
    let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
    run(&words(&["-t", "tmpfs", "tmpfs", mount.to_str().unwrap()]));
    for name in ["upper", "work", "merged"] {
        fs::create_dir(mount.join(name)).unwrap();
    }
    let at = mount.to_str().unwrap();
    let options = format!(
        "{options}redirect_dir=nofollow,metacopy=off,index=off,lowerdir={dir}/lower,\
         upperdir={at}/upper,workdir={at}/work"
    );
    let merged = mount.join("merged");
    run(&words(&[
        "-t",
        "overlay",
        "-o",
        &options,
        "overlay",
        merged.to_str().unwrap(),
    ]));
    std::env::set_current_dir(&merged).unwrap();
    println!("mounted");
    for line in std::io::stdin().lines() {
        match serde_json::from_str(&line.unwrap()).unwrap() {
            Request::Shell(script) => {
                // The umask of whoever runs the tests is none of the guest's.
                let script = format!("umask 022; {script}");
                let status = Command::new("sh")
                    .args(["-ec", &script])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .status();
                println!("{}", status.unwrap().code().unwrap_or(-1));
            }
            Request::Perform(ops) => {
                perform(Path::new("."), &ops);
                println!("done");
            }
            Request::Tree => {
                let tree = tree(Path::new("."));
                println!("{}", serde_json::to_string(&tree).unwrap());
            }
            Request::Deep(levels, name) => {
                deep(levels, name);
                println!("done");
            }
            Request::Socket(name) => {
                std::os::unix::net::UnixListener::bind(name).unwrap();
                println!("done");
            }
        }
    }
}

/// Directories within each other, deeper than a path can say.
fn deep(levels: usize, name: usize) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let name = "d".repeat(name);
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let mut at = openat(CWD, ".", flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&at, &*name, Mode::RWXU).unwrap();
        at = openat(&at, &*name, flags, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(&at, "bottom", flags, Mode::RUSR | Mode::WUSR).unwrap();
}

/// The bytes of a path as the library names it.
pub(crate) fn shown(path: &Path) -> String {
    kavach::workspace::escaped(path.as_os_str().as_bytes())
}
