//! What a terminal understands, by the parser of a real one.

use std::collections::BTreeSet;

use vte::{Params, Parser, Perform};

/// What came out of a filter, as a terminal sees it. Panics at what no filter may pass.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Whether cursor movements, modes and questions may pass, or colours alone.
    screen: bool,
    /// Private modes that are not what they are between programs.
    changed: BTreeSet<u16>,
    insert: bool,
    keypad: bool,
    region: bool,
    shape: bool,
    coloured: bool,
    sets: [bool; 2],
    shifted: bool,
}

/// Reads `output` as a terminal does.
#[track_caller]
pub(super) fn understand(output: &str, screen: bool) -> Seen {
    let mut seen = Seen {
        screen,
        ..Seen::default()
    };
    let mut parser = Parser::new();
    parser.advance(&mut seen, output.as_bytes());
    // A sequence that is cut off would swallow what comes next: this must be seen.
    let mut next = Next::default();
    parser.advance(&mut next, b"k");
    assert_eq!(next.0, "k", "{output:?} leaves a sequence open");
    seen
}

#[derive(Default)]
struct Next(String);

impl Perform for Next {
    fn print(&mut self, c: char) {
        self.0.push(c);
    }
}

impl Seen {
    /// Fails where something is still set.
    pub(super) fn assert_clean(&self) {
        let clean = Seen {
            screen: self.screen,
            ..Seen::default()
        };
        assert_eq!(format!("{self:?}"), format!("{clean:?}"));
    }
}

impl Perform for Seen {
    fn print(&mut self, c: char) {
        assert!(!crate::text::is_dangerous(c), "{c:?}");
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' | b'\t' | b'\r' | 0x08 => {}
            0x07 | 0x0b | 0x0c if self.screen => {}
            0x0e | 0x0f if self.screen => self.shifted = byte == 0x0e,
            other => panic!("control character {other:#x}"),
        }
    }

    fn hook(&mut self, _: &Params, _: &[u8], _: bool, action: char) {
        panic!("a string for a device: {action:?}");
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _: bool) {
        panic!("a command for the terminal: {params:?}");
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], ignore: bool, byte: u8) {
        assert!(self.screen && !ignore, "ESC {intermediates:?} {byte:#x}");
        match (intermediates, byte) {
            ([], b'7' | b'8' | b'D' | b'E' | b'H' | b'M') => {}
            ([], b'=') => self.keypad = true,
            ([], b'>') => self.keypad = false,
            ([b'('], b'B' | b'0') => self.sets[0] = byte == b'0',
            ([b')'], b'B' | b'0') => self.sets[1] = byte == b'0',
            ([b'%'], b'G') => {}
            other => panic!("ESC {other:?}"),
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        // A parameter and its subparameters, of which colours alone have any.
        let lists: Vec<&[u16]> = params.iter().collect();
        let numbers: Vec<u16> = lists.iter().map(|list| list[0]).collect();
        if (intermediates, action) == (&[], 'm') {
            self.coloured = ignore || lists.iter().any(|list| list.iter().any(|n| *n != 0));
            return;
        }
        assert!(self.screen, "CSI {numbers:?} {intermediates:?} {action:?}");
        assert!(lists.iter().all(|list| list.len() == 1), "{lists:?}");
        let first = numbers[0];
        match (intermediates, action) {
            (b"?", 'h' | 'l') => {
                for mode in numbers {
                    match mode {
                        12 | 1048 => {}
                        // On between programs.
                        7 | 25 => self.change(mode, action == 'l'),
                        1 | 5 | 6 | 47 | 66 | 1000 | 1002 | 1003 | 1004 | 1006 | 1047 | 1049
                        | 2004 | 2026 => self.change(mode, action == 'h'),
                        other => panic!("private mode {other}"),
                    }
                }
            }
            // More than a terminal takes count as none: only modes come in any number.
            _ if ignore => panic!("{numbers:?} {action:?}"),
            ([], '@'..='I' | 'K'..='M' | 'P' | 'X' | 'Z' | '`' | 'a' | 'b' | 'd' | 'e' | 'f')
            | ([], 's' | 'u') => {
                assert!(numbers.len() <= 2);
            }
            ([], 'g' | 'S' | 'T') => assert_eq!(numbers.len(), 1),
            ([], 'J') => assert!(first <= 2 || first > 3, "the scrollback"),
            ([], 'r') => self.region = numbers != [0],
            ([], 'h' | 'l') => {
                assert_eq!(numbers, [4]);
                self.insert = action == 'h';
            }
            ([], 'n') => assert!(numbers == [5] || numbers == [6]),
            ([] | b">", 'c') => assert_eq!(numbers, [0]),
            (b" ", 'q') => {
                assert_eq!(numbers.len(), 1);
                self.shape = first != 0;
            }
            (b"!", 'p') => assert_eq!(numbers, [0]),
            other => panic!("CSI {other:?} {numbers:?}"),
        }
    }
}

impl Seen {
    fn change(&mut self, mode: u16, changed: bool) {
        if changed {
            self.changed.insert(mode);
        } else {
            self.changed.remove(&mode);
        }
    }
}
