//! Every JSON document that the command prints: one place, so that no shape changes unseen.
//!
//! The types here belong to the command, not to the library: a field that the library gains or
//! renames does not change a document. Each document begins with `schema`, its name and version
//! (`kavach.exec/1`), and has a JSON Schema under docs/schemas, written by this module's tests and
//! pinned by them. Within a version, keys are only ever added; what removes a key or changes its
//! meaning raises the number.

mod documents;
mod escape;
mod host;
mod parts;
mod policy;
#[cfg(test)]
mod schema;
mod verify;
mod workspace;

use serde::Serialize;

pub(crate) use self::documents::{Changes, Completions, Exec, Failure, Man, Page};
use self::escape::escaped;
pub(crate) use self::host::{
    Backends, Check, CheckStatus, Doctor, Gc, Score, ScoreHere, Scored, Tried,
};
pub(crate) use self::parts::{BackendRow, BackendStatus, Leftover, Problem, Row};
pub(crate) use self::policy::{PolicyCheck, PolicyDiff, PolicyExplain, Relation};
pub(crate) use self::verify::Verify;
use crate::error::{CliError, Result};
use crate::output;

/// Prints one document and a newline.
pub(crate) fn print(document: &impl Serialize) -> Result<()> {
    output::line(&text(document)?)
}

/// One document, without a newline.
pub(crate) fn text(document: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| CliError::io("write JSON")(error.into()))?;
    Ok(escaped(&text))
}

/// Prints a document that is JSON already, and a newline.
pub(crate) fn print_text(json: &str) -> Result<()> {
    output::line(&escaped(json))
}
