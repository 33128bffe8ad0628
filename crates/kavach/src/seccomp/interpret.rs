//! Runs a program as the kernel would, strictly: what the kernel's checker
//! refuses is an error here too.

use super::profile::SyscallData;
use super::program::{Program, code};

/// Why a program did not come to an end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Ran past the last instruction.
    PastEnd,
    /// Loaded outside of the data or not word-aligned.
    BadLoad(u32),
    /// An operation that the compiler does not use.
    BadCode(u16),
}

/// The returned value and the number of instructions that ran.
pub(super) fn run(program: &Program, data: &SyscallData) -> Result<(u32, usize), Fault> {
    let bytes = layout(data);
    let (mut at, mut accumulator, mut steps) = (0_usize, 0_u32, 0_usize);
    loop {
        let i = program.instructions().get(at).ok_or(Fault::PastEnd)?;
        steps += 1;
        at += 1;
        let holds = match i.code {
            code::LOAD => {
                let from = i.k as usize;
                let word = bytes.get(from..from + 4).filter(|_| from.is_multiple_of(4));
                let word = word.ok_or(Fault::BadLoad(i.k))?;
                accumulator = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                continue;
            }
            code::AND => {
                accumulator &= i.k;
                continue;
            }
            code::JUMP => {
                at += i.k as usize;
                continue;
            }
            code::RETURN => return Ok((i.k, steps)),
            code::IF_EQUAL => accumulator == i.k,
            code::IF_AT_LEAST => accumulator >= i.k,
            code::IF_ANY_BIT => accumulator & i.k != 0,
            other => return Err(Fault::BadCode(other)),
        };
        at += usize::from(if holds { i.jt } else { i.jf });
    }
}

/// `struct seccomp_data` on x86_64; the instruction pointer is 0.
fn layout(data: &SyscallData) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0..4].copy_from_slice(&data.nr.to_le_bytes());
    bytes[4..8].copy_from_slice(&data.arch.to_le_bytes());
    for (slot, arg) in bytes[16..].chunks_exact_mut(8).zip(data.args) {
        slot.copy_from_slice(&arg.to_le_bytes());
    }
    bytes
}
