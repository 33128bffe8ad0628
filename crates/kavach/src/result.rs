//! How a guest ended, what it said, what it used, and whether its output may leave.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Control;

/// What ended the guest. The first cause wins and is never overwritten.
///
/// A limit stands here only if it ended the guest; one that was hit and survived is a
/// [`LimitEvent`] beside `Exited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
#[non_exhaustive]
pub enum Termination {
    /// It exited by itself, with this status (0–255).
    Exited(i32),
    /// A signal ended it, by its number (`signal(7)`), sent by the guest itself or its kernel.
    Signaled(i32),
    /// The wall clock limit ended it.
    TimedOut,
    /// The memory limit ended it.
    OutOfMemory,
    /// The limit of processes ended it.
    PidsExceeded,
    /// The output limit ended it.
    OutputExceeded,
    /// The limit of the writable directories ended it.
    DiskExceeded,
    /// The limit of CPU time ended it.
    CpuExceeded,
    /// The caller ended it: kill, stop, destroy, drop, cancel, or the end of the host process.
    Killed,
}

impl Termination {
    /// The exit code that stands for this end, as a shell would show it: the guest's own code;
    /// 128 + signal number; 124 for a timeout, as `timeout(1)` has it; 137 (128 + SIGKILL) for
    /// every other limit and for [`Termination::Killed`].
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        match self {
            Termination::Exited(code) => code,
            Termination::Signaled(signal) => 128_i32.saturating_add(signal),
            Termination::TimedOut => 124,
            Termination::OutOfMemory
            | Termination::PidsExceeded
            | Termination::OutputExceeded
            | Termination::DiskExceeded
            | Termination::CpuExceeded
            | Termination::Killed => 137,
        }
    }

    /// Whether the guest exited by itself with status 0.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self, Termination::Exited(0))
    }
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Termination::Exited(code) => write!(f, "exited with status {code}"),
            Termination::Signaled(signal) => write!(f, "ended by signal {signal}"),
            Termination::TimedOut => f.write_str("timed out"),
            Termination::OutOfMemory => f.write_str("out of memory"),
            Termination::PidsExceeded => f.write_str("too many processes"),
            Termination::OutputExceeded => f.write_str("too much output"),
            Termination::DiskExceeded => f.write_str("out of disk quota"),
            Termination::CpuExceeded => f.write_str("out of CPU time"),
            Termination::Killed => f.write_str("killed by the caller"),
        }
    }
}

/// A limit that was hit and survived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LimitEvent {
    /// The limit.
    pub control: Control,
    /// How often it was hit, where the kernel counts; else 1.
    pub count: u64,
    /// What was seen, for instance `pids.events: max 12`.
    pub detail: String,
}

impl LimitEvent {
    /// A limit that was hit `count` times.
    #[must_use]
    pub fn new(control: Control, count: u64, detail: impl Into<String>) -> Self {
        Self {
            control,
            count,
            detail: detail.into(),
        }
    }
}

/// An act of the guest that was refused, as far as this host lets it be seen. None is invented:
/// an empty list does not say that nothing was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Denial {
    /// The control that refused.
    pub control: Control,
    /// What was refused, for instance the name of a system call.
    pub what: String,
    /// How often.
    pub count: u64,
}

impl Denial {
    /// `what` was refused `count` times.
    #[must_use]
    pub fn new(control: Control, what: impl Into<String>, count: u64) -> Self {
        Self {
            control,
            what: what.into(),
            count,
        }
    }
}

/// What the guest used. `None` where this host cannot tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Peak memory of the whole tree, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// CPU time in user mode; serialised in microseconds.
    #[serde(rename = "cpu_user_us", serialize_with = "as_micros")]
    pub cpu_user: Option<Duration>,
    /// CPU time in the kernel; serialised in microseconds.
    #[serde(rename = "cpu_system_us", serialize_with = "as_micros")]
    pub cpu_system: Option<Duration>,
    /// Most processes and threads at a time.
    pub pids_peak: Option<u64>,
    /// Bytes read from block devices.
    pub io_read_bytes: Option<u64>,
    /// Bytes written to block devices.
    pub io_written_bytes: Option<u64>,
    /// Time on the wall clock, paused time not counted; serialised in milliseconds.
    #[serde(rename = "wall_ms", serialize_with = "as_millis")]
    pub wall: Duration,
}

/// Something the gate saw in the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The rule that matched.
    pub rule: String,
    /// What it saw, without the secret itself.
    pub detail: String,
}

impl Finding {
    /// `rule` matched.
    #[must_use]
    pub fn new(rule: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            detail: detail.into(),
        }
    }
}

/// Whether the output may leave the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
#[non_exhaustive]
pub enum Verdict {
    /// It leaves as it is.
    Release {
        /// Why, for instance "no gate configured".
        reason: String,
    },
    /// It leaves with parts replaced.
    Redact {
        /// What was replaced.
        findings: Vec<Finding>,
    },
    /// It is kept aside for a person to judge; the result's output is empty.
    Quarantine {
        /// What raised doubt.
        findings: Vec<Finding>,
    },
    /// It does not leave; the result's output is empty.
    Block {
        /// What forbids it.
        findings: Vec<Finding>,
    },
}

