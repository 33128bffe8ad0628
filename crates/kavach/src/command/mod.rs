//! Commands: what is started inside, and how it is fed.

mod pty;
mod split;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

pub use pty::PtySize;
pub use split::split_words;

use crate::error::{KavachError, Result};

/// The kernel's longest single argument or environment string, its NUL counted
/// (`MAX_ARG_STRLEN`, `execve(2)`).
const MAX_STRING_BYTES: usize = 128 * 1024;
/// Most that arguments and environment may take together. The kernel's own bound is a quarter
/// of the stack limit, at most 6 MiB, and 2 MiB where the stack is 8 MiB; pointers and the
/// program's name come on top.
const MAX_TOTAL_BYTES: usize = 1536 * 1024;
/// Most bytes given as standard input in one piece; more belongs in a pipe.
const MAX_STDIN_BYTES: usize = 64 * 1024 * 1024;

/// What a command reads.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdin {
    /// Nothing: end of file at once.
    #[default]
    Empty,
    /// These bytes, then end of file.
    Bytes(Vec<u8>),
    /// What the caller writes to the handle. With `spawn` alone.
    Piped,
}

/// The bytes of an input may be a secret: their number alone is shown.
impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stdin::Empty => f.write_str("Empty"),
            Stdin::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Stdin::Piped => f.write_str("Piped"),
        }
    }
}

/// A program with its arguments, environment, directory, input and time limit.
///
/// Nothing is expanded and no shell is started: arguments reach the program as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    stdin: Stdin,
    timeout_ms: Option<u64>,
    pty: Option<PtySize>,
    stderr_apart: bool,
}

impl Command {
    /// The program alone. A name without `/` is looked for in the `PATH` of the sandbox.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            argv: vec![program.into()],
            env: Vec::new(),
            cwd: None,
            stdin: Stdin::Empty,
            timeout_ms: None,
            pty: None,
            stderr_apart: false,
        }
    }

    /// A script for the sandbox's `/bin/sh`: `/bin/sh -c SCRIPT`.
    ///
    /// Never build a script from words that others wrote; give them as arguments of a program.
    #[must_use]
    pub fn shell(script: impl Into<OsString>) -> Self {
        Self::new("/bin/sh").arg("-c").arg(script)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I>(mut self, args: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, over one of the sandbox's own.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        set_env(&mut self.env, name.into(), value.into());
        self
    }

    /// Starts in this directory, inside; an absolute path without `..`. Default: the home
    /// directory of the sandbox.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        // A `/` at the end, as shells complete it, a doubled one and a `.` mean nothing.
        self.cwd = Some(directory.into().components().collect());
        self
    }

    /// Gives these bytes as the whole standard input.
    #[must_use]
    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Leaves standard input to the caller. With `spawn` alone.
    #[must_use]
    pub fn stdin_piped(mut self) -> Self {
        self.stdin = Stdin::Piped;
        self
    }

    /// Gives the command a terminal of this size: a pseudo-terminal (`pty(7)`) of the sandbox's
    /// own, the controlling terminal of a session of its own, as its standard input, output and
    /// error. So there is job control, and what is typed is echoed, edited line by line, and
    /// turned into signals (byte 3, Ctrl-C, is SIGINT), unless the command sets it otherwise.
    ///
    /// Output and errors come as **one stream**, as standard output; see
    /// [`Command::stderr_apart`]. Lines end in `\r\n`, as a terminal wants them. The stream ends
    /// when nobody inside has the terminal open any more. Bytes given as input are typed, and
    /// after them the terminal's end-of-file character (Ctrl-D): a command that reads lines sees
    /// the end of its input, one that reads keys sees the key, and one that changes from lines to
    /// keys just then (an interactive shell at its start) may miss it: give it a time limit, or
    /// [`Command::stdin_piped`] and the keys that end it. In line mode the kernel cuts a line
    /// at 4095 bytes (`termios(3)`). When the command's first process ends, the job in the
    /// foreground gets SIGHUP from the kernel, with it what a shell without job control left in the
    /// background; what ignores it lives on, as without a terminal. When the last of the caller's handles goes, the terminal
    /// hangs up: what still uses it gets SIGHUP, and errors.
    ///
    /// `TERM` is the config's or the command's own to set; the library reads no environment.
    ///
    /// It protects from nothing: what is written to it is the guest's, and a terminal that it is
    /// shown on obeys its escape sequences. Other commands of the sandbox can open it too.
    #[must_use]
    pub fn pty(mut self, size: PtySize) -> Self {
        self.pty = Some(size);
        self
    }

    /// Keeps standard error apart where the command has a terminal: a pipe, as without one.
    #[must_use]
    pub fn stderr_apart(mut self) -> Self {
        self.stderr_apart = true;
        self
    }

    /// Time limit on the wall clock, in milliseconds, instead of the config's. 0: none.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// The program and its arguments.
    #[must_use]
    pub fn get_argv(&self) -> &[OsString] {
        &self.argv
    }

    /// The program.
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        self.argv
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// The environment variables set here.
    #[must_use]
    pub fn get_env(&self) -> &[(OsString, OsString)] {
        &self.env
    }

    /// The directory, if one is set.
    #[must_use]
    pub fn get_cwd(&self) -> Option<&Path> {
        self.cwd.as_deref()
    }

    /// What it reads.
    #[must_use]
    pub fn get_stdin(&self) -> &Stdin {
        &self.stdin
    }

    /// The time limit, if one is set; 0: none.
    #[must_use]
    pub fn get_timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }

    /// The size of its terminal, if it is given one.
    #[must_use]
    pub fn get_pty(&self) -> Option<PtySize> {
        self.pty
    }

    /// Whether standard error is a pipe although there is a terminal.
    #[must_use]
    pub fn is_stderr_apart(&self) -> bool {
        self.stderr_apart
    }

    /// Checks the command, together with the sandbox's own environment, against what can be
    /// started at all. Whether the program exists shows only inside.
    ///
    /// # Errors
    /// [`KavachError::InvalidConfig`] naming the argument, variable or field.
    pub fn validate(&self, base_env: &[(OsString, OsString)]) -> Result<()> {
        if self.get_program().is_empty() {
            return Err(KavachError::invalid(
                "command",
                "the program's name is empty",
                "a program's name or path",
                "name a program, for instance \"echo hello\"",
            ));
        }
        let mut total = 0_usize;
        for (index, arg) in self.argv.iter().enumerate() {
            check_string(&format!("argv[{index}]"), arg)?;
            total = total.saturating_add(arg.len() + 1 + size_of::<usize>());
        }
        check_env("env", &self.env)?;
        for (name, value) in self.env.iter().chain(base_env) {
            total = total.saturating_add(name.len() + value.len() + 2 + size_of::<usize>());
        }
        if total > MAX_TOTAL_BYTES {
            return Err(KavachError::invalid(
                "argv",
                format!("arguments and environment take {total} bytes together"),
                format!("at most {MAX_TOTAL_BYTES} bytes"),
                "pass large data on standard input or in a file",
            ));
        }
        if let Some(cwd) = &self.cwd {
            crate::policy::check_path("cwd", cwd)?;
        }
        if let Stdin::Bytes(bytes) = &self.stdin
            && bytes.len() > MAX_STDIN_BYTES
        {
            return Err(KavachError::invalid(
                "stdin",
                format!("{} bytes", bytes.len()),
                format!("at most {MAX_STDIN_BYTES} bytes in one piece"),
                "spawn the command and write to its standard input",
            ));
        }
        crate::policy::range(
            "timeout_ms",
            self.timeout_ms.unwrap_or(0),
            0,
            crate::policy::MAX_MS,
        )
    }
}

