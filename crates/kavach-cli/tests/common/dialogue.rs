//! A conversation with a program on a real terminal: what it writes is waited for, never slept for.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(
    clippy::print_stdout,
    reason = "which setting a test is in; shown when it fails"
)]

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// How long something may take that should take no time.
const SOON: Duration = Duration::from_secs(30);
/// The ordinary user of root's runs.
const USER: &str = "kavach-test";

/// Who runs kavach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever runs the tests.
    Caller,
    /// An ordinary user, by root.
    User,
}

/// Who, and under which policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) who: Who,
    pub(crate) policy: &'static str,
}

/// Says its size at the start and at every change, and what is typed.
pub(crate) const SIZES: &str = r"
import os, select, signal
changed, change = os.pipe()
os.set_blocking(change, False)
signal.set_wakeup_fd(change)
signal.signal(signal.SIGWINCH, lambda *_: None)
def tell(): print('size', *reversed(os.get_terminal_size()), flush=True)
print('\033[?1049h\033[?25l', end='')
tell()
while True:
    for ready in select.select([0, changed], [], [])[0]:
        said = os.read(ready, 100)
        if ready == 0: print('got', said.decode().strip(), flush=True)
        else: tell()
";

/// The settings of a test, or none where nothing can be tested here.
pub(crate) fn each(test: &str) -> impl Iterator<Item = Setting> {
    super::sandboxes(test, "strict")
        .then(|| settings(test))
        .into_iter()
        .flatten()
}

/// Every setting that a test is to hold in: as root and as an ordinary user. Says which one, so
/// that a failure names it.
pub(crate) fn settings(test: &str) -> impl Iterator<Item = Setting> {
    let whos: &[Who] = if rustix::process::geteuid().is_root() {
        &[Who::Caller, Who::User]
    } else {
        super::skip(test, "the half of root needs root");
        &[Who::Caller]
    };
    let of = |who: &Who| {
        let who = *who;
        ["minimal", "basic", "strict"].map(|policy| Setting { who, policy })
    };
    let settings: Vec<_> = whos.iter().flat_map(of).collect();
    // When its turn comes.
    settings
        .into_iter()
        .inspect(|setting| println!("{setting:?}"))
}

impl Setting {
    /// `kavach VERB --policy …` with further arguments.
    pub(crate) fn kavach<S: AsRef<OsStr>>(
        self,
        verb: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Dialogue {
        let mut command = self.as_user();
        command.arg(binary()).args([verb, "--policy", self.policy]);
        command.args(args);
        Dialogue::start(&command)
    }

    /// A shell of the host on a terminal, as this user; `$KAVACH` is the command.
    pub(crate) fn host_shell(self) -> Dialogue {
        let mut command = self.as_user();
        command.args(["env", "PS1=host> "]);
        command.arg(format!("KAVACH={}", binary().display()));
        command.args(["bash", "--norc", "--noprofile", "--noediting", "-i"]);
        let mut dialogue = Dialogue::start(&command);
        dialogue.prompt = "host> ".into();
        dialogue.expect("host> ");
        dialogue
    }

    fn as_user(self) -> Command {
        let mut command = Command::new("env");
        if self.who == Who::User {
            command.args(["setpriv", "--reuid", USER, "--regid", USER]);
            command.args([
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
                "--",
            ]);
        }
        command
    }
}

/// The binary, by a name that an ordinary user can start it by too, also where it lies in a
/// directory of root's.
fn binary() -> PathBuf {
    static BUILT: OnceLock<File> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let runs = |command: &mut Command| {
            let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        };
        if rustix::process::geteuid().is_root() && !runs(Command::new("id").arg(USER)) {
            assert!(runs(Command::new("useradd").args(["-m", USER])));
        }
        let built = File::open(env!("CARGO_BIN_EXE_kavach")).unwrap();
        // Inherited on purpose.
        fcntl_setfd(&built, FdFlags::empty()).unwrap();
        built
    });
    PathBuf::from(format!("/proc/self/fd/{}", built.as_raw_fd()))
}

