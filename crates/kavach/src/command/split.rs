//! Splitting text into words as a POSIX shell does, and nothing else a shell does.
//!
//! Own code although crates do this: of the two in wide use, one accepts a backslash at the end
//! as a literal and the other says `None` for every error; neither says where the fault is.

use crate::error::{KavachError, Result};

/// Splits `text` into words by the quoting rules of POSIX.1-2024, XCU 2.2.
///
/// Blanks and newlines part words. A backslash keeps the next character; before a newline both
/// vanish. `'…'` keeps everything; `"…"` keeps everything but a backslash before `$`, `` ` ``,
/// `"`, `\` and newline. Nothing is expanded: `$HOME`, `*`, `~`, `|`, `>` and `#` are plain
/// characters. (A shell would start a comment at `#`; here that would drop arguments in
/// silence, and there is no script to comment.)
///
/// # Errors
/// [`KavachError::CommandSyntax`] with the byte where an open quote starts, where the text ends
/// in a lone backslash, or where a NUL stands.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\0' => return Err(syntax(at, "a NUL, which no argument can hold")),
            '\\' => match chars.next() {
                None => return Err(syntax(at, "a lone backslash at the end")),
                Some((_, '\n')) => {}
                Some((at, '\0')) => return Err(syntax(at, "a NUL, which no argument can hold")),
                Some((_, kept)) => word.get_or_insert_default().push(kept),
            },
            '\'' | '"' => quoted(c, at, &mut chars, word.get_or_insert_default())?,
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads to the closing `quote`; the opening one was at `start`.
fn quoted(
    quote: char,
    start: usize,
    chars: &mut std::str::CharIndices<'_>,
    word: &mut String,
) -> Result<()> {
    while let Some((at, c)) = chars.next() {
        match c {
            '\0' => return Err(syntax(at, "a NUL, which no argument can hold")),
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match chars.next() {
                None => break,
                Some((_, '\n')) => {}
                Some((_, kept @ ('$' | '`' | '"' | '\\'))) => word.push(kept),
                Some((at, '\0')) => return Err(syntax(at, "a NUL, which no argument can hold")),
                Some((_, other)) => word.extend(['\\', other]),
            },
            kept => word.push(kept),
        }
    }
    Err(syntax(
        start,
        if quote == '"' {
            "an open double quote"
        } else {
            "an open single quote"
        },
    ))
}

fn syntax(position: usize, problem: &'static str) -> KavachError {
    KavachError::CommandSyntax { position, problem }
}
