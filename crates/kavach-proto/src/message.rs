//! Payloads other than the setup.

use core::ffi::CStr;

use crate::wire::{Malformed, Reader, Sink};

/// A step that failed: [`crate::Kind::SetupFailed`] and [`crate::Kind::LaunchFailed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Number of the [`crate::Step`].
    pub step: u16,
    /// The kernel's error number.
    pub errno: u32,
    /// Which entry of the list the step works on; 0 where it has none.
    pub index: u32,
}

impl Failure {
    /// Appends the payload.
    pub fn write(&self, to: &mut impl Sink) {
        to.u16(self.step);
        to.u32(self.errno);
        to.u32(self.index);
    }

    /// Reads the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let it = Self {
            step: r.u16()?,
            errno: r.u32()?,
            index: r.u32()?,
        };
        r.end()?;
        Ok(it)
    }
}

/// How a command's first process ended: [`crate::Kind::Exited`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The status as wait(2) gives it.
    pub status: u32,
    /// CPU time in user mode of the process and the children it waited for, in microseconds.
    pub user_us: u64,
    /// The same in the kernel.
    pub system_us: u64,
    /// Largest resident set of one of them, in KiB.
    pub max_rss_kb: u64,
}

impl Ended {
    /// Appends the payload.
    pub fn write(&self, to: &mut impl Sink) {
        to.u32(self.status);
        to.u64(self.user_us);
        to.u64(self.system_us);
        to.u64(self.max_rss_kb);
    }

    /// Reads the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let it = Self {
            status: r.u32()?,
            user_us: r.u64()?,
            system_us: r.u64()?,
            max_rss_kb: r.u64()?,
        };
        r.end()?;
        Ok(it)
    }

    /// The exit code, if the process exited.
    pub const fn exit_code(&self) -> Option<u8> {
        if self.status & 0x7f == 0 {
            Some((self.status >> 8) as u8)
        } else {
            None
        }
    }

    /// The signal that ended the process, if one did.
    pub const fn signal(&self) -> Option<u8> {
        let signal = (self.status & 0x7f) as u8;
        if signal == 0 { None } else { Some(signal) }
    }
}

/// A signal for a command or for all: [`crate::Kind::Signal`], [`crate::Kind::SignalAll`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalRequest {
    /// The signal's number.
    pub signal: u32,
    /// Whether the whole process group of the command is meant, not only its first process.
    pub group: bool,
}

impl SignalRequest {
    /// Appends the payload.
    pub fn write(&self, to: &mut impl Sink) {
        to.u32(self.signal);
        to.u8(u8::from(self.group));
    }

    /// Reads the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let it = Self {
            signal: r.u32()?,
            group: r.u8()? != 0,
        };
        r.end()?;
        Ok(it)
    }
}

/// A command to start: [`crate::Kind::Exec`]. The descriptors that travel with the frame are
/// first those for `targets`, in order, then one cgroup.procs file per hierarchy to enter.
#[derive(Debug, Clone, Copy)]
pub struct ExecRequest<'a> {
    /// Working directory.
    pub cwd: &'a CStr,
    /// Descriptor 0 is a terminal: it becomes the controlling terminal of the command's session.
    pub terminal: bool,
    /// Number of arguments, the program's name included.
    pub argc: usize,
    /// The arguments, to be read with [`Reader::cstr`].
    pub args: Reader<'a>,
    /// Number of environment strings.
    pub envc: usize,
    /// The environment, `NAME=value`, to be read with [`Reader::cstr`].
    pub env: Reader<'a>,
    /// Descriptor numbers in the command for the first descriptors of the frame.
    pub targets: [u32; crate::MAX_FDS],
    /// How many of `targets` are used.
    pub target_count: usize,
}

/// Most strings of one command: the kernel's own bound on bytes is reached far earlier.
const MAX_STRINGS: usize = 1 << 20;
/// Highest descriptor number that a command can be given.
pub(crate) const MAX_TARGET: u32 = 60;

impl<'a> ExecRequest<'a> {
    /// Reads and checks the whole payload, strings included.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let cwd = r.cstr()?;
        let terminal = match r.u8()? {
            0 => false,
            1 => true,
            _ => {
                return Err(Malformed {
                    offset: 0,
                    expected: "0 or 1",
                });
            }
        };
        let target_count = r.count(crate::MAX_FDS)?;
        let mut targets = [0; crate::MAX_FDS];
        for target in targets.iter_mut().take(target_count) {
            *target = r.u32()?;
            if *target > MAX_TARGET {
                return Err(Malformed {
                    offset: 0,
                    expected: "a smaller descriptor number",
                });
            }
        }
        let argc = r.count(MAX_STRINGS)?;
        if argc == 0 {
            return Err(Malformed {
                offset: 0,
                expected: "a program name",
            });
        }
        let args = r;
        for _ in 0..argc {
            r.cstr()?;
        }
        let envc = r.count(MAX_STRINGS)?;
        let env = r;
        for _ in 0..envc {
            r.cstr()?;
        }
        r.end()?;
        Ok(Self {
            cwd,
            terminal,
            argc,
            args,
            envc,
            env,
            targets,
            target_count,
        })
    }

    /// Appends the payload for these strings. None may hold a NUL.
    pub fn write<'s>(
        to: &mut impl Sink,
        cwd: &[u8],
        terminal: bool,
        targets: &[u32],
        args: impl ExactSizeIterator<Item = &'s [u8]>,
        env: impl ExactSizeIterator<Item = &'s [u8]>,
    ) {
        to.cstr(cwd);
        to.u8(u8::from(terminal));
        to.u32(targets.len() as u32);
        for target in targets {
            to.u32(*target);
        }
        to.u32(args.len() as u32);
        for arg in args {
            to.cstr(arg);
        }
        to.u32(env.len() as u32);
        for var in env {
            to.cstr(var);
        }
    }
}

/// What a reaper cleans once its connection closes: [`crate::Kind::Reap`].
#[derive(Debug, Clone, Copy)]
pub struct ReaperOrder<'a> {
    /// Names of the groups of this host process begin so.
    pub prefix: &'a [u8],
    /// How many directories follow.
    pub count: usize,
    /// The directories, to be read with [`ReaperBase::read`].
    pub bases: Reader<'a>,
}

impl<'a> ReaperOrder<'a> {
    /// Reads the payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let prefix = r.bytes()?;
        if prefix.len() < 4 {
            return Err(Malformed {
                offset: 0,
                expected: "a prefix of four bytes or more",
            });
        }
        let count = r.count(64)?;
        let bases = r;
        for _ in 0..count {
            ReaperBase::read(&mut r)?;
        }
        r.end()?;
        Ok(Self {
            prefix,
            count,
            bases,
        })
    }

    /// Appends the payload.
    pub fn write<'s>(
        to: &mut impl Sink,
        prefix: &[u8],
        bases: impl ExactSizeIterator<Item = (u8, &'s [u8])>,
    ) {
        to.bytes(prefix);
        to.u32(bases.len() as u32);
        for (freezer, path) in bases {
            to.u8(freezer);
            to.cstr(path);
        }
    }
}

/// One cgroup directory under which the reaper looks for groups of the dead host.
#[derive(Debug, Clone, Copy)]
pub struct ReaperBase<'a> {
    /// 0: no freezer here; 1: cgroup v1 `freezer.state`; 2: cgroup v2 `cgroup.freeze`.
    pub freezer: u8,
    /// The directory.
    pub path: &'a CStr,
}

impl<'a> ReaperBase<'a> {
    /// Reads one entry.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            freezer: r.u8()?,
            path: r.cstr()?,
        })
    }
}
