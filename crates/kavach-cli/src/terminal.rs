//! What a guest without a terminal of its own may send to the user's: text and colours, nothing
//! else. [`screen`](crate::screen) is for one that has.
//!
//! A terminal obeys its input. Escape sequences set the clipboard (OSC 52), make links that show
//! one address and open another (OSC 8), change the title, ask questions whose answers the
//! terminal *types* into the next shell, and move the cursor over what others wrote. Of a guest's
//! bytes only these pass: text in UTF-8, newline, tab, carriage return, backspace, and colours
//! and styles (`ESC [ numbers m`). Everything else is shown as a visible sign. Bidirectional
//! embeddings, overrides and isolates are shown too: they reorder what is read.
//!
//! Not stopped: a guest that writes whatever text it likes, in any colour, also the background's.
//! The terminal is taken to be one of UTF-8.

use crate::decoder::Decoder;

/// Longest colour sequence, in bytes between `[` and `m`.
const LONGEST_COLOUR: usize = 64;

/// Where a stream stands between two chunks.
#[derive(Debug, Default)]
pub(crate) struct Neutraliser {
    decoder: Decoder,
    state: State,
    /// A colour was set and not reset.
    coloured: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// After `ESC`.
    Escape,
    /// After `ESC [` and these parameters.
    Colour(String),
}

impl Neutraliser {
    /// What of `input` can be shown already. Linear in the input; at most 64 bytes are held back.
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut String) {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.feed(input, |text| {
            for c in text.chars() {
                self.character(c, out);
            }
        });
        self.decoder = decoder;
    }

    /// The end of the stream: what was held back, and the terminal's own colours again.
    pub(crate) fn finish(&mut self, out: &mut String) {
        self.abandon(out);
        if self.decoder.finish() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        if self.coloured {
            self.coloured = false;
            out.push_str("\x1b[0m");
        }
    }

    fn character(&mut self, c: char, out: &mut String) {
        match (&mut self.state, c) {
            (State::Text, '\x1b') => self.state = State::Escape,
            (State::Text, c) => show(c, out),
            (State::Escape, '[') => self.state = State::Colour(String::new()),
            (State::Colour(numbers), '0'..='9' | ';' | ':') if numbers.len() < LONGEST_COLOUR => {
                numbers.push(c);
            }
            (State::Colour(numbers), 'm') => {
                out.push_str("\x1b[");
                out.push_str(numbers);
                out.push('m');
                self.coloured = !numbers.bytes().all(|b| b == b'0' || b == b';');
                self.state = State::Text;
            }
            (State::Escape | State::Colour(_), c) => {
                self.abandon(out);
                self.character(c, out);
            }
        }
    }

    /// Shows a sequence that did not become a colour.
    fn abandon(&mut self, out: &mut String) {
        match std::mem::take(&mut self.state) {
            State::Text => {}
            State::Escape => out.push('\u{241b}'),
            State::Colour(numbers) => {
                out.push_str("\u{241b}[");
                out.push_str(&numbers);
            }
        }
    }
}

/// A character as it may stand on a terminal.
fn show(c: char, out: &mut String) {
    match c {
        '\n' | '\t' | '\r' | '\x08' => out.push(c),
        // Control pictures: U+2400 and on, in the order of the controls.
        '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
        '\x7f' => out.push('\u{2421}'),
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            out.push_str(&format!("<U+{:04X}>", u32::from(c)));
        }
        c => out.push(c),
    }
}

