//! A policy by preset name or file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use kavach::{KavachError, SandboxPolicy};

use crate::error::{CliError, Result};

/// The policy of these presets and files, of several the merge, in which the stricter wins; `None`
/// where none is named.
pub(crate) fn merged(argument: &'static str, names: &[OsString]) -> Result<Option<SandboxPolicy>> {
    let mut merged: Option<SandboxPolicy> = None;
    for name in names {
        let policy = load(argument, name)?;
        merged = Some(match merged {
            Some(before) => before.merge(&policy),
            None => policy,
        });
    }
    Ok(merged)
}

/// Whether a policy of this name is looked for among the files.
pub(crate) fn is_file(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.contains(&b'/') || bytes.contains(&b'.')
}

/// The preset of this name, or the policy of this file.
///
/// What has a `/` or a `.` in it is a file; everything else is a preset's name. So a file that
/// happens to lie in the current directory cannot replace a preset, and a misspelt preset is
/// never looked for among the files.
pub(crate) fn load(argument: &'static str, name: &OsStr) -> Result<SandboxPolicy> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Err(CliError::argument(
            argument,
            "the policy's name is empty",
            "name a preset (minimal, basic, strict) or a file",
        ));
    }
    if is_file(name) {
        // A file that cannot be read is named by its argument; the rest by the field in it.
        let argument = |field: &str| (field == "policy").then_some(argument);
        return SandboxPolicy::load(name)
            .map_err(|error| CliError::from(error).in_arguments(argument));
    }
    let name = name.to_string_lossy();
    SandboxPolicy::from_preset(&name).map_err(|error| match error {
        KavachError::UnknownPreset {
            name,
            nearest: None,
            known,
        } => CliError::argument(
            argument,
            format!("unknown policy preset `{name}`"),
            format!(
                "known: {}; a file is written with a `/` or its ending: ./{name}, {name}.toml",
                known.join(", ")
            ),
        ),
        other => other.into(),
    })
}
