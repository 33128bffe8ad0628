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

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        split_words(text).unwrap()
    }

    fn fault(text: &str) -> (usize, &'static str) {
        match split_words(text) {
            Err(KavachError::CommandSyntax { position, problem }) => (position, problem),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(split("echo hello world"), ["echo", "hello", "world"]);
        assert_eq!(split("  a\tb\nc  "), ["a", "b", "c"]);
        assert_eq!(split(r#"a 'b c' "d e" f\ g"#), ["a", "b c", "d e", "f g"]);
        assert_eq!(split(r#"a"b"'c'd"#), ["abcd"]);
        assert_eq!(split(r#"'' "" x"#), ["", "", "x"]);
        assert_eq!(split(r#""\$ \` \" \\ \n""#), [r#"$ ` " \ \n"#]);
        assert_eq!(split(r"'a\b'"), [r"a\b"]);
        assert_eq!(split("a\\\nb \"c\\\nd\""), ["ab", "cd"]);
        assert_eq!(split("grüß 'ö ß'"), ["grüß", "ö ß"]);
        assert!(split(" \n\t").is_empty());
    }

    #[test]
    fn nothing_is_expanded() {
        assert_eq!(
            split("echo $HOME `id` * ~ | > x # y && z;"),
            [
                "echo", "$HOME", "`id`", "*", "~", "|", ">", "x", "#", "y", "&&", "z;"
            ]
        );
    }

    #[test]
    fn faults_are_named_with_their_place() {
        assert_eq!(fault("echo 'abc"), (5, "an open single quote"));
        assert_eq!(fault("ö \"abc"), (3, "an open double quote"));
        assert_eq!(fault("\"abc\\"), (0, "an open double quote"));
        assert_eq!(fault("a \\"), (2, "a lone backslash at the end"));
        for text in ["a\0", "'a\0'", "\"a\0\"", "\\\0", "\"\\\0\""] {
            assert!(fault(text).1.starts_with("a NUL"), "{text:?}");
        }
    }

    /// Quotes a word so that any shell reads it back.
    fn quote(word: &str) -> String {
        format!("'{}'", word.replace('\'', r"'\''"))
    }

    proptest::proptest! {
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^\0]{0,12}", 0..6)) {
            let text = words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ");
            proptest::prop_assert_eq!(split_words(&text).unwrap(), words);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[ a'\"\\\\\n\0ö]{0,40}") {
            let _ = split_words(&text);
        }
    }

    /// The rules are the shell's: this machine's own says the same of every text of quotes,
    /// backslashes and blanks that it accepts, and refuses what is refused here.
    #[test]
    fn the_shell_itself_agrees() {
        let alphabet = ['a', ' ', '\'', '"', '\\'];
        let mut texts = Vec::new();
        for length in 1..=4_u32 {
            for mut number in 0..5_usize.pow(length) {
                let text: String = (0..length)
                    .map(|_| {
                        let letter = alphabet[number % 5];
                        number /= 5;
                        letter
                    })
                    .collect();
                // A lone backslash at the end is a literal to some shells; here it is a fault.
                if split_words(&text).is_ok() {
                    texts.push(text);
                }
            }
        }
        let script: String = texts
            .iter()
            .map(|text| format!("set -- {text}\nfor w; do printf '<%s>' \"$w\"; done; echo\n"))
            .collect();
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let expected: String = texts
            .iter()
            .map(|text| {
                split(text)
                    .iter()
                    .map(|w| format!("<{w}>"))
                    .collect::<String>()
                    + "\n"
            })
            .collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        assert!(texts.len() > 200);
    }
}
