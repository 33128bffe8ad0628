//! Starting a command: the list of steps between fork and exec.
//!
//! One list, in one place, in this order; the reasons are beside the steps. The rehearsal takes
//! the same restrictions through [`Guest::restrict`].

use core::ffi::CStr;

use kavach_proto::{ExecRequest, Failure, Fixed, Reader, SetupReader, Step};

use super::channel::{At, Failed, Frame};
use super::sys::{self, AT_FDCWD, EACCES, EINVAL, ENOENT, ENOTDIR, EPROTO, Errno, Fd, Region, Res};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
const NAME_MAX_PATH: usize = 4096;

/// What every command of this sandbox is held to.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    setup: &'a SetupReader<'a>,
    ruleset: Option<Fd>,
    own_pid_namespace: bool,
}

impl<'a> Guest<'a> {
    /// Makes the Landlock ruleset, once, from inside the finished view.
    pub(crate) fn prepare(setup: &'a SetupReader<'a>) -> Result<Self, Failed> {
        let handled = (setup.landlock_fs, setup.landlock_net, setup.landlock_scoped);
        let ruleset = match handled {
            (0, 0, 0) => None,
            (fs, net, scoped) => {
                let ruleset = sys::landlock_ruleset(fs, net, scoped).at(Step::LandlockRuleset)?;
                for (index, rule) in setup.rules().enumerate() {
                    allow(&ruleset, rule.access, rule.path).at_index(Step::LandlockRule, index)?;
                }
                Some(ruleset)
            }
        };
        let own_pid_namespace = setup.has(kavach_proto::flag::NEW_PID);
        Ok(Self {
            setup,
            ruleset,
            own_pid_namespace,
        })
    }

    /// Enters the Landlock domain, for good: this process and all commands to come. One domain
    /// for the whole sandbox and not one per command, because domains are strangers to each
    /// other: with `hidepid` a command would not see the processes of another (docs/adr/0006).
    pub(crate) fn enter_domain(&mut self) -> Result<(), Failed> {
        match self.ruleset.take() {
            Some(ruleset) => sys::landlock_enter(ruleset.0).at(Step::LandlockEnter),
            None => Ok(()),
        }
    }

    /// Enters the filter of the guests, which every command then inherits: it is compiled by the
    /// kernel once, not for each of them, and the agent itself can do no more than they.
    pub(crate) fn enter_filter(&self) -> Result<(), Failed> {
        if self.setup.filter.is_empty() {
            return Ok(());
        }
        sys::seccomp_filter(self.setup.filter).at(Step::SyscallFilter)
    }

    /// Whether -1 means "every process of this sandbox" and nothing else.
    pub(crate) const fn own_pid_namespace(&self) -> bool {
        self.own_pid_namespace
    }

    /// The restrictions of a guest that the agent does not share, the last things before its
    /// program.
    pub(crate) fn restrict(&self) -> Result<(), Failed> {
        for (index, limit) in self.setup.rlimits().iter().enumerate() {
            sys::set_rlimit(limit.resource, limit.soft, limit.hard)
                .at_index(Step::Rlimits, index)?;
        }
        Ok(())
    }

    /// Starts the command of a frame: its pid, and where [`outcome`] can be read once that is
    /// ready. It is not waited for here: a guest of the same uid can stop the new process before
    /// its program runs (`kill(-1, SIGSTOP)`), and with it whoever waits.
    pub(crate) fn launch(&self, frame: &Frame) -> Result<(u32, Fd), Failed> {
        let request = ExecRequest::read(frame.payload())
            .map_err(|_| EPROTO)
            .at(Step::Protocol)?;
        // All memory is had before the fork.
        let words = request.argc + request.envc + 2;
        let mut lists = Region::new(words * size_of::<usize>()).at(Step::Memory)?;
        let (argv, rest) = lists
            .as_pointers()
            .split_at_mut_checked(request.argc + 1)
            .ok_or(EINVAL)
            .at(Step::Memory)?;
        let envp = rest
            .get_mut(..=request.envc)
            .ok_or(EINVAL)
            .at(Step::Memory)?;
        fill(argv, request.args);
        fill(envp, request.env);

        let (told, tell) = sys::pipe().at(Step::Fork)?;
        let pid = sys::fork(0).at(Step::Fork)?;
        if pid == 0 {
            let (tell, failed) = self.become_command(frame, &request, argv, envp, tell);
            self::tell(&tell, Some(failed));
            sys::exit(127);
        }
        Ok((pid, told))
    }

    /// In the child: returns only when a step failed.
    fn become_command(
        &self,
        frame: &Frame,
        request: &ExecRequest<'_>,
        argv: &[usize],
        envp: &[usize],
        mut tell: Fd,
    ) -> (Fd, Failed) {
        let failed = match self.steps(frame, request, argv, envp, &mut tell) {
            Ok(never) => match never {},
            Err(failed) => failed,
        };
        (tell, failed)
    }

