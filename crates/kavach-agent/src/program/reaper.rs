//! The reaper: outlives the host process only to clean up after it.
//!
//! The parent-death signal ends every sandbox of a host that was killed. What it cannot do: a
//! frozen cgroup v1 delays even SIGKILL until the thaw, and cgroup directories stay. So one
//! reaper per host process sits in a session of its own, outside every sandbox, and blocks on a
//! socket. When that closes, it looks under each given directory for groups whose names begin
//! with the host's prefix, kills and thaws what is in them, removes them, and ends.

use core::ffi::CStr;

use kavach_proto::{Kind, ReaperBase, ReaperOrder};

use super::BROKEN;
use super::channel::Channel;
use super::sys::{self, AT_FDCWD, Fd, O_DIRECTORY, O_NOFOLLOW, O_RDONLY, O_WRONLY, Region, Res};
use super::view::{Digits, c_string};

/// Rounds of 10 ms: long enough for a large tree to die, and then it gives up.
const ROUNDS: u32 = 1000;
const MOST_BASES: usize = 16;
const DEPTH: u32 = 4;
const LIST_BYTES: usize = 1 << 16;

pub(crate) fn run() -> ! {
    let Ok(channel) = Channel::from_stdin() else {
        sys::exit(BROKEN)
    };
    if sys::setsid().and_then(|()| sys::default_signals()).is_err() {
        sys::exit(BROKEN);
    }
    // Signals for the host's session must not end the one that cleans up after it.
    let _ = sys::block_signals(u64::MAX);
    let Ok(Some(order)) = channel.receive() else {
        sys::exit(0)
    };
    if order.kind != Kind::Reap {
        sys::exit(BROKEN);
    }
    let Ok(order) = ReaperOrder::read(order.payload()) else {
        sys::exit(BROKEN)
    };
    if channel.send(Kind::Ready, 0, |_| {}).is_err() {
        sys::exit(BROKEN);
    }
    // Nothing more is ever sent: this returns when the host closes or dies.
    while matches!(channel.receive(), Ok(Some(_))) {}

    let mut bases: [Option<(Fd, u8)>; MOST_BASES] = [const { None }; MOST_BASES];
    let mut list = order.bases;
    for slot in bases.iter_mut().take(order.count) {
        if let Ok(base) = ReaperBase::read(&mut list) {
            *slot = sys::open(AT_FDCWD, base.path, O_RDONLY | O_DIRECTORY)
                .ok()
                .map(|fd| (fd, base.freezer));
        }
    }
    for _ in 0..ROUNDS {
        let mut left = 0;
        for (base, freezer) in bases.iter().flatten() {
            left += each_directory(base, |name| {
                let ours = name.to_bytes().starts_with(order.prefix);
                u32::from(ours && !clean(base, name, *freezer, DEPTH))
            });
        }
        if left == 0 {
            break;
        }
        sys::sleep_ms(10);
    }
    sys::exit(0)
}

