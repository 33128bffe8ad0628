//! The probing personality: an ordinary command of a sandbox that tries what the sandbox is to
//! refuse, and says how each went. `kavach verify` starts it.
//!
//! It is no part of the agent at work: it is executed as every command is, under all that a
//! guest is held to, and the host reads what it prints as it reads any guest's output. It lives
//! in this program because the program needs nothing of the sandbox's root.
//!
//! Every probe runs in a process of its own, so that one which is killed is seen to be. None
//! changes anything that outlives it.

use core::ffi::CStr;

use kavach_proto::probe::{ATTEMPTS, verb, word};
use kavach_proto::{Fixed, Sink as _};

use super::jail::open_proc;
use super::sys::{self, Args, EINVAL, ENOENT, Errno, O_PATH, O_RDONLY, O_WRONLY, Region, Res};
use super::view::{Digits, c_string};
use super::{BROKEN, PR_SET_NO_NEW_PRIVS};

const PR_GET_NO_NEW_PRIVS: usize = 39;
const STDOUT: i32 = 1;
const PAGE: usize = 4096;

/// How a probe went.
enum Answer {
    Done,
    /// What was looked for is something else here.
    Other,
    Value(u64),
    /// What it needs could not be had.
    Unable(Errno),
    /// It writes something else than an answer.
    Silent,
}

type Tried = Res<Answer>;

/// The arguments of this process, one after another.
struct Words<'a> {
    args: &'a Args,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a CStr> {
        self.at += 1;
        self.args.get(self.at - 1)
    }

    fn text(&mut self) -> Res<&'a CStr> {
        self.next().ok_or(EINVAL)
    }

    fn number(&mut self) -> Res<u64> {
        decimal(self.text()?.to_bytes()).ok_or(EINVAL)
    }
}

/// Runs the probes of the arguments from the third on.
pub(crate) fn run(args: &Args) -> ! {
    let mut words = Words { args, at: 2 };
    // While the agent is still the parent.
    let agent = sys::getppid();
    let mut index = 0;
    while let Some(verb) = words.next() {
        let begin = words.at;
        let Some(count) = arguments_of(verb.to_bytes()) else {
            sys::exit(BROKEN)
        };
        words.at += count;
        let mut own = Words { args, at: begin };
        one(index, verb.to_bytes(), &mut own, agent);
        index += 1;
    }
    sys::exit(0)
}

/// One probe in a process of its own.
fn one(index: u64, verb: &[u8], words: &mut Words<'_>, agent: u32) {
    let pid = match sys::fork(0) {
        Ok(pid) => pid,
        Err(e) => return say(index, word::UNABLE, e.0.into()),
    };
    if pid == 0 {
        match attempt(verb, words, agent) {
            Ok(Answer::Done) => say(index, word::DONE, 0),
            Ok(Answer::Other) => say(index, word::OTHER, 0),
            Ok(Answer::Value(value)) => say(index, word::VALUE, value),
            Ok(Answer::Unable(e)) => say(index, word::UNABLE, e.0.into()),
            Ok(Answer::Silent) => {}
            Err(e) => say(index, word::ERRNO, e.0.into()),
        }
        sys::exit(0);
    }
    while let Ok(Some((ended, status, _))) = sys::wait_any(true) {
        let signal = status & 0x7f;
        if ended == pid {
            if signal != 0 {
                say(index, word::KILLED, signal.into());
            }
            break;
        }
    }
}

fn say(index: u64, word: &[u8], number: u64) {
    let mut line = Fixed::<64>::new();
    for part in [Digits::new().decimal(index).to_bytes(), b" ", word, b" "] {
        line.put(part);
    }
    line.put(Digits::new().decimal(number).to_bytes());
    line.put(b"\n");
    // Without a reader nobody wants to know.
    let _ = sys::write(STDOUT, line.as_bytes());
}

/// How many arguments follow a verb.
fn arguments_of(verb: &[u8]) -> Option<usize> {
    Some(match verb {
        verb::INT80 | verb::OVERRIDE | verb::PRIORITY | verb::PRIVILEGES | verb::LAYERS => 0,
        verb::DESCRIPTORS => 0,
        verb::CALL | verb::REMOVE | verb::TCP | verb::ABSTRACT | verb::AGENT | verb::PARENT => 1,
        verb::WRITE | verb::FILES | verb::SIZE | verb::PROCESSES | verb::MEMORY => 1,
        verb::OUTPUT | verb::SLEEP | verb::SPIN => 1,
        verb::LINK | verb::SEE | verb::SIGNAL | verb::DISK => 2,
        verb::SAME => 3,
        _ => return None,
    })
}

