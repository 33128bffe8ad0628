//! A seccomp filter as the kernel takes it: bytes in, checked, interpreted.
//!
//! Written from the kernel's documentation and not from kavach's compiler, of which it shares
//! nothing: `Documentation/networking/filter.rst`, `bpf_check_classic` (net/core/filter.c),
//! `seccomp_check_filter` and `seccomp_run_filters` (kernel/seccomp.c).

/// Most instructions (`BPF_MAXINSNS`).
const MOST: usize = 4096;
/// Words of scratch memory (`BPF_MEMWORDS`).
const SCRATCH: usize = 16;
/// Bytes of `struct seccomp_data`.
const DATA: usize = 64;

/// `SECCOMP_RET_ALLOW`.
pub const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO`; the number is in the low half.
pub const ERRNO: u32 = 0x0005_0000;
/// `SECCOMP_RET_KILL_PROCESS`.
pub const KILL_PROCESS: u32 = 0x8000_0000;

/// A program that the kernel would load.
#[derive(Debug)]
pub struct Filter(Vec<Instruction>);

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    jt: usize,
    jf: usize,
    k: u32,
}

/// What a system call looks like to a filter.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The registers.
    pub args: [u64; 6],
}

impl Call {
    /// `struct seccomp_data` on a little-endian machine.
    fn bytes(&self) -> [u8; DATA] {
        let mut bytes = [0; DATA];
        bytes[..4].copy_from_slice(&self.nr.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.arch.to_le_bytes());
        // The instruction pointer: nothing may depend on it.
        bytes[8..16].copy_from_slice(&0x5555_aaaa_5555_aaaa_u64.to_le_bytes());
        for (at, arg) in self.args.iter().enumerate() {
            bytes[16 + 8 * at..24 + 8 * at].copy_from_slice(&arg.to_le_bytes());
        }
        bytes
    }
}

impl Filter {
    /// Reads an array of `struct sock_filter`, and checks it as the kernel does.
    ///
    /// # Errors
    /// Why the kernel would answer EINVAL.
    pub fn load(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(8) || bytes.len() / 8 > MOST {
            return Err(format!("{} bytes", bytes.len()));
        }
        let instructions: Vec<Instruction> = bytes
            .chunks_exact(8)
            .map(|b| Instruction {
                code: u16::from_le_bytes([b[0], b[1]]),
                jt: usize::from(b[2]),
                jf: usize::from(b[3]),
                k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
            })
            .collect();
        let length = instructions.len();
        for (at, i) in instructions.iter().enumerate() {
            let fine = match i.code {
                // LD|W|ABS: within the data, on a word.
                0x20 => (i.k as usize) < DATA && i.k.is_multiple_of(4),
                // LD and LDX of an immediate or the length; RET of k or A; TAX, TXA; NEG.
                0x00 | 0x01 | 0x80 | 0x81 | 0x06 | 0x16 | 0x07 | 0x87 | 0x84 => true,
                // LD, LDX, ST, STX of scratch memory.
                0x60 | 0x61 | 0x02 | 0x03 => (i.k as usize) < SCRATCH,
                // ADD, SUB, MUL, OR, AND, XOR with k or X; DIV and shifts by X.
                0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x44 | 0x4c | 0x54 | 0x5c | 0xa4
                | 0xac | 0x3c | 0x6c | 0x7c => true,
                0x34 => i.k != 0,
                0x64 | 0x74 => i.k < 32,
                // JA, and the conditional jumps: to an instruction that is there.
                0x05 => (i.k as usize) < length - at - 1,
                0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                    at + i.jt + 1 < length && at + i.jf + 1 < length
                }
                _ => false,
            };
            if !fine {
                return Err(format!("instruction {at} of {length}: {i:?}"));
            }
        }
        match instructions.last().map(|i| i.code) {
            Some(0x06 | 0x16) => Ok(Self(instructions)),
            _ => Err("the last instruction does not return".into()),
        }
    }

    /// What the kernel does with a call: the returned action and number.
    #[must_use]
    pub fn run(&self, call: &Call) -> u32 {
        let data = call.bytes();
        let (mut a, mut x, mut scratch, mut at) = (0_u32, 0_u32, [0_u32; SCRATCH], 0);
        // Jumps go forward only: it ends.
        loop {
            let i = self.0[at];
            at += 1;
            let (k, slot) = (i.k, i.k as usize % SCRATCH);
            // The bit that says X instead of k.
            let operand = if i.code & 0x08 == 0 { k } else { x };
            match i.code {
                0x20 => {
                    let word = &data[k as usize..k as usize + 4];
                    a = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                }
                0x00 => a = k,
                0x01 => x = k,
                0x80 => a = DATA as u32,
                0x81 => x = DATA as u32,
                0x60 => a = scratch[slot],
                0x61 => x = scratch[slot],
                0x02 => scratch[slot] = a,
                0x03 => scratch[slot] = x,
                0x07 => x = a,
                0x87 => a = x,
                0x84 => a = a.wrapping_neg(),
                0x04 | 0x0c => a = a.wrapping_add(operand),
                0x14 | 0x1c => a = a.wrapping_sub(operand),
                0x24 | 0x2c => a = a.wrapping_mul(operand),
                // Division by an X of 0 ends the program with 0, which kills the thread.
                0x34 | 0x3c => match a.checked_div(operand) {
                    Some(quotient) => a = quotient,
                    None => return 0,
                },
                0x44 | 0x4c => a |= operand,
                0x54 | 0x5c => a &= operand,
                0xa4 | 0xac => a ^= operand,
                0x64 | 0x6c => a = a.wrapping_shl(operand),
                0x74 | 0x7c => a = a.wrapping_shr(operand),
                0x05 => at += k as usize,
                0x15 | 0x1d => at += if a == operand { i.jt } else { i.jf },
                0x25 | 0x2d => at += if a > operand { i.jt } else { i.jf },
                0x35 | 0x3d => at += if a >= operand { i.jt } else { i.jf },
                0x45 | 0x4d => at += if a & operand != 0 { i.jt } else { i.jf },
                0x06 => return k,
                0x16 => return a,
                other => unreachable!("{other:#x} passed the check"),
            }
        }
    }
}
