//! A program whose start hangs for as long as a test likes.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Dir, line, missing_program};

/// Takes the write lease of a file (`fcntl(2)`, F_SETLEASE): whoever opens it, `execve(2)`
/// included, waits for this process, which is told by a signal and says so.
const HOLDER: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, lambda *_: None)
file = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
signal.pause()
print('opened', flush=True)
sys.stdin.read()
";

/// The program, and the process that holds its start up.
pub(crate) struct Hanging {
    pub(crate) directory: String,
    pub(crate) program: String,
    holder: Child,
    _dir: Dir,
}

impl Hanging {
    /// What is missing for it here.
    pub(crate) fn missing() -> Option<String> {
        missing_program("python3")
    }

    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = Dir::new(&format!("{name}-{next}"));
        let program = dir.file("program", b"#!/bin/sh\necho ran\n");
        for path in [dir.0.as_path(), program.as_ref()] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let mut holder = Command::new("python3")
            .args(["-c", HOLDER, &program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(line(&mut holder), "held");
        Self {
            directory: dir.0.to_str().unwrap().to_owned(),
            program,
            holder,
            _dir: dir,
        }
    }

    /// Waits until somebody waits for the program.
    pub(crate) fn hangs(&mut self) {
        assert_eq!(line(&mut self.holder), "opened");
    }

    /// Lets the start go on. It was held up all the time.
    pub(crate) fn release(&mut self) {
        assert!(self.holder.try_wait().unwrap().is_none());
        drop(self.holder.stdin.take());
        assert!(self.holder.wait().unwrap().success());
    }
}
