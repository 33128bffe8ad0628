//! What kavach itself prints: results, errors with hints, notes.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};

use clap::error::{ContextKind, ContextValue};
use kavach::KavachError;
use kavach::policy::{PolicyProblem, ProblemKind};

use crate::cli::OutputArgs;
use crate::error::{CliError, FULL_FORM, Result};
use crate::exit_code;
use crate::help;
use crate::json::{self, Problem};
use crate::terminal::plain;

/// Prints a line of a result on standard output. A reader that has gone away is no error: it
/// has what it wanted.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::io("write to standard output")(error))
        }
        _ => Ok(()),
    }
}

/// Prints an error; the exit code.
pub(crate) fn failed(error: CliError, as_json: bool) -> u8 {
    let error = error.explained();
    if let CliError::Kavach(kavach) = &error
        && let KavachError::InvalidPolicy { problems } = kavach.as_ref()
        && !as_json
    {
        for found in problems {
            problem(found);
        }
        return error.exit_code();
    }
    report(Problem::from(&error), as_json);
    error.exit_code()
}

/// Prints what is wrong or weak in a policy file, with the line, on standard error.
pub(crate) fn problem(problem: &PolicyProblem) {
    if problem.kind == ProblemKind::Warning {
        on_stderr("warning:", "33", &problem.to_string());
    } else {
        on_stderr("error:", "1;31", &problem.to_string());
    }
    if let (Some(excerpt), Some(line)) = (&problem.excerpt, problem.line) {
        on_stderr(&format!("{line:>5} |"), "2", &excerpt.text);
        let mark = "^".repeat(excerpt.length);
        let before = " ".repeat(excerpt.start);
        on_stderr("      |", "2", &format!("{before}{mark}"));
    }
    let hint = match problem.hint() {
        None if problem.kind != ProblemKind::Warning && problem.required.is_empty() => {
            Some(FULL_FORM.to_owned())
        }
        hint => hint,
    };
    if let Some(hint) = hint {
        on_stderr("hint:", "36", &hint);
    }
}

/// A note on standard error about the end of a guest.
pub(crate) fn note(how: OutputArgs, text: &str) {
    if how.quiet {
        return;
    }
    on_stderr("kavach:", "33", text);
}

/// Something that was asked for and not done: said also to those who asked for quiet.
pub(crate) fn warning(text: &str) {
    on_stderr("kavach:", "33", text);
}

/// What `kavach` alone says; the exit code. A script that lost its arguments must not think that
/// something was run.
pub(crate) fn greeting() -> u8 {
    let mut err = io::stderr().lock();
    // Nowhere is left to complain when standard error is closed.
    let _ = writeln!(err, "{}", help::greeting());
    exit_code::FAILED
}

/// Prints what clap has to say about the arguments; the exit code.
pub(crate) fn refusal(refusal: &clap::Error, arguments: &[OsString]) -> u8 {
    if !refusal.use_stderr() {
        // Help or version. Examples are put together only when somebody wants to read them.
        let with_examples = help::command().try_get_matches_from(arguments).err();
        // A reader that has gone away has what it wanted.
        let _ = with_examples.as_ref().unwrap_or(refusal).print();
        return exit_code::OK;
    }
    // clap's text names the arguments as they were typed.
    let text = refusal.render().to_string();
    let message = text
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    let mut hints: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("tip: "))
        .map(str::to_owned)
        .collect();
    if hints.is_empty()
        && let Some(ContextValue::StyledStr(usage)) = refusal.get(ContextKind::Usage)
    {
        let usage = usage.to_string();
        let usage = usage.lines().next().unwrap_or_default();
        hints.push(usage.replace("Usage: ", "usage: "));
    }
    if hints.is_empty() {
        hints.push("`kavach help VERB` explains each option".into());
    }
    let problem = Problem {
        code: "KV-USAGE".into(),
        message: message.into(),
        hint: Some(hints.join("\n")),
        exit_code: exit_code::FAILED,
    };
    report(problem, wants_json(arguments));
    exit_code::FAILED
}

/// Whether JSON is wanted, as far as arguments that cannot be parsed tell.
pub(crate) fn wants_json(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json")
}

fn report(problem: Problem, as_json: bool) {
    if as_json {
        // Nothing is left to tell it to if this fails; the exit code still says it.
        let _ = json::print(&json::Failure::from(problem));
        return;
    }
    on_stderr("error:", "1;31", &problem.message);
    for line in problem.hint.iter().flat_map(|hint| hint.lines()) {
        on_stderr("hint:", "36", line);
    }
}

/// Colours only on a terminal, and not where NO_COLOR is set and not empty
/// (<https://no-color.org>).
fn on_stderr(label: &str, colour: &str, text: &str) {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let text = plain(text);
    let mut err = io::stderr().lock();
    // Nowhere is left to complain when standard error is closed.
    let _ = if wanted && io::stderr().is_terminal() {
        writeln!(err, "\x1b[{colour}m{label}\x1b[0m {text}")
    } else {
        writeln!(err, "{label} {text}")
    };
}