fn attempt(verb: &[u8], words: &mut Words<'_>, agent: u32) -> Tried {
    match verb {
        verb::CALL => {
            let index = words.number()? as usize;
            let call = ATTEMPTS.get(index).ok_or(EINVAL)?;
            sys::attempt(call).map(|_| Answer::Done)
        }
        verb::INT80 => sys::i386_getpid().map(|_| Answer::Done),
        verb::SAME => same_file(words),
        verb::LINK => {
            let (text, path) = (words.text()?, words.text()?);
            let mut buf = [0; 256];
            let found = sys::read_link(path, &mut buf)?;
            Ok(done_if(found == text.to_bytes()))
        }
        verb::WRITE => {
            let file = sys::open(sys::AT_FDCWD, words.text()?, O_WRONLY)?;
            // A file of /proc that is masked is a device, which takes everything and keeps nothing.
            Ok(done_if(sys::stat(&file)?.mode & 0o170_000 == 0o100_000))
        }
        verb::DESCRIPTORS => {
            let open = (3..MOST_DESCRIPTORS).filter(|fd| sys::is_open(*fd));
            Ok(Answer::Value(open.count() as u64))
        }
        verb::REMOVE => sys::unlink(words.text()?).map(|()| Answer::Done),
        verb::TCP => {
            let port = words.number()? as u16;
            // struct sockaddr_in: family, port and address in network order.
            let mut address = [0u8; 16];
            address[..2].copy_from_slice(&AF_INET.to_le_bytes());
            address[2..4].copy_from_slice(&port.to_be_bytes());
            address[4..8].copy_from_slice(&[127, 0, 0, 1]);
            sys::connect(AF_INET, &address).map(|_| Answer::Done)
        }
        verb::ABSTRACT => {
            // struct sockaddr_un; the name begins with a zero and ends with the length.
            let mut address = Fixed::<108>::new();
            address.put(&AF_UNIX.to_le_bytes());
            address.put(&[0]);
            address.put(words.text()?.to_bytes());
            sys::connect(AF_UNIX, address.as_bytes()).map(|_| Answer::Done)
        }
        verb::SEE => {
            let (pid, start) = (words.number()? as u32, words.number()?);
            Ok(done_if(start_time(pid)? == start))
        }
        verb::SIGNAL => {
            let (pid, start) = (words.number()? as u32, words.number()?);
            sys::kill(pid as i32, 0)?;
            // The number may be another process's here.
            Ok(done_if(start_time(pid).is_ok_and(|s| s == start)))
        }
        verb::AGENT => open_of(agent, words.text()?),
        verb::PARENT => open_of(sys::getppid(), words.text()?),
        verb::OVERRIDE => read_unreadable(),
        verb::PRIORITY => sys::set_niceness(-20).map(|()| Answer::Done),
        verb::PRIVILEGES => {
            let value = sys::prctl(PR_GET_NO_NEW_PRIVS, 0, 0)?;
            Ok(Answer::Value(value as u64))
        }
        verb::LAYERS => layers(),
        verb::FILES => files(words.number()?),
        verb::SIZE => {
            let bytes = words.number()?;
            let Some(file) = scratch_file(0o600) else {
                return Ok(Answer::Unable(ENOENT));
            };
            sys::write_at(&file, b"x", bytes).map(|_| Answer::Done)
        }
        verb::DISK => {
            let (directory, bytes) = (words.text()?, words.number()?);
            match sys::unnamed_file(directory, 0o600) {
                Ok(file) => sys::reserve(&file, bytes).map(|()| Answer::Done),
                Err(e) => Ok(Answer::Unable(e)),
            }
        }
        verb::PROCESSES => processes(words.number()?),
        verb::MEMORY => memory(words.number()?),
        verb::OUTPUT => output(words.number()?),
        verb::SLEEP => {
            sys::sleep_ms(words.number()?);
            Ok(Answer::Done)
        }
        verb::SPIN => {
            let most = words.number()?;
            while sys::cpu_time_ms() < most {}
            Ok(Answer::Done)
        }
        _ => Err(EINVAL),
    }
}

/// More than a command is ever given.
const MOST_DESCRIPTORS: i32 = 1024;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;

const fn done_if(it_is: bool) -> Answer {
    if it_is { Answer::Done } else { Answer::Other }
}

/// Opens a file below a process's directory in /proc.
fn open_of(pid: u32, file: &CStr) -> Tried {
    let mut name = Fixed::<32>::new();
    name.put(b"/");
    name.put(file.to_bytes());
    open_proc(pid, name.as_bytes(), O_RDONLY).map(|_| Answer::Done)
}