/// True when the group is gone.
fn clean(base: &Fd, name: &CStr, freezer: u8, depth: u32) -> bool {
    let Ok(group) = sys::open(base.0, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else {
        return true;
    };
    kill_members(&group);
    let (file, thawed): (&CStr, &[u8]) = match freezer {
        1 => (c"freezer.state", b"THAWED"),
        2 => (c"cgroup.freeze", b"0"),
        _ => (c"", b""),
    };
    if let Ok(file) = sys::open(group.0, file, O_WRONLY) {
        let _ = sys::write(file.0, thawed);
    }
    if depth > 0 {
        each_directory(&group, |child| {
            u32::from(!clean(&group, child, freezer, depth - 1))
        });
    }
    sys::rmdir(base, name).is_ok()
}

/// Kills every process of one group. A pid is looked up, pinned by a pidfd and looked up again,
/// so that a number which was reused in between is never signalled.
fn kill_members(group: &Fd) {
    let mut pids = [0u32; 512];
    let count = members(group, &mut pids);
    let Some(pids) = pids.get(..count) else {
        return;
    };
    for pid in pids {
        let Ok(pinned) = sys::pidfd(*pid) else {
            continue;
        };
        let mut again = [0u32; 512];
        let count = members(group, &mut again);
        if again.get(..count).is_some_and(|now| now.contains(pid)) {
            let _ = sys::pidfd_kill(&pinned);
        }
    }
}

fn members(group: &Fd, pids: &mut [u32]) -> usize {
    sys::open(group.0, c"cgroup.procs", O_RDONLY).map_or(0, |file| read_numbers(&file, pids))
}

/// Kills the children of this process (backend noop only).
pub(crate) fn kill_children() {
    let mut number = Digits::new();
    let mut buf = [0u8; 96];
    let mut path = kavach_proto::Fixed::<96>::new();
    let pid = number.decimal(sys::getpid().into()).to_bytes();
    for part in [&b"/proc/self/task/"[..], pid, b"/children"] {
        kavach_proto::Sink::put(&mut path, part);
    }
    let Ok(path) = c_string(&mut buf, path.as_bytes()) else {
        return;
    };
    let Ok(file) = sys::open(AT_FDCWD, path, O_RDONLY) else {
        return;
    };
    let mut pids = [0u32; 512];
    let count = read_numbers(&file, &mut pids);
    for pid in pids.get(..count).unwrap_or(&[]) {
        // A child of ours that we have not reaped: the number is its own.
        let _ = sys::kill(*pid as i32, sys::SIGKILL);
    }
}

/// Decimal numbers separated by white space, as many as fit.
fn read_numbers(file: &Fd, into: &mut [u32]) -> usize {
    let mut buf = [0u8; 8192];
    let mut len = 0;
    while let Some(room) = buf.get_mut(len..).filter(|room| !room.is_empty()) {
        match sys::read(file.0, room) {
            Ok(n) if n > 0 => len += n,
            _ => break,
        }
    }
    parse_numbers(buf.get(..len).unwrap_or(&[]), len == buf.len(), into)
}

fn parse_numbers(text: &[u8], cut: bool, into: &mut [u32]) -> usize {
    // A number at a cut end may be half of one.
    let end = if cut {
        text.iter().rposition(|b| !b.is_ascii_digit()).unwrap_or(0)
    } else {
        text.len()
    };
    let mut count = 0;
    for word in text
        .get(..end)
        .unwrap_or(&[])
        .split(|b| !b.is_ascii_digit())
    {
        let number = word.iter().try_fold(0u32, |n, digit| {
            n.checked_mul(10)?
                .checked_add(u32::from(digit.wrapping_sub(b'0')))
        });
        if let (false, Some(number), Some(slot)) = (word.is_empty(), number, into.get_mut(count)) {
            *slot = number;
            count += 1;
        }
    }
    count
}

/// Calls `act` with the name of each directory in `dir`; the sum of what it returns.
fn each_directory(dir: &Fd, mut act: impl FnMut(&CStr) -> u32) -> u32 {
    let mut list = || -> Res<u32> {
        // A descriptor of its own, so that every listing starts at the beginning.
        let dir = sys::open(dir.0, c".", O_RDONLY | O_DIRECTORY)?;
        let mut buf = Region::new(LIST_BYTES)?;
        let mut sum = 0;
        loop {
            let n = sys::read_dir(&dir, buf.as_mut())?;
            if n == 0 {
                return Ok(sum);
            }
            let mut rest = buf.get(..n).unwrap_or(&[]);
            // struct linux_dirent64: ino u64, off u64, reclen u16, type u8, name.
            while let Some(&[lo, hi, kind]) = rest.get(16..19) {
                const DT_DIR: u8 = 4;
                let length = usize::from(u16::from_le_bytes([lo, hi]));
                let entry = rest.get(19..length).unwrap_or(&[]);
                if let Ok(name) = CStr::from_bytes_until_nul(entry)
                    && kind == DT_DIR
                    && name != c"."
                    && name != c".."
                {
                    sum += act(name);
                }
                rest = rest.get(length.max(19)..).unwrap_or(&[]);
            }
        }
    };
    list().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_parsed_and_half_numbers_are_not() {
        let mut into = [0; 4];
        assert_eq!(parse_numbers(b"1\n22\n333\n", false, &mut into), 3);
        assert_eq!(into[..3], [1, 22, 333]);
        assert_eq!(parse_numbers(b"1 22 33", true, &mut into), 2);
        assert_eq!(parse_numbers(b"1 2 3 4 5 6", false, &mut into), 4);
        assert_eq!(parse_numbers(b"99999999999 7", false, &mut into), 1);
        assert_eq!(into[0], 7);
        assert_eq!(parse_numbers(b"", false, &mut into), 0);
    }
}
