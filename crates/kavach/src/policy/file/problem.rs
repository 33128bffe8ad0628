//! What is wrong with a policy file, and where.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What kind of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// The file cannot be read, is too large, or is no text.
    Unreadable,
    /// It is no TOML, or no JSON; a key stands twice.
    Syntax,
    /// It is of a version that this kavach does not read, or of none.
    Version,
    /// A key that policies do not have, or not there.
    UnknownKey,
    /// A name that is not one of the known.
    UnknownName,
    /// A value of another type than the key takes.
    WrongType,
    /// A value out of its range or form.
    WrongValue,
    /// Two settings that cannot hold together.
    Contradiction,
    /// The file that this one extends cannot be used.
    Extends,
    /// Not wrong, but it makes the sandbox weaker than most, or means nothing.
    Warning,
}

/// A line of the file, with what is meant in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Excerpt {
    /// The line or, of a long one, the part around the mistake. Control characters are escaped.
    pub text: String,
    /// Where the mistake begins in it, in characters from 0.
    pub start: usize,
    /// How many characters it has; at least 1.
    pub length: usize,
}

/// One mistake in a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PolicyProblem {
    /// What kind of mistake it is.
    pub kind: ProblemKind,
    /// The file, as it was named.
    pub source_name: String,
    /// The files that led to it by `extends`, from the one that was asked for.
    pub extended_by: Vec<String>,
    /// The line, from 1; none where the whole file is meant, or a value that no file names.
    pub line: Option<u32>,
    /// The column, from 1, in characters.
    pub column: Option<u32>,
    /// The key, for instance `limits.memory_mb`; empty where none can be named.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What is accepted; may be empty.
    pub required: String,
    /// The known name nearest to an unknown one.
    pub nearest: Option<String>,
    /// What to do; may be empty.
    pub fix: String,
    /// The line, where there is one.
    pub excerpt: Option<Excerpt>,
}

impl PolicyProblem {
    /// A mistake of a whole file.
    pub(crate) fn of_file(
        kind: ProblemKind,
        source_name: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            source_name: crate::names::shown_path(source_name),
            extended_by: Vec::new(),
            line: None,
            column: None,
            key: String::new(),
            problem: problem.into(),
            required: String::new(),
            nearest: None,
            fix: fix.into(),
            excerpt: None,
        }
    }

    /// The same with what is accepted.
    pub(super) fn requiring(mut self, required: impl Into<String>) -> Self {
        self.required = required.into();
        self
    }

    /// The same at a key.
    pub(crate) fn at_key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// The same at these bytes of the file.
    pub(super) fn at(mut self, text: &str, span: Option<Range<usize>>) -> Self {
        let Some(span) = span else {
            return self;
        };
        let (line, column) = position(text, span.start);
        self.line = line;
        self.column = column;
        self.excerpt = excerpt(text, &span);
        self
    }

    /// What to try: the nearest name, or what else is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match &self.nearest {
            Some(nearest) => Some(format!("did you mean `{nearest}`?")),
            None => (!self.fix.is_empty()).then(|| self.fix.clone()),
        }
    }
}

/// `file:line:column: key: what is wrong; required: what is accepted`, without the excerpt.
impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source_name)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)?;
        if !self.required.is_empty() {
            write!(f, "; required: {}", self.required)?;
        }
        if let Some((last, before)) = self.extended_by.split_last() {
            write!(f, " (extended by {last}")?;
            for name in before.iter().rev() {
                write!(f, ", extended by {name}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// A fault in the form of a text: bytes and what the parser says of them.
#[derive(Debug, Clone)]
pub(super) struct Syntax {
    pub(super) span: Range<usize>,
    pub(super) problem: String,
}

impl Syntax {
    /// The parser's own words quote the file's, so they are cut and made harmless.
    pub(super) fn new(span: Range<usize>, message: String) -> Self {
        let line = message.lines().next().unwrap_or_default();
        let mut problem = String::new();
        for c in line.chars().take(300) {
            match c {
                '"' | '\'' | '\\' => problem.push(c),
                c => problem.extend(c.escape_debug()),
            }
        }
        Self { span, problem }
    }
}

/// Line and column, from 1, of a byte; the column counts characters.
fn position(text: &str, byte: usize) -> (Option<u32>, Option<u32>) {
    let Some(before) = text.get(..byte.min(text.len())) else {
        return (None, None);
    };
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    let column = last.chars().count() + 1;
    (u32::try_from(line).ok(), u32::try_from(column).ok())
}

/// How much of a line is shown, and how much of that before the mistake.
const SHOWN: usize = 100;
const BEFORE: usize = 60;

/// The line in which these bytes begin; none for a line without text.
fn excerpt(text: &str, span: &Range<usize>) -> Option<Excerpt> {
    let at = span.start.min(text.len());
    let line_start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(line_start..)?.lines().next().unwrap_or_default();
    if line.trim().is_empty() {
        return None;
    }
    let before = text.get(line_start..at)?.chars().count();
    // Behind the line is the carriage return of a file from Windows, and a mistake may be there.
    let end = span.end.min(line_start + line.len()).max(at);
    let length = text.get(at..end).unwrap_or_default().chars().count();
    let cut = before.saturating_sub(BEFORE);
    let mut out = Excerpt {
        text: String::new(),
        start: 0,
        length: 0,
    };
    if cut > 0 {
        out.text.push('…');
        out.start += 1;
    }
    for (index, c) in line.chars().enumerate().skip(cut).take(SHOWN) {
        let shown = visible(c);
        let width = shown.chars().count();
        if index < before {
            out.start += width;
        } else if index < before + length.max(1) {
            out.length += width;
        }
        out.text.push_str(&shown);
    }
    if line.chars().nth(cut + SHOWN).is_some() {
        out.text.push('…');
    }
    out.length = out.length.max(1);
    Some(out)
}

/// A character as it may stand in an excerpt: what would move or reorder text is escaped.
fn visible(c: char) -> String {
    match c {
        '\t' => " ".into(),
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        assert_eq!(position("a\néb", 5), (Some(2), Some(3)));
        assert_eq!(position("", 9), (Some(1), Some(1)));
    }

    #[test]
    fn an_excerpt_marks_what_is_meant() {
        let text = "x = 1\nkey\t= \"\u{1b}[2J\"\n";
        let at = text.find('"').unwrap();
        let found = excerpt(text, &(at..text.len())).unwrap();
        assert_eq!(found.text, "key = \"\\u{1b}[2J\"");
        assert_eq!((found.start, found.length), (6, 11));
    }

    /// Found by fuzzing: a line ended by `\r\n` is shorter than where its mistake is.
    #[test]
    fn an_excerpt_of_a_windows_line_may_end_with_the_mistake() {
        let text = "x = '\r\ny = 1\r\n";
        let newline = text.find('\n').unwrap();
        let found = excerpt(text, &(newline..newline + 1)).unwrap();
        assert_eq!(
            (found.text.as_str(), found.start, found.length),
            ("x = '", 5, 1)
        );
    }

    #[test]
    fn an_excerpt_of_a_long_line_is_the_part_around_it() {
        let text = format!("{}wrong{}", "a".repeat(5000), "b".repeat(5000));
        let found = excerpt(&text, &(5000..5005)).unwrap();
        assert!(found.text.chars().count() <= SHOWN + 2);
        let marked: String = found
            .text
            .chars()
            .skip(found.start)
            .take(found.length)
            .collect();
        assert_eq!(marked, "wrong");
    }
}
