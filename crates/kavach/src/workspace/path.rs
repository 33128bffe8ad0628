//! Names of entries, as the guest chose them: bytes, not text.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Serialize, Serializer};

/// Where an entry is, relative to the workspace: names separated by single slashes, without
/// `.`, `..` and NUL, and never empty. Anything else a guest may put in a name is possible, also
/// newlines and bytes that are no UTF-8.
///
/// As text ([`Display`](fmt::Display), JSON) it is [`escaped`]; [`EntryPath::as_path`] has the
/// bytes. The order is that of the bytes, in which a directory comes before what is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Box<[u8]>);

impl EntryPath {
    /// The path of these bytes; `None` where it is empty, absolute, or holds `.`, `..`, an empty
    /// name or a NUL. Of bytes that come from a person, trim a slash at the end first.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        bytes
            .split(|b| *b == b'/')
            .all(plain)
            .then(|| Self(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The names, from the workspace down. There is at least one.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// The directory and the name in it; the directory is empty for the workspace itself.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        split(&self.0)
    }

    /// The directories above, the nearest first; the workspace itself is not among them.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            rest = split(rest).0;
            (!rest.is_empty()).then_some(rest)
        })
    }
}

/// The part before the last slash, and the one after it.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

impl std::borrow::Borrow<[u8]> for EntryPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(&self.0))
    }
}

impl Serialize for EntryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escaped(&self.0))
    }
}

/// Bytes of a name as text that can be shown and taken back: `\\` is a backslash, and `\xHH` one
/// byte of what is no UTF-8, of control characters, and of characters that change the direction
/// of text or cannot be seen. All else stands for itself.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut utf8 = [0; 4];
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if is_deceptive(c) => escape(c.encode_utf8(&mut utf8).as_bytes(), &mut out),
                c => out.push(c),
            }
        }
        escape(chunk.invalid(), &mut out);
    }
    out
}

fn escape(bytes: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push_str("\\x");
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from(HEX[usize::from(digit)]));
        }
    }
}

/// Whether a character acts on the terminal, or makes one name look like another.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, Arabic letter mark, Hangul fillers, zero width and directions, line
            // and paragraph separators, invisible operators, byte order mark, tags.
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reverse of [`escaped`], as docs/cli.md has it for those who read the JSON.
    fn unescaped(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            rest = match (first, tail) {
                (b'\\', [b'\\', tail @ ..]) => {
                    out.push(b'\\');
                    tail
                }
                (b'\\', [b'x', a, b, tail @ ..]) => {
                    let hex = String::from_utf8(vec![*a, *b]).unwrap();
                    out.push(u8::from_str_radix(&hex, 16).unwrap());
                    tail
                }
                (byte, tail) => {
                    out.push(*byte);
                    tail
                }
            };
        }
        out
    }

    #[test]
    fn names_that_deceive_are_shown_as_what_they_are() {
        let shown = |bytes: &[u8]| EntryPath::new(bytes).unwrap().to_string();
        assert_eq!(shown("größe/日本.txt".as_bytes()), "größe/日本.txt");
        assert_eq!(shown(b"a\nb"), "a\\x0ab");
        assert_eq!(shown(b"a\\x0ab"), "a\\\\x0ab");
        assert_eq!(shown(b"\xff\x1b[2J"), "\\xff\\x1b[2J");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\xe2\\x80\\xaeb");
        assert_eq!(shown("a\u{200b}".as_bytes()), "a\\xe2\\x80\\x8b");
    }

    #[test]
    fn what_is_no_place_below_the_workspace_is_no_path() {
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "a/./b", "..", "a/../b", "a\0b",
        ] {
            assert_eq!(EntryPath::new(bad.as_bytes()), None, "{bad:?}");
        }
        for good in ["a", "a/b", "...", "a/.b", "..a"] {
            assert!(EntryPath::new(good.as_bytes()).is_some(), "{good:?}");
        }
    }

    #[test]
    fn a_path_knows_what_is_above_it() {
        let path = EntryPath::new(b"a/b/c").unwrap();
        assert_eq!(path.split(), (&b"a/b"[..], &b"c"[..]));
        let above: Vec<&[u8]> = path.ancestors().collect();
        assert_eq!(above, [&b"a/b"[..], b"a"]);
        assert_eq!(EntryPath::new(b"a").unwrap().ancestors().count(), 0);
    }

    proptest! {
        #[test]
        fn every_name_can_be_taken_back_from_its_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = escaped(&bytes);
            prop_assert!(!text.chars().any(is_deceptive));
            prop_assert_eq!(unescaped(&text), bytes);
        }
    }
}