fn same_file(words: &mut Words<'_>) -> Tried {
    let (device, inode, path) = (words.number()?, words.number()?, words.text()?);
    let found = sys::stat(&sys::open(sys::AT_FDCWD, path, O_PATH)?)?;
    Ok(done_if((found.device, found.inode) == (device, inode)))
}

/// When a process was started, in the kernel's ticks: field 22 of proc_pid_stat(5).
fn start_time(pid: u32) -> Res<u64> {
    let mut buf = [0u8; 1024];
    let n = sys::read(open_proc(pid, b"/stat", O_RDONLY)?.0, &mut buf)?;
    let text = buf.get(..n).unwrap_or(&[]);
    // The second field is a name in parentheses, with anything in it.
    let end = text.iter().rposition(|b| *b == b')').ok_or(EINVAL)?;
    let rest = text.get(end + 2..).unwrap_or(&[]);
    let field = rest.split(|b| *b == b' ').nth(19).ok_or(EINVAL)?;
    decimal(field).ok_or(EINVAL)
}

/// A file without a name where every guest can make one.
fn scratch_file(mode: u32) -> Option<sys::Fd> {
    [c"/tmp", c"/dev/shm"]
        .into_iter()
        .find_map(|directory| sys::unnamed_file(directory, mode).ok())
}

/// Only CAP_DAC_OVERRIDE opens a file of mode 0, also to its owner.
fn read_unreadable() -> Tried {
    let Some(file) = scratch_file(0) else {
        return Ok(Answer::Unable(ENOENT));
    };
    let mut path = Fixed::<64>::new();
    path.put(b"/proc/self/fd/");
    path.put(Digits::new().decimal(file.0 as u64).to_bytes());
    let mut buf = [0; 64];
    let path = c_string(&mut buf, path.as_bytes())?;
    sys::open(sys::AT_FDCWD, path, O_RDONLY).map(|_| Answer::Done)
}

/// Enters domains that take nothing away from this process but to execute, until there are as
/// many over it as the kernel allows (landlock(7)): one fewer fit for each that was there.
fn layers() -> Tried {
    const EXECUTE: u64 = 1;
    const MORE_THAN_FIT: u64 = 64;
    sys::prctl(PR_SET_NO_NEW_PRIVS, 1, 0)?;
    let mut count = 0;
    while count < MORE_THAN_FIT {
        let ruleset = sys::landlock_ruleset(EXECUTE, 0, 0)?;
        match sys::landlock_enter(ruleset.0) {
            Ok(()) => count += 1,
            Err(_) if count > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(Answer::Value(count))
}

fn files(most: u64) -> Tried {
    let mut open = 3;
    while open < most {
        match sys::dup_above(0, 3) {
            // They stay open: their number is the thing.
            Ok(fd) => open = fd as u64 + 1,
            Err(_) => return Ok(Answer::Value(open)),
        }
    }
    Ok(Answer::Done)
}

fn processes(most: u64) -> Tried {
    let (wait, go) = match sys::pipe() {
        Ok(ends) => ends,
        Err(e) => return Ok(Answer::Unable(e)),
    };
    for count in 0..most {
        match sys::fork(0) {
            Ok(0) => {
                drop(go);
                let _ = sys::read(wait.0, &mut [0]);
                sys::exit(0);
            }
            Ok(_) => {}
            Err(_) => return Ok(Answer::Value(count)),
        }
    }
    Ok(Answer::Done)
}

fn memory(bytes: u64) -> Tried {
    const CHUNK: usize = 4 << 20;
    const HELD_MS: u64 = 1000;
    let mut taken = 0;
    while taken < bytes {
        let mut region = match Region::new(CHUNK) {
            Ok(region) => region,
            Err(e) => return Ok(Answer::Unable(e)),
        };
        for byte in region.as_mut().iter_mut().step_by(PAGE) {
            *byte = 1;
        }
        core::mem::forget(region);
        taken += CHUNK as u64;
    }
    // Where nothing but a supervisor that looks now and then holds the limit, it needs a look.
    sys::sleep_ms(HELD_MS);
    Ok(Answer::Done)
}

fn output(bytes: u64) -> Tried {
    let block = [b'x'; PAGE];
    let mut left = bytes as usize;
    while left > 0 {
        let part = block.get(..left.min(PAGE)).unwrap_or(&block);
        left -= sys::write(STDOUT, part)?;
    }
    Ok(Answer::Silent)
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|d| *d < 10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}
