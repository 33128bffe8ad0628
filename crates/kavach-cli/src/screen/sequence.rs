//! Which sequences pass.

/// A control sequence that passes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Csi {
    /// `?`, `>` or nothing.
    pub(super) private: Option<char>,
    /// Parameters; `None`: left out. For colours with their subparameters as one text.
    pub(super) numbers: Vec<Option<u16>>,
    /// What stands between `ESC [` and the last character, checked.
    pub(super) inside: String,
    pub(super) last: char,
}

/// DEC's private modes that may be set: keys for editors, the cursor, wrapping, the other screen,
/// the mouse, focus, pasting, and drawing at one stroke. Not the one of 132 columns, which clears
/// the screen, nor those that no terminal can be relied upon to undo.
pub(super) const PRIVATE_MODES: [u16; 18] = [
    1, 5, 6, 7, 12, 25, 47, 66, 1000, 1002, 1003, 1004, 1006, 1047, 1048, 1049, 2004, 2026,
];
/// Inserting instead of overwriting. Not 2, which locks the keyboard.
pub(super) const INSERT: u16 = 4;

impl Csi {
    /// Understands a sequence; nothing where it does not pass.
    pub(super) fn read(inside: &str, last: char) -> Option<Self> {
        let private = inside.chars().next().filter(|c| ('<'..='?').contains(c));
        let rest = inside.get(private.map_or(0, char::len_utf8)..)?;
        let parameters = rest.trim_end_matches(|c| (' '..='/').contains(&c));
        let intermediates = rest.get(parameters.len()..)?;
        let colours = last == 'm' && private.is_none() && intermediates.is_empty();
        let numbers = match colours {
            // Each by itself is a number, or several with colons between.
            true => {
                let number = |c: char| c.is_ascii_digit() || c == ';' || c == ':';
                parameters.chars().all(number).then(Vec::new)?
            }
            false => numbers(parameters)?,
        };
        let csi = Self {
            private,
            numbers,
            inside: inside.to_owned(),
            last,
        };
        csi.passes(intermediates).then_some(csi)
    }

    fn passes(&self, intermediates: &str) -> bool {
        let first = self.numbers.first().copied().flatten();
        let count = self.numbers.len();
        match (self.private, intermediates, self.last) {
            // Moving the cursor, inserting, deleting, repeating.
            (None, "", '@'..='I' | 'K'..='M' | 'P' | 'X' | 'Z' | '`' | 'a' | 'b' | 'd' | 'e') => {
                count <= 2
            }
            (None, "", 'f' | 'r') => count <= 2,
            (None, "", 'g') => count <= 1,
            // Erasing the screen, but not what has left it.
            (None, "", 'J') => count <= 1 && first != Some(3),
            // Scrolling; with more parameters this is the mouse's.
            (None, "", 'S' | 'T') => count <= 1,
            (None, "", 's' | 'u') => count == 0,
            (None, "", 'm') => true,
            (None, "", 'h' | 'l') => self.numbers == [Some(INSERT)],
            (Some('?'), "", 'h' | 'l') => {
                let known = |n: &Option<u16>| n.is_some_and(|n| PRIVATE_MODES.contains(&n));
                count > 0 && self.numbers.iter().all(known)
            }
            // Questions: where is the cursor, is all well, what are you.
            (None, "", 'n') => matches!(self.numbers.as_slice(), [Some(5 | 6)]),
            (None | Some('>'), "", 'c') => matches!(self.numbers.as_slice(), [] | [Some(0)]),
            // The cursor's shape; a soft reset.
            (None, " ", 'q') => count <= 1,
            (None, "!", 'p') => count == 0,
            _ => false,
        }
    }
}

fn numbers(parameters: &str) -> Option<Vec<Option<u16>>> {
    if parameters.is_empty() {
        return Some(Vec::new());
    }
    parameters
        .split(';')
        .map(|number| match number {
            "" => Some(None),
            // Signs are none of a terminal's.
            number if number.bytes().all(|b| b.is_ascii_digit()) => number.parse().ok().map(Some),
            _ => None,
        })
        .collect()
}

/// Whether an escape sequence of this last character passes.
pub(super) fn escape(intermediates: &str, last: char) -> bool {
    match intermediates {
        // Save and restore the cursor, keypad, lines up and down, tabulators.
        "" => matches!(last, '7' | '8' | '=' | '>' | 'D' | 'E' | 'H' | 'M'),
        // Character sets: ASCII, and lines for drawing.
        "(" | ")" => matches!(last, 'B' | '0'),
        // UTF-8, which it is already.
        "%" => last == 'G',
        _ => false,
    }
}
