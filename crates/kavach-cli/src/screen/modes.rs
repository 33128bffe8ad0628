//! What a guest has set, and how it is undone.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::sequence::{Csi, INSERT};

/// Private modes that are on to begin with: wrapping, and a visible cursor.
const ON: [u16; 2] = [7, 25];
/// Private modes that say what is done once, or whose beginning nobody knows: blinking, saving
/// the cursor.
const NOT_KEPT: [u16; 2] = [12, 1048];
/// Private modes of the other screen.
const OTHER_SCREEN: [u16; 3] = [47, 1047, 1049];

/// The state of a terminal that differs from the one it is in between programs.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// Private modes that are not as they were.
    changed: BTreeSet<u16>,
    insert: bool,
    keypad: bool,
    /// Only a part of the screen scrolls: its parameters.
    region: Option<String>,
    /// The cursor's shape.
    shape: Option<String>,
    /// Colours or styles are on.
    coloured: bool,
    /// The two sets of characters are lines for drawing, and the second one is in use.
    lines: [bool; 2],
    shifted: bool,
}

impl Modes {
    /// A control character: obeyed where it moves the cursor, rings, or shifts character sets.
    pub(super) fn control(&mut self, c: char, out: &mut String) {
        match c {
            '\x07'..='\x0d' => {}
            '\x0e' => self.shifted = true,
            '\x0f' => self.shifted = false,
            _ => return,
        }
        out.push(c);
    }

    /// An escape sequence that passes.
    pub(super) fn escape(&mut self, intermediates: &str, last: char, out: &mut String) {
        match (intermediates, last) {
            ("", '=') => self.keypad = true,
            ("", '>') => self.keypad = false,
            ("(", set) => self.lines[0] = set == '0',
            (")", set) => self.lines[1] = set == '0',
            _ => {}
        }
        let _ = write!(out, "\x1b{intermediates}{last}");
    }

    /// A control sequence that passes.
    pub(super) fn csi(&mut self, csi: &Csi, out: &mut String) {
        let on = csi.last == 'h';
        match (csi.private, csi.last) {
            (Some('?'), 'h' | 'l') => {
                for mode in csi.numbers.iter().copied().flatten() {
                    if NOT_KEPT.contains(&mode) {
                        continue;
                    }
                    if on == ON.contains(&mode) {
                        self.changed.remove(&mode);
                    } else {
                        self.changed.insert(mode);
                    }
                }
            }
            (None, 'h' | 'l') => self.insert = on,
            (None, 'm') => {
                let reset = csi.inside.bytes().all(|b| b == b'0' || b == b';');
                self.coloured = !reset;
            }
            (None, 'r') => self.region = (!csi.numbers.is_empty()).then(|| csi.inside.clone()),
            (None, 'q') => {
                let own = matches!(csi.numbers.as_slice(), [] | [None | Some(0)]);
                self.shape = (!own).then(|| csi.inside.clone());
            }
            _ => {}
        }
        let _ = write!(out, "\x1b[{}{}", csi.inside, csi.last);
    }

    /// What undoes all of it.
    pub(super) fn undo(&self) -> String {
        let mut out = String::new();
        let (screens, others): (Vec<u16>, Vec<u16>) = self
            .changed
            .iter()
            .partition(|mode| OTHER_SCREEN.contains(mode));
        for mode in others {
            switch(mode, ON.contains(&mode), &mut out);
        }
        if self.insert {
            let _ = write!(out, "\x1b[{INSERT}l");
        }
        if self.keypad {
            out.push_str("\x1b>");
        }
        if self.region.is_some() {
            // Setting it moves the cursor.
            out.push_str("\x1b7\x1b[r\x1b8");
        }
        for (set, lines) in ["\x1b(B", "\x1b)B"].into_iter().zip(self.lines) {
            if lines {
                out.push_str(set);
            }
        }
        if self.shifted {
            out.push('\x0f');
        }
        if self.shape.is_some() {
            out.push_str("\x1b[0 q");
        }
        if self.coloured {
            out.push_str("\x1b[0m");
        }
        // Last: the cursor goes back to where it was on the first screen.
        for mode in screens {
            switch(mode, false, &mut out);
        }
        out
    }

    /// What sets it again, as far as the program does not draw anew.
    pub(super) fn redo(&self) -> String {
        let mut out = String::new();
        for mode in self.changed.iter().rev().copied() {
            switch(mode, !ON.contains(&mode), &mut out);
        }
        if self.insert {
            let _ = write!(out, "\x1b[{INSERT}h");
        }
        if self.keypad {
            out.push_str("\x1b=");
        }
        if let Some(region) = &self.region {
            let _ = write!(out, "\x1b7\x1b[{region}r\x1b8");
        }
        if let Some(shape) = &self.shape {
            let _ = write!(out, "\x1b[{shape}q");
        }
        out
    }
}

fn switch(mode: u16, on: bool, out: &mut String) {
    let _ = write!(out, "\x1b[?{mode}{}", if on { 'h' } else { 'l' });
}
