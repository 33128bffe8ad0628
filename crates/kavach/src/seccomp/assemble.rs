//! Assembling from the end to the start.
//!
//! Classic BPF jumps forward only, and a conditional jump reaches 255
//! instructions. Written backwards, every target already stands when the jump to
//! it is written, equal tails are shared, and a target out of reach is brought
//! near: a return by repeating it, anything else by a long jump.

use std::collections::HashMap;

use super::program::{Instruction, Program, code};

/// A place in the program, counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Label(usize);

/// The longest conditional jump, less the two instructions that bringing both
/// targets near may put in between.
const REACH: usize = u8::MAX as usize - 2;

/// What an instruction is, whatever its place. Two equal ones do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Return {
        k: u32,
    },
    /// Load or mask, then go on at the label.
    Then {
        code: u16,
        k: u32,
        next: Label,
    },
    Branch {
        code: u16,
        k: u32,
        yes: Label,
        no: Label,
    },
}

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    written: HashMap<Step, Label>,
}

impl Assembler {
    /// End with the action `k`.
    pub(super) fn ret(&mut self, k: u32) -> Label {
        self.shared(Step::Return { k }, |this| {
            this.push(Instruction {
                code: code::RETURN,
                jt: 0,
                jf: 0,
                k,
            })
        })
    }

    /// Load from the seccomp data, then `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.then(code::LOAD, offset, next)
    }

    /// Mask the accumulator, then `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.then(code::AND, mask, next)
    }

    /// Test the accumulator against `k`.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        self.shared(Step::Branch { code, k, yes, no }, |this| {
            let (yes, no) = (this.near(yes), this.near(no));
            let (jt, jf) = (this.distance(yes), this.distance(no));
            this.push(Instruction { code, jt, jf, k })
        })
    }

    /// The program that starts at `start`.
    pub(super) fn finish(mut self, start: Label) -> Program {
        self.written.clear();
        self.follow(start);
        self.reversed.reverse();
        Program::new(self.reversed)
    }

    fn then(&mut self, code: u16, k: u32, next: Label) -> Label {
        self.shared(Step::Then { code, k, next }, |this| {
            this.follow(next);
            this.push(Instruction {
                code,
                jt: 0,
                jf: 0,
                k,
            })
        })
    }

    /// The place where this step is written already and within reach, or a new one.
    fn shared(&mut self, step: Step, write: impl FnOnce(&mut Self) -> Label) -> Label {
        match self.written.get(&step) {
            Some(&label) if self.skipped(label) < REACH => label,
            _ => {
                let label = write(self);
                self.written.insert(step, label);
                label
            }
        }
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len() - 1)
    }

    /// How many instructions an instruction written now would have to skip.
    fn skipped(&self, target: Label) -> usize {
        self.reversed.len() - 1 - target.0
    }

    /// Makes what is written next fall through to `target`.
    fn follow(&mut self, target: Label) {
        if self.skipped(target) > 0 {
            self.bridge(target);
        }
    }

    /// `target`, or a stand-in for it that a conditional jump reaches.
    fn near(&mut self, target: Label) -> Label {
        if self.skipped(target) <= REACH {
            target
        } else {
            self.bridge(target)
        }
    }

    /// Writes a stand-in for `target` at the current place.
    fn bridge(&mut self, target: Label) -> Label {
        let stand_in = match self.reversed.get(target.0) {
            Some(end) if end.code == code::RETURN => *end,
            // A program is far shorter than 2^32 instructions.
            _ => Instruction {
                code: code::JUMP,
                jt: 0,
                jf: 0,
                k: self.skipped(target) as u32,
            },
        };
        self.push(stand_in)
    }

    /// A jump distance that `near` has made small.
    fn distance(&self, target: Label) -> u8 {
        debug_assert!(self.skipped(target) <= usize::from(u8::MAX));
        self.skipped(target) as u8
    }
}
