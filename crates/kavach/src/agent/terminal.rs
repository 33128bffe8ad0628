//! Terminals of a sandbox, made by the host in the sandbox's own devpts.
//!
//! The agent passes on the way to them, an `O_PATH` descriptor of its `/dev/ptmx`, and nothing
//! else: the host opens it. So the controlling end is an open file of the host's alone. Were it
//! made by the agent, it would be shared with the agent (one that is taken over could steal what
//! is typed, or make the host's reads block) and with every command that is forked meanwhile.
//! The name, `ttyname(3)` and `tty(1)` are right inside, because the way leads through the
//! sandbox's own mounts.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use kavach_proto::{Failure, Step};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat, major, minor, open};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{InputModes, OptionalActions, tcgetattr, tcsetattr, tcsetwinsize};

use super::link::Commands;
use crate::backend::Terminal;
use crate::command::PtySize;
use crate::error::{KavachError, Result};

/// Major and minor number of `/dev/ptmx` (Documentation/admin-guide/devices.txt).
const PTMX: (u32, u32) = (5, 2);

/// A new terminal inside. `owner` is who shall own the command's end, in ids of the host, where
/// that is not this process itself.
pub(crate) async fn open_terminal(
    commands: &Commands,
    size: PtySize,
    owner: Option<(u32, u32)>,
) -> Result<Terminal> {
    let ptmx = match commands.ptmx().await? {
        Ok(ptmx) => ptmx,
        Err(failure) => return Err(explain(&failure)),
    };
    make(&ptmx, size, owner).map_err(failed)
}

fn make(ptmx: &OwnedFd, size: PtySize, owner: Option<(u32, u32)>) -> io::Result<Terminal> {
    // The guest may have put something else there (an ordinary user's guest owns its /dev).
    // Opening a pipe or a device of another kind could block, or act.
    let stat = fstat(ptmx)?;
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != PTMX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "/dev/ptmx inside is not the device of that name",
        ));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let path = format!("/proc/self/fd/{}", ptmx.as_raw_fd());
    let master = open(path, flags, Mode::empty())?;
    unlockpt(&master)?;
    // By descriptor: no name that the guest could change is looked up.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    if let Some((uid, gid)) = owner {
        fchown(&slave, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    // The kernel's settings of a new terminal, and that erasing a character of several bytes
    // erases all of them: LANG inside is one of UTF-8.
    let mut settings = tcgetattr(&slave)?;
    settings.input_modes |= InputModes::IUTF8;
    tcsetattr(&slave, OptionalActions::Now, &settings)?;
    tcsetwinsize(master.as_fd(), size.into())?;
    Ok(Terminal::new(master, slave))
}

fn explain(failure: &Failure) -> KavachError {
    let source = io::Error::from_raw_os_error(failure.errno.cast_signed());
    match Step::from_number(failure.step) {
        Some(Step::Terminal) => failed(source),
        step => KavachError::Setup {
            step: step.map_or("ask for a terminal", Step::text).into(),
            on: "/dev/ptmx".into(),
            source,
            fix: None,
        },
    }
}

fn failed(source: io::Error) -> KavachError {
    let none_left = matches!(
        source
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error),
        Some(rustix::io::Errno::NOSPC)
    );
    KavachError::Setup {
        step: Step::Terminal.text().into(),
        on: "/dev/ptmx inside".into(),
        source,
        fix: none_left.then(|| {
            "all terminals are in use: of this sandbox (64), or of the host (kernel.pty.max)".into()
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::fs::{CWD, mkfifoat};
    use rustix::termios::{LocalModes, tcgetwinsize};

    use super::*;

    fn path(path: &str) -> OwnedFd {
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// What an agent that is taken over could pass on instead.
    #[test]
    fn only_the_device_of_that_name_is_opened() {
        let refused = |fd: &OwnedFd| {
            let error = make(fd, PtySize::default(), None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        };
        let pipe = std::env::temp_dir().join(format!("kavach-ptmx-{}", std::process::id()));
        mkfifoat(CWD, &pipe, Mode::RUSR).unwrap();
        let fifo = path(pipe.to_str().unwrap());
        std::fs::remove_file(&pipe).unwrap();
        refused(&fifo);
        for other in ["/dev/null", "/dev/tty", "/dev", "/proc/self/status"] {
            refused(&path(other));
        }
        refused(&UnixStream::pair().unwrap().0.into());
    }

    #[test]
    fn a_terminal_has_its_size_and_is_closed_on_exec() {
        let made = make(&path("/dev/ptmx"), PtySize::new(7, 9), None).unwrap();
        let size = tcgetwinsize(&made.slave).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (7, 9));
        for end in [&made.master, &made.slave] {
            let flags = rustix::io::fcntl_getfd(end).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        let settings = tcgetattr(&made.slave).unwrap();
        assert!(settings.input_modes.contains(InputModes::IUTF8));
        assert!(
            settings
                .local_modes
                .contains(LocalModes::ISIG | LocalModes::ECHO)
        );
        // Nothing is there yet, and asking does not wait.
        let read = rustix::io::read(&made.master, &mut [0; 8]);
        assert_eq!(read, Err(rustix::io::Errno::AGAIN));
    }
}