    fn steps(
        &self,
        frame: &Frame,
        request: &ExecRequest<'_>,
        argv: &[usize],
        envp: &[usize],
        tell: &mut Fd,
    ) -> Result<core::convert::Infallible, Failed> {
        // Own session and process group: no controlling terminal, and signals to the group
        // reach this command only.
        session()?;
        // Into the limits before anything is used up.
        let (stdio, cgroups) = frame
            .fds
            .as_slice()
            .split_at_checked(request.target_count)
            .ok_or(EPROTO)
            .at(Step::Descriptors)?;
        for (index, procs) in cgroups.iter().enumerate() {
            sys::write(*procs, b"0").at_index(Step::JoinCgroup, index)?;
        }
        place(stdio, request, tell).at(Step::Descriptors)?;
        if request.terminal {
            sys::take_terminal(0).at(Step::Terminal)?;
        }
        sys::umask(0o022);
        sys::chdir(request.cwd).at(Step::WorkingDirectory)?;
        self.restrict()?;
        Err(execute(argv, envp, request)).at(Step::Execute)
    }
}

/// A session of its own, no signal blocked.
pub(crate) fn session() -> Result<(), Failed> {
    sys::setsid().at(Step::LaunchSession)?;
    sys::block_signals(0).at(Step::Signals)
}

/// Gives the command its descriptors under their numbers, closes the rest on exec.
fn place(from: &[i32], request: &ExecRequest<'_>, tell: &mut Fd) -> Res<()> {
    let targets = request.targets.get(..request.target_count).ok_or(EPROTO)?;
    let first_free = targets
        .iter()
        .max()
        .map_or(3, |highest| (highest + 1).max(3));
    // Out of the way of the targets first, so that none is overwritten before it is used.
    *tell = Fd(sys::dup_above(tell.0, first_free)?);
    let mut sources = [0i32; kavach_proto::MAX_FDS];
    for (slot, fd) in sources.iter_mut().zip(from) {
        *slot = if (*fd as u32) < first_free {
            sys::dup_above(*fd, first_free)?
        } else {
            *fd
        };
    }
    // Between the standard ones and the highest target nothing of the agent may stay open.
    sys::set_cloexec_above(3)?;
    for (source, target) in sources.iter().zip(targets) {
        sys::dup_to(*source, *target)?;
    }
    Ok(())
}

fn fill(list: &mut [usize], mut strings: Reader<'_>) {
    // One word is left over for the closing null; the region is zeroed.
    let last = list.len().saturating_sub(1);
    for slot in list.iter_mut().take(last) {
        *slot = strings.cstr().map_or(0, |s| s.as_ptr() as usize);
    }
}

/// As execvp(3), without its fall-back to a shell. Returns only with an error.
fn execute(argv: &[usize], envp: &[usize], request: &ExecRequest<'_>) -> Errno {
    let mut args = request.args;
    let Ok(name) = args.cstr() else { return EPROTO };
    if name.is_empty() {
        return ENOENT;
    }
    if name.to_bytes().contains(&b'/') {
        return sys::execve(name, argv, envp);
    }
    let mut env = request.env;
    let path = (0..request.envc)
        .filter_map(|_| env.cstr().ok())
        .find_map(|var| var.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut worst = ENOENT;
    for dir in path.split(|b| *b == b':') {
        let mut buf = [0u8; NAME_MAX_PATH];
        let Some(file) = join(&mut buf, dir, name) else {
            continue;
        };
        match sys::execve(file, argv, envp) {
            ENOENT | ENOTDIR => {}
            EACCES => worst = EACCES,
            other => return other,
        }
    }
    worst
}

fn join<'b>(buf: &'b mut [u8], dir: &[u8], name: &CStr) -> Option<&'b CStr> {
    let dir = if dir.is_empty() { b"." } else { dir };
    let name = name.to_bytes_with_nul();
    let end = dir.len() + 1 + name.len();
    let room = buf.get_mut(..end)?;
    room.get_mut(..dir.len())?.copy_from_slice(dir);
    *room.get_mut(dir.len())? = b'/';
    room.get_mut(dir.len() + 1..)?.copy_from_slice(name);
    CStr::from_bytes_with_nul(room).ok()
}

fn allow(ruleset: &Fd, access: u64, path: &CStr) -> Res<()> {
    // EXECUTE, WRITE_FILE, READ_FILE, TRUNCATE, IOCTL_DEV: all that a file can be allowed.
    const FILE_ACCESS: u64 = 0b111 | (1 << 14) | (1 << 15);
    let below = sys::open(AT_FDCWD, path, sys::O_PATH)?;
    let access = if sys::is_directory(&below)? {
        access
    } else {
        access & FILE_ACCESS
    };
    sys::landlock_allow(ruleset, access, &below)
}

/// Tells the parent what failed, or `None` that nothing did.
pub(crate) fn tell(to: &Fd, failed: Option<Failed>) {
    let mut out = Fixed::<16>::new();
    match failed {
        None => {}
        Some(failed) => {
            Failure {
                step: failed.step as u16,
                errno: failed.errno.0,
                index: failed.index,
            }
            .write(&mut out);
        }
    }
    // If the parent is gone, so is the sandbox.
    let _ = if failed.is_none() {
        sys::write(to.0, b"k")
    } else {
        sys::write(to.0, out.as_bytes())
    };
}

/// What the child told: end of file (its program runs) or one byte (it waits) is success.
pub(crate) fn outcome(told: &Fd) -> Result<(), Failed> {
    let mut buf = [0u8; 16];
    let n = sys::read(told.0, &mut buf).at(Step::Fork)?;
    match buf.get(..n).map(Failure::read) {
        Some(Ok(failure)) => Err(Failed {
            step: Step::from_number(failure.step).unwrap_or(Step::Protocol),
            errno: Errno(failure.errno),
            index: failure.index,
        }),
        _ => Ok(()),
    }
}
