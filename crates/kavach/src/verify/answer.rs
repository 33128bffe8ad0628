//! What the probing program says, read as bytes of a guest.

use kavach_proto::probe::word;
use syscalls::Errno;

/// How an attempt went, in the program's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// What was looked for is something else there.
    Other,
    /// The kernel's error number.
    Errno(i32),
    /// The signal that ended the process which tried.
    Killed(i32),
    Value(u64),
    /// What the attempt needs could not be had, for this reason.
    Unable(i32),
}

pub(super) const EPERM: i32 = 1;
pub(super) const ENOENT: i32 = 2;
pub(super) const EACCES: i32 = 13;
pub(super) const EFBIG: i32 = 27;
pub(super) const ENOSPC: i32 = 28;
pub(super) const ENOSYS: i32 = 38;
pub(super) const SIGKILL: i32 = 9;
pub(super) const SIGXCPU: i32 = 24;
pub(super) const SIGXFSZ: i32 = 25;

impl Answer {
    /// For people.
    pub(super) fn text(self) -> String {
        match self {
            Answer::Done => "done".into(),
            Answer::Other => "another one".into(),
            Answer::Errno(e) => errno(e),
            Answer::Killed(signal) => format!("killed by {}", signal_name(signal)),
            Answer::Value(value) => value.to_string(),
            Answer::Unable(e) => format!("could not be prepared: {}", errno(e)),
        }
    }
}

fn errno(number: i32) -> String {
    match Errno::new(number).name() {
        Some(name) => name.to_owned(),
        None => format!("errno {number}"),
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        SIGKILL => "SIGKILL".into(),
        11 => "SIGSEGV".into(),
        SIGXCPU => "SIGXCPU".into(),
        SIGXFSZ => "SIGXFSZ".into(),
        31 => "SIGSYS".into(),
        other => format!("signal {other}"),
    }
}

/// The answers of `count` attempts. A line that is none is passed over: what has no answer was
/// not measured. Of several answers for one attempt none counts.
pub(super) fn read(output: &[u8], count: usize) -> Vec<Option<Answer>> {
    let mut answers = vec![None; count];
    let mut twice = vec![false; count];
    for line in output.split(|byte| *byte == b'\n') {
        let Some((index, answer)) = parse(line) else {
            continue;
        };
        if let (Some(slot), Some(twice)) = (answers.get_mut(index), twice.get_mut(index)) {
            *twice |= slot.is_some();
            *slot = Some(answer);
        }
    }
    for (slot, twice) in answers.iter_mut().zip(twice) {
        if twice {
            *slot = None;
        }
    }
    answers
}

fn parse(line: &[u8]) -> Option<(usize, Answer)> {
    let mut parts = line.split(|byte| *byte == b' ');
    let index = number(parts.next()?)?;
    let word = parts.next()?;
    let number = number(parts.next()?)?;
    if parts.next().is_some() {
        return None;
    }
    let code = || i32::try_from(number).ok();
    let answer = match word {
        word::DONE => Answer::Done,
        word::OTHER => Answer::Other,
        word::ERRNO => Answer::Errno(code()?),
        word::KILLED => Answer::Killed(code()?),
        word::VALUE => Answer::Value(number),
        word::UNABLE => Answer::Unable(code()?),
        _ => return None,
    };
    Some((usize::try_from(index).ok()?, answer))
}

fn number(text: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_answers_by_their_index() {
        let said = b"0 errno 1\n2 killed 31\n3 value 16\n1 done 0\n4 unable 2\n5 other 0\n";
        assert_eq!(
            read(said, 6),
            [
                Answer::Errno(1),
                Answer::Done,
                Answer::Killed(31),
                Answer::Value(16),
                Answer::Unable(2),
                Answer::Other
            ]
            .map(Some)
        );
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for said in [
            &b""[..],
            b"0 errno",
            b"0 errno 1 2",
            b"0  errno 1",
            b"-0 errno 1",
            b"+0 errno 1",
            b"0 errno 99999999999999999999",
            b"0 errno 4294967297",
            b"0 blocked 1",
            b"1 done 0",
            b"18446744073709551615 done 0",
            b"\xff\xfe\n\0 done 0",
        ] {
            assert_eq!(read(said, 1), [None], "{}", String::from_utf8_lossy(said));
        }
    }

    #[test]
    fn two_answers_are_none() {
        assert_eq!(
            read(b"0 errno 1\n0 done 0\n1 done 0", 2),
            [None, Some(Answer::Done)]
        );
    }

    #[test]
    fn errors_and_signals_have_their_names() {
        assert_eq!(Answer::Errno(EPERM).text(), "EPERM");
        assert_eq!(Answer::Errno(ENOSYS).text(), "ENOSYS");
        assert_eq!(Answer::Killed(31).text(), "killed by SIGSYS");
        assert_eq!(Answer::Errno(4000).text(), "errno 4000");
    }
}
