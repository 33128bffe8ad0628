//! What a guest with a terminal of its own may send to the user's: what draws on the screen.
//!
//! An editor moves the cursor, erases, scrolls and uses the other screen; that passes. What
//! reaches past the screen does not: the clipboard (OSC 52), links that show one address and open
//! another (OSC 8), titles, printing, the scrollback, keyboard protocols, and questions whose
//! answers the terminal *types*, where the guest chose a part of the answer. It is an allowlist:
//! a sequence that is not known here is left out, without a sign, for a sign would tear the
//! screen. What passes is written anew from what was understood, so a sequence is never cut, and
//! nothing is smuggled past in a form that a terminal reads otherwise.
//!
//! What the guest has set is kept, so that it can be undone whenever the guest ends: the terminal
//! is not left on the other screen, without a cursor, or typing mouse reports.
//!
//! Not stopped: a guest that draws whatever it likes, also something that looks like a shell's
//! prompt, or like kavach's own words. The questions for the cursor's place and the terminal's
//! kind pass (`CSI 6 n`, `CSI c`), because line editors need them; of their answers
//! the guest chose two numbers at most, where the cursor is.

mod modes;
mod sequence;

use crate::decoder::Decoder;
use modes::Modes;
use sequence::{Csi, escape};

/// Longest sequence, in bytes of parameters.
const LONGEST: usize = 128;

/// The filter, and what the guest has set so far.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    decoder: Decoder,
    state: State,
    /// Something of a string has come.
    command_begun: bool,
    modes: Modes,
}

/// The states of a terminal's parser, as far as they matter here (ECMA-48, and
/// <https://vt100.net/emu/dec_ansi_parser>).
#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// After `ESC` and these intermediate characters.
    Escape(String),
    /// After `ESC [` and these parameters and intermediates.
    Csi(String),
    /// A sequence that is too long, or has no form.
    Ignored,
    /// A string for the terminal: until BEL or ST.
    Command,
    /// A string for a device or an application: until ST.
    Device,
    /// A colour of the palette: this many characters.
    Palette(u8),
}

impl Screen {
    /// What of `input` passes. Linear in the input; at most [`LONGEST`] bytes are held back.
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut String) {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.feed(input, |text| {
            for c in text.chars() {
                self.character(c, out);
            }
        });
        self.decoder = decoder;
    }

    /// The end of the stream: undoes what was set.
    pub(crate) fn finish(&mut self, out: &mut String) {
        let cut = self.decoder.finish();
        if cut && matches!(self.state, State::Text) {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        out.push_str(&self.modes.undo());
        *self = Self::default();
    }

    /// What puts the terminal into the state that the guest found it in, for a while.
    pub(crate) fn undo(&self) -> String {
        self.modes.undo()
    }

    /// What puts it back after [`Screen::undo`].
    pub(crate) fn redo(&self) -> String {
        self.modes.redo()
    }

    fn character(&mut self, c: char, out: &mut String) {
        // In every state; a string ends so, too.
        match c {
            '\x1b' => {
                self.state = State::Escape(String::new());
                return;
            }
            // Cancel and substitute: the sequence is over.
            '\x18' | '\x1a' => {
                self.state = State::Text;
                return;
            }
            _ => {}
        }
        match &mut self.state {
            // The Linux console's palette has a length instead of an end (`console_codes(4)`).
            State::Command if c == 'P' && !self.command_begun => self.state = State::Palette(7),
            State::Command if c == 'R' && !self.command_begun => self.state = State::Text,
            State::Palette(left) => {
                *left -= 1;
                if *left == 0 {
                    self.state = State::Text;
                }
            }
            State::Command | State::Device => {
                self.command_begun = true;
                let bell = c == '\x07' && matches!(self.state, State::Command);
                if bell || c == '\u{9c}' {
                    self.state = State::Text;
                }
            }
            // A terminal obeys a control character in the middle of a sequence.
            _ if c.is_ascii_control() => self.modes.control(c, out),
            State::Text => match c {
                // The second control set; and what reorders what is read.
                '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
                c => out.push(c),
            },
            State::Escape(intermediates) => match c {
                '[' if intermediates.is_empty() => self.state = State::Csi(String::new()),
                ']' if intermediates.is_empty() => {
                    self.state = State::Command;
                    self.command_begun = false;
                }
                // `k` is a title, to screen(1) and tmux(1).
                'P' | 'X' | '^' | '_' | 'k' if intermediates.is_empty() => {
                    self.state = State::Device;
                }
                ' '..='/' if intermediates.len() < 2 => intermediates.push(c),
                ' '..='/' => self.state = State::Ignored,
                '0'..='~' => {
                    if escape(intermediates, c) {
                        self.modes.escape(intermediates, c, out);
                    }
                    self.state = State::Text;
                }
                _ => self.state = State::Text,
            },
            State::Csi(inside) => match c {
                ' '..='?' if inside.len() < LONGEST => inside.push(c),
                ' '..='?' => self.state = State::Ignored,
                '@'..='~' => {
                    if let Some(csi) = Csi::read(inside, c) {
                        self.modes.csi(&csi, out);
                    }
                    self.state = State::Text;
                }
                _ => self.state = State::Text,
            },
            State::Ignored => {
                if !(' '..='?').contains(&c) {
                    self.state = State::Text;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