/// Values of variables may be secrets: their names alone are shown.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("argv", &self.argv)
            .field(
                "env",
                &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("cwd", &self.cwd)
            .field("stdin", &self.stdin)
            .field("timeout_ms", &self.timeout_ms)
            .field("pty", &self.pty)
            .field("stderr_apart", &self.stderr_apart)
            .finish()
    }
}

/// What `exec` and `spawn` take: a [`Command`], or text that is split into words.
pub trait IntoCommand {
    /// The command.
    ///
    /// # Errors
    /// [`KavachError::CommandSyntax`] where text cannot be split.
    fn into_command(self) -> Result<Command>;
}

impl IntoCommand for Command {
    fn into_command(self) -> Result<Command> {
        Ok(self)
    }
}

impl IntoCommand for &Command {
    fn into_command(self) -> Result<Command> {
        Ok(self.clone())
    }
}

impl IntoCommand for &str {
    fn into_command(self) -> Result<Command> {
        let mut words = split_words(self)?.into_iter();
        let Some(program) = words.next() else {
            return Err(KavachError::CommandSyntax {
                position: 0,
                problem: "no words in it",
            });
        };
        Ok(Command::new(program).args(words))
    }
}

impl IntoCommand for &String {
    fn into_command(self) -> Result<Command> {
        self.as_str().into_command()
    }
}

impl IntoCommand for String {
    fn into_command(self) -> Result<Command> {
        self.as_str().into_command()
    }
}

/// Sets `name` in `env`, in its old place where it is there already.
pub(crate) fn set_env(env: &mut Vec<(OsString, OsString)>, name: OsString, value: OsString) {
    match env.iter_mut().find(|(known, _)| *known == name) {
        Some(slot) => slot.1 = value,
        None => env.push((name, value)),
    }
}

/// Whether an environment variable can have this name.
pub(crate) fn is_env_name(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    !bytes.is_empty() && !bytes.iter().any(|b| matches!(b, b'=' | 0))
}

/// Checks names and values of environment variables.
pub(crate) fn check_env(field: &str, env: &[(OsString, OsString)]) -> Result<()> {
    for (name, value) in env {
        let shown = crate::names::shown(&name.to_string_lossy());
        if !is_env_name(name) {
            return Err(KavachError::invalid(
                field,
                format!("the name {shown:?} is empty, or has `=` or a NUL in it"),
                "a name without `=` and NUL",
                "write NAME=VALUE",
            ));
        }
        check_string(&format!("{field}.{shown}"), name)?;
        check_string(&format!("{field}.{shown}"), value)?;
        if name.len() + value.len() + 2 > MAX_STRING_BYTES {
            return Err(too_long(
                format!("{field}.{shown}"),
                name.len() + value.len(),
            ));
        }
    }
    Ok(())
}

/// Checks a string that goes to `execve(2)`.
fn check_string(field: &str, text: &OsStr) -> Result<()> {
    if text.as_encoded_bytes().contains(&0) {
        return Err(KavachError::invalid(
            field,
            "a NUL in it",
            "text without NUL bytes",
            "pass binary data on standard input",
        ));
    }
    if text.len() >= MAX_STRING_BYTES {
        return Err(too_long(field.to_owned(), text.len()));
    }
    Ok(())
}

fn too_long(field: String, bytes: usize) -> KavachError {
    KavachError::invalid(
        field,
        format!("{bytes} bytes"),
        format!("less than {MAX_STRING_BYTES} bytes"),
        "pass large data on standard input or in a file",
    )
}

#[cfg(test)]
mod tests;
