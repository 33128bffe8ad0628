//! Secrets of the command line: where their values come from on the host.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use kavach::KavachError;
use kavach::credential::{CredentialProxy, InjectionMethod, SecretRef};

use crate::error::{CliError, Result};

const ARGUMENT: &str = "--secret";
const HINT: &str = "write --secret NAME=env:VARIABLE or --secret NAME=file:PATH";
/// One more than the library takes, so that it says what is too long.
const MOST_BYTES: u64 = 64 * 1024 + 1;
/// `O_NONBLOCK`: a pipe in place of the file must not block. (`fcntl.h`, x86_64.)
const O_NONBLOCK: i32 = 0o4000;

/// Registers the secrets of `arguments`; each becomes the variable of its name inside.
///
/// Values never stand on the command line, where every user of the host could read them.
pub(crate) fn register(arguments: &[OsString]) -> Result<(CredentialProxy, Vec<SecretRef>)> {
    let mut proxy = CredentialProxy::new();
    let mut references = Vec::new();
    for argument in arguments {
        let (name, source) = split(argument).ok_or_else(|| {
            // The text itself is not repeated: it may be a secret written in the wrong place.
            CliError::argument(ARGUMENT, "not of the form NAME=env:… or NAME=file:…", HINT)
        })?;
        let value = match source {
            Source::Variable(variable) => from_variable(variable)?,
            Source::File(path) => from_file(path)?,
        };
        proxy.register(name, value);
        references.push(SecretRef {
            name: name.to_owned(),
            inject_via: InjectionMethod::EnvVar {
                var_name: name.to_owned(),
            },
        });
    }
    Ok((proxy, references))
}

enum Source<'a> {
    Variable(&'a OsStr),
    File(&'a Path),
}

fn split(argument: &OsStr) -> Option<(&str, Source<'_>)> {
    let bytes = argument.as_bytes();
    let at = bytes.iter().position(|b| *b == b'=')?;
    let name = std::str::from_utf8(bytes.get(..at)?).ok()?;
    let source = bytes.get(at + 1..)?;
    let named = |kind: &str| {
        let value = source.strip_prefix(kind.as_bytes())?;
        (!value.is_empty()).then(|| OsStr::from_bytes(value))
    };
    let source = match (named("env:"), named("file:")) {
        (Some(variable), _) => Source::Variable(variable),
        (None, path) => Source::File(Path::new(path?)),
    };
    (!name.is_empty()).then_some((name, source))
}

fn from_variable(variable: &OsStr) -> Result<Vec<u8>> {
    std::env::var_os(variable)
        .map(OsString::into_vec)
        .ok_or_else(|| {
            CliError::argument(
                ARGUMENT,
                format!("the variable {variable:?} is not set"),
                "set and export it before kavach is started",
            )
        })
}

/// The file's bytes without one newline at the end, as `$(cat file)` gives them: editors add it,
/// and no token has it.
fn from_file(path: &Path) -> Result<Vec<u8>> {
    let missing = |source| {
        CliError::from(KavachError::PathMissing {
            field: ARGUMENT.into(),
            path: path.to_path_buf(),
            source,
        })
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .map_err(missing)?;
    if !file.metadata().map_err(missing)?.is_file() {
        return Err(CliError::argument(
            ARGUMENT,
            format!("{path:?} is not a regular file"),
            "name a file that holds the secret",
        ));
    }
    // Room for all from the start: growing would leave copies of the secret in freed memory.
    let mut value = Vec::with_capacity(usize::try_from(MOST_BYTES + 64).unwrap_or(0));
    file.take(MOST_BYTES)
        .read_to_end(&mut value)
        .map_err(missing)?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_sources_are_taken() {
        for wrong in [
            "",
            "=env:A",
            "A",
            "A=",
            "A=sk-secret",
            "A=env:",
            "A=file:",
            "A=ENV:B",
        ] {
            let Err(error) = register(&[wrong.into()]) else {
                panic!("{wrong}")
            };
            assert!(!error.to_string().contains("sk-secret"));
        }
    }
}