/// Both ends of a new terminal of 80 × 24.
pub(crate) fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OpenptFlags::NOCTTY.bits().cast_signed())
        .open(name.to_str().unwrap())
        .unwrap();
    let ours = File::from(ours);
    resize(&ours, 24, 80);
    (ours, theirs)
}

fn resize(terminal: &File, rows: u16, cols: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

/// A program on a terminal of its own, in a session of its own.
#[derive(Debug)]
pub(crate) struct Dialogue {
    child: Child,
    ours: File,
    /// Kept, so that the terminal outlives the program and can be looked at.
    theirs: File,
    before: String,
    /// Of a shell, when it waits for a line.
    pub(crate) prompt: String,
    /// What it wrote and nobody has waited for yet.
    unread: String,
}

impl Dialogue {
    /// Starts a program with all three streams on the terminal.
    pub(crate) fn start(command: &Command) -> Self {
        Self::with(command, |_| {})
    }

    /// The same, with streams that `change` sends elsewhere.
    pub(crate) fn with(command: &Command, change: impl FnOnce(&mut Command)) -> Self {
        let (ours, theirs) = terminal();
        let before = settings_of(&ours);
        // Makes the terminal the controlling one of a new session; execs, so the pid stays.
        let mut started = Command::new("setsid");
        started.arg("--ctty").arg(command.get_program());
        started.args(command.get_args());
        started.env_clear().env("PATH", "/usr/bin:/bin");
        started.env("TERM", "xterm-256color").env("HOME", "/");
        super::counted(&mut started);
        let end = || Stdio::from(theirs.try_clone().unwrap());
        started.stdin(end()).stdout(end()).stderr(end());
        change(&mut started);
        Self {
            child: started.spawn().unwrap(),
            ours,
            theirs,
            before,
            prompt: String::new(),
            unread: String::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&self) -> &Child {
        &self.child
    }

    /// Types.
    pub(crate) fn say(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a text; what came up to its end.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            let more = self.read(deadline);
            assert!(more, "no {text:?} in {:?}", self.unread);
        }
    }

    /// Runs a line in a shell and waits for its end and the next prompt. What it wrote.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> String {
        // Not in the line as it is echoed.
        self.say(&format!("{line}; echo the'-'end\n"));
        let said = self.expect("the-end\r\n");
        let prompt = self.prompt.clone();
        self.expect(&prompt);
        said
    }

    /// Reads some more; false where nothing comes any more.
    fn read(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        let mut fds = [PollFd::new(&self.ours, PollFlags::IN)];
        if poll(&mut fds, Some(&left)).unwrap() == 0 {
            return false;
        }
        let mut chunk = [0; 4096];
        match self.ours.read(&mut chunk) {
            Ok(n @ 1..) => {
                self.unread.push_str(&String::from_utf8_lossy(&chunk[..n]));
                true
            }
            _ => false,
        }
    }

    /// Closes the terminal, as the window of an emulator is closed.
    pub(crate) fn hang_up(&mut self) {
        // The other end goes with it.
        let (ours, theirs) = terminal();
        self.ours = ours;
        self.theirs = theirs;
    }

    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        resize(&self.ours, rows, cols);
    }

    /// The kernel's settings of the terminal.
    pub(crate) fn settings(&self) -> String {
        settings_of(&self.ours)
    }

    /// Whether they are what they were before the program began.
    pub(crate) fn is_intact(&self) -> bool {
        self.settings() == self.before
    }

    /// Waits for the end of the program without reading.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end: {:?}",
                self.unread
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end; its code, and what it wrote that was not waited for. The terminal must
    /// be as it was.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + SOON;
        // It may be waiting for a reader.
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end: {:?}",
                self.unread
            );
            self.read(Instant::now() + Duration::from_millis(2));
        };
        while self.read(Instant::now()) {}
        assert!(self.is_intact(), "{}\n{}", self.before, self.settings());
        (status.code(), std::mem::take(&mut self.unread))
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings_of(terminal: &File) -> String {
    let settings: Termios = tcgetattr(terminal).unwrap();
    format!("{settings:?}")
}
