//! Every JSON document that the command prints: one place, so that no shape changes unseen.
//!
//! The types here belong to the command, not to the library: a field that the library gains or
//! renames does not change a document. Each document begins with `schema`, its name and version
//! (`kavach.exec/1`), and has a JSON Schema under docs/schemas, written by this module's tests and
//! pinned by them. Within a version, keys are only ever added; what removes a key or changes its
//! meaning raises the number.

mod documents;
mod host;
mod parts;
mod policy;
#[cfg(test)]
mod schema;
mod verify;
mod workspace;

use serde::Serialize;

pub(crate) use self::documents::{Changes, Completions, Exec, Failure, Man, Page};
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

/// serde_json escapes what is below U+0020 and leaves the rest as it is, also C1 controls and
/// bidirectional overrides. They occur inside strings alone, where an escape means the same, and
/// a terminal does not act on an escape.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\x7f'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_and_means_the_same() {
        let value = "a\u{9b}\x1b\x7f\u{202e}b";
        let text = escaped(&serde_json::to_string(value).unwrap());
        assert_eq!(text, r#""a\u009b\u001b\u007f\u202eb""#);
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }
}