/// Text of kavach's own with names in it that others chose: no sequence passes, lines and tabs
/// do.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\r' | '\x08' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or(' ')),
            c => show(c, &mut out),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(input: &[u8]) -> String {
        let mut out = String::new();
        let mut neutraliser = Neutraliser::default();
        neutraliser.feed(input, &mut out);
        neutraliser.finish(&mut out);
        out
    }

    #[test]
    fn text_lines_and_colours_pass() {
        for text in [
            "plain\tnaïve 日本\r\n",
            "\x1b[1;31mred\x1b[0m",
            "\x1b[38;2;1;2;3mx\x1b[m",
            "\x1b[4:3mx\x1b[0;0m",
            "50%\x08\x08\x0860%",
        ] {
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn colours_end_with_the_stream() {
        assert_eq!(shown(b"\x1b[31mred"), "\x1b[31mred\x1b[0m");
        assert_eq!(shown(b"\x1b[100mx"), "\x1b[100mx\x1b[0m");
    }

    #[test]
    fn sequences_that_act_on_the_terminal_are_shown() {
        for (name, input, expected) in [
            ("clipboard", "\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
            ("link", "\x1b]8;;http://a\x1b\\b", "␛]8;;http://a␛\\b"),
            ("title", "\x1b]0;t\x07", "␛]0;t␇"),
            ("device query", "\x1b[c", "␛[c"),
            ("cursor query", "\x1b[6n", "␛[6n"),
            ("erase", "\x1b[2J", "␛[2J"),
            ("cursor up", "\x1b[1A", "␛[1A"),
            ("key mode", "\x1b[>4;2m", "␛[>4;2m"),
            ("private mode", "\x1b[?1049h", "␛[?1049h"),
            ("reset", "\x1bc", "␛c"),
            ("device string", "\x1bP+q544e\x1b\\", "␛P+q544e␛\\"),
            ("doubled escape", "\x1b\x1b[2J", "␛␛[2J"),
            ("C1 control", "\u{9b}2J", "<U+009B>2J"),
            ("override", "a\u{202e}b", "a<U+202E>b"),
            ("charset", "\x0e", "␎"),
            ("delete", "\x7f", "␡"),
            ("cut short", "\x1b[3", "␛[3"),
            ("enquiry", "\x05", "␅"),
        ] {
            assert_eq!(shown(input.as_bytes()), expected, "{name}");
        }
        assert_eq!(shown(b"a\x9b2Jb\xff"), "a\u{fffd}2Jb\u{fffd}");
        assert_eq!(shown(b"\xe6\x97"), "\u{fffd}");
    }

    #[test]
    fn a_colour_of_endless_length_is_not_held_back() {
        let long = format!("\x1b[{}m", "1;".repeat(10_000));
        assert!(shown(long.as_bytes()).starts_with("␛[1;1;"));
    }

    #[test]
    fn plain_text_carries_no_sequence_at_all() {
        assert_eq!(plain("a\x1b[31mb\rc\nd"), "a␛[31mb␍c\nd");
    }

    /// Whether every ESC begins a colour and no other control is left.
    fn harmless(text: &str) -> bool {
        let mut rest = text;
        while let Some(at) = rest.find('\x1b') {
            let Some(sequence) = rest[at..].strip_prefix("\x1b[") else {
                return false;
            };
            let end = sequence.trim_start_matches(|c: char| c.is_ascii_digit() || ";:".contains(c));
            let Some(after) = end.strip_prefix('m') else {
                return false;
            };
            rest = after;
        }
        text.chars()
            .all(|c| !c.is_control() || "\n\t\r\x08\x1b".contains(c))
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<Vec<u8>>(),
            "\\PC*".prop_map(String::into_bytes),
            "(\x1b|\\[|[0-9;:]|m|\u{9b}|\u{202e}|\\]|\x07)*".prop_map(String::into_bytes),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_but_text_and_colours_comes_out(input in hostile()) {
            let out = shown(&input);
            prop_assert!(harmless(&out), "{out:?}");
            prop_assert!(out.len() <= input.len() * 8 + 8);
        }

        #[test]
        fn where_the_chunks_are_cut_changes_nothing(
            input in hostile(),
            cuts in prop::collection::vec(0usize..64, 0..64),
        ) {
            let mut out = String::new();
            let mut neutraliser = Neutraliser::default();
            let mut rest = input.as_slice();
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                neutraliser.feed(now, &mut out);
                rest = later;
            }
            neutraliser.feed(rest, &mut out);
            neutraliser.finish(&mut out);
            prop_assert_eq!(out, shown(&input));
        }
    }
}