impl Verdict {
    /// The verdict where nothing judges the output.
    #[must_use]
    pub fn no_gate() -> Self {
        Verdict::Release {
            reason: "no gate configured".into(),
        }
    }
}

/// One command's outcome. A command that fails is an `ExecResult`, never an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExecResult {
    /// The code that stands for the end, see [`Termination::exit_code`].
    pub exit_code: i32,
    /// Captured standard output; bytes that are not UTF-8 replaced, see
    /// [`ExecResult::stdout_bytes`].
    pub stdout: String,
    /// Captured standard error, likewise.
    pub stderr: String,
    /// Time on the wall clock, paused time not counted; serialised in milliseconds.
    #[serde(rename = "duration_ms", serialize_with = "as_millis")]
    pub duration: Duration,
    /// Whether the wall clock limit ended it.
    pub timed_out: bool,
    /// Whether standard output went past its limit and the rest was dropped.
    pub stdout_truncated: bool,
    /// Whether standard error went past its limit and the rest was dropped.
    pub stderr_truncated: bool,
    /// What ended it.
    pub termination: Termination,
    /// What it used.
    pub usage: Usage,
    /// Limits that were hit and survived.
    pub limit_events: Vec<LimitEvent>,
    /// Refusals that could be seen.
    pub denials: Vec<Denial>,
    /// Whether the output may leave.
    pub verdict: Verdict,
    // The raw bytes are kept only where the text is not the same bytes: capture is bounded, but
    // two copies of every output would double that bound for nothing.
    #[serde(skip)]
    raw_stdout: Option<Vec<u8>>,
    #[serde(skip)]
    raw_stderr: Option<Vec<u8>>,
}

impl ExecResult {
    /// A result of `termination` with these captured bytes; everything else empty, the verdict
    /// [`Verdict::no_gate`].
    #[must_use]
    pub fn new(
        termination: Termination,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
        duration: Duration,
    ) -> Self {
        let (stdout, raw_stdout) = text_of(stdout);
        let (stderr, raw_stderr) = text_of(stderr);
        Self {
            exit_code: termination.exit_code(),
            stdout,
            stderr,
            duration,
            timed_out: termination == Termination::TimedOut,
            stdout_truncated: false,
            stderr_truncated: false,
            termination,
            usage: Usage {
                wall: duration,
                ..Usage::default()
            },
            limit_events: Vec::new(),
            denials: Vec::new(),
            verdict: Verdict::no_gate(),
            raw_stdout,
            raw_stderr,
        }
    }

    /// Standard output as the guest wrote it.
    #[must_use]
    pub fn stdout_bytes(&self) -> &[u8] {
        self.raw_stdout.as_deref().unwrap_or(self.stdout.as_bytes())
    }

    /// Standard error as the guest wrote it.
    #[must_use]
    pub fn stderr_bytes(&self) -> &[u8] {
        self.raw_stderr.as_deref().unwrap_or(self.stderr.as_bytes())
    }

    /// Whether the guest exited by itself with status 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        self.termination.success()
    }
}

/// Whole milliseconds.
fn as_millis<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Whole microseconds, or nothing.
fn as_micros<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        .serialize(serializer)
}

/// The text of `bytes`, and the bytes themselves where the text is not the same.
fn text_of(bytes: Vec<u8>) -> (String, Option<Vec<u8>>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(not_utf8) => {
            let text = String::from_utf8_lossy(not_utf8.as_bytes()).into_owned();
            (text, Some(not_utf8.into_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_documented_exit_code() {
        let expected = [
            (Termination::Exited(7), 7),
            (Termination::Signaled(11), 139),
            (Termination::TimedOut, 124),
            (Termination::OutOfMemory, 137),
            (Termination::PidsExceeded, 137),
            (Termination::OutputExceeded, 137),
            (Termination::DiskExceeded, 137),
            (Termination::CpuExceeded, 137),
            (Termination::Killed, 137),
        ];
        for (termination, code) in expected {
            assert_eq!(termination.exit_code(), code, "{termination}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_reachable() {
        let result = ExecResult::new(
            Termination::Exited(0),
            vec![b'a', 0xff, b'b'],
            b"plain".to_vec(),
            Duration::ZERO,
        );
        assert_eq!(result.stdout, "a\u{fffd}b");
        assert_eq!(result.stdout_bytes(), [b'a', 0xff, b'b']);
        assert_eq!(result.stderr_bytes(), b"plain");
    }

    #[test]
    fn without_a_gate_the_verdict_says_so() {
        let result = ExecResult::new(Termination::TimedOut, vec![], vec![], Duration::ZERO);
        assert!(result.timed_out);
        assert!(!result.success());
        assert_eq!(
            result.verdict,
            Verdict::Release {
                reason: "no gate configured".into()
            }
        );
    }

    #[test]
    fn a_result_serialises_with_tagged_end_and_verdict() {
        let result = ExecResult::new(
            Termination::Exited(3),
            b"out".to_vec(),
            vec![],
            Duration::from_millis(1500),
        );
        insta::assert_snapshot!(serde_json::to_string_pretty(&result).unwrap());
    }
}
