//! Why the command failed: the library's reasons, and those of the command line itself.

use std::fmt;

use kavach::KavachError;

use crate::exit_code;
use crate::host_limits;

/// What is shown to the user, as text or as JSON.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The library's.
    Kavach(Box<KavachError>),
    /// An argument that cannot mean anything.
    Argument {
        /// The argument, for instance `--timeout`.
        argument: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        hint: String,
    },
    /// A signal ended kavach before the program had ended.
    Interrupted {
        /// Its number.
        signal: i32,
    },
    /// A limit of kavach's own process is too low.
    HostLimit {
        /// Which, and how a shell names it.
        limit: &'static str,
        /// What it is.
        found: String,
        /// What to do.
        fix: String,
    },
    /// The host refused something that the command itself does.
    Io {
        /// What was tried, as a verb.
        act: &'static str,
        /// The host's answer.
        source: std::io::Error,
    },
}

pub(crate) type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    pub(crate) fn argument(
        argument: &'static str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        CliError::Argument {
            argument,
            problem: problem.into(),
            hint: hint.into(),
        }
    }

    pub(crate) fn io(act: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| CliError::Io { act, source }
    }

    /// The stable code for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            CliError::Kavach(error) => error.code(),
            CliError::Argument { .. } => "KV-USAGE",
            CliError::Interrupted { .. } => "KV-INTERRUPTED",
            CliError::HostLimit { .. } => "KV-HOST-LIMIT",
            CliError::Io { .. } => "KV-HOST-IO",
        }
    }

    /// What to try.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            CliError::Kavach(error) => hint_of(error),
            CliError::Argument { hint, .. } => (!hint.is_empty()).then(|| hint.clone()),
            CliError::HostLimit { fix, .. } => Some(fix.clone()),
            CliError::Interrupted { .. } | CliError::Io { .. } => None,
        }
    }

    /// The exit code, see [`exit_code`].
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::Kavach(error) => exit_code::of_error(error),
            CliError::Interrupted { signal } => exit_code::of_signal(*signal),
            CliError::Argument { .. } | CliError::HostLimit { .. } | CliError::Io { .. } => {
                exit_code::FAILED
            }
        }
    }
}

impl CliError {
    /// The error with the limit as its cause, where a limit was the cause.
    pub(crate) fn explained(self) -> Self {
        let limit = match &self {
            CliError::Kavach(error) => host_limits::behind(&**error),
            // What was tried says more where a file of the user's grew too large.
            CliError::Io { source, .. } if !host_limits::is_too_large(source) => {
                host_limits::behind(source)
            }
            CliError::Io { .. }
            | CliError::Argument { .. }
            | CliError::HostLimit { .. }
            | CliError::Interrupted { .. } => None,
        };
        limit.unwrap_or(self)
    }

    /// The error in the words of the command line: a field of the config is shown as the
    /// argument that set it, where `argument` knows one.
    pub(crate) fn in_arguments(mut self, argument: impl Fn(&str) -> Option<&'static str>) -> Self {
        if let CliError::Kavach(error) = &mut self
            && let KavachError::InvalidConfig { field, .. } | KavachError::PathMissing { field, .. } =
                &mut **error
            && let Some(argument) = argument(field)
        {
            *field = argument.to_owned();
        }
        self
    }
}

/// What to try where a policy file is wrong and nothing nearer is known.
pub(crate) const FULL_FORM: &str = "`kavach policy show strict` prints a policy in its full form";

/// The library's hint, in the words of the command line where those are other words.
fn hint_of(error: &KavachError) -> Option<String> {
    match error {
        KavachError::BackendUnavailable {
            reason: kavach::backend::Unavailable::Planned { .. },
            ..
        } => Some("`kavach backends` shows which can be used; `process` is the default".into()),
        KavachError::InvalidPolicy { .. } => Some(match error.hint() {
            Some(hint) => hint.into_owned(),
            None => FULL_FORM.into(),
        }),
        other => other.hint().map(std::borrow::Cow::into_owned),
    }
}

impl From<KavachError> for CliError {
    fn from(error: KavachError) -> Self {
        CliError::Kavach(Box::new(error))
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Kavach(error) => error.fmt(f),
            CliError::Argument {
                argument, problem, ..
            } => write!(f, "{argument}: {problem}"),
            CliError::Interrupted { signal } => write!(f, "ended by signal {signal}"),
            CliError::HostLimit { limit, found, .. } => {
                write!(f, "the limit of {limit} is too low: {found}")
            }
            CliError::Io { act, source } => write!(f, "cannot {act}: {source}"),
        }
    }
}
