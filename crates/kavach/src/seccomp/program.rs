//! A finished filter and its listing.

use std::fmt;

use super::abi;

/// The kernel's limit on the length of one filter (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Operation codes of classic BPF that a seccomp program may use
/// (linux/bpf_common.h), as far as the compiler emits them.
pub(crate) mod code {
    /// A := 32 bits of the seccomp data at offset k.
    pub(crate) const LOAD: u16 = 0x20;
    /// Skip k instructions.
    pub(crate) const JUMP: u16 = 0x05;
    /// A == k.
    pub(crate) const IF_EQUAL: u16 = 0x15;
    /// A >= k, unsigned.
    pub(crate) const IF_AT_LEAST: u16 = 0x35;
    /// A & k is not 0.
    pub(crate) const IF_ANY_BIT: u16 = 0x45;
    /// A := A & k.
    pub(crate) const AND: u16 = 0x54;
    /// End with the action k.
    pub(crate) const RETURN: u16 = 0x06;
}

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
pub(crate) mod offset {
    pub(crate) const NR: u32 = 0;
    pub(crate) const ARCH: u32 = 4;
    const ARGS: u32 = 16;

    /// The low word of an argument: x86_64 is little-endian.
    pub(crate) const fn low(arg: u8) -> u32 {
        ARGS + 8 * arg as u32
    }

    /// The high word of an argument.
    pub(crate) const fn high(arg: u8) -> u32 {
        low(arg) + 4
    }

    /// The argument and word that an offset stands for.
    pub(super) const fn argument(at: u32) -> Option<(u32, &'static str)> {
        match at.checked_sub(ARGS) {
            Some(rest) if rest < 48 && rest % 8 == 0 => Some((rest / 8, "low")),
            Some(rest) if rest < 48 && rest % 8 == 4 => Some((rest / 8, "high")),
            _ => None,
        }
    }
}

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip when a test holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The constant.
    pub k: u32,
}

/// A compiled filter, ready for `seccomp(SECCOMP_SET_MODE_FILTER)`. Its `Display`
/// is a listing for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    pub(crate) fn new(instructions: Vec<Instruction>) -> Self {
        Self(instructions)
    }

    /// The instructions in order.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// How many instructions there are, at most [`MAX_INSTRUCTIONS`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A compiled program is never empty: it at least checks the architecture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The array of `struct sock_filter` in native byte order, 8 bytes each.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|i| {
                let [c0, c1] = i.code.to_ne_bytes();
                let [k0, k1, k2, k3] = i.k.to_ne_bytes();
                [c0, c1, i.jt, i.jf, k0, k1, k2, k3]
            })
            .collect()
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, instruction) in self.0.iter().enumerate() {
            write!(f, "{at:04}: ")?;
            instruction.list(f, at)?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Instruction {
    /// This instruction at index `at`, with absolute targets.
    fn list(&self, f: &mut fmt::Formatter<'_>, at: usize) -> fmt::Result {
        let branch = |f: &mut fmt::Formatter<'_>, test: &str| {
            let (yes, no) = (at + 1 + usize::from(self.jt), at + 1 + usize::from(self.jf));
            write!(f, "if A {test} {:#x} goto {yes:04} else {no:04}", self.k)
        };
        match self.code {
            code::LOAD => match (self.k, offset::argument(self.k)) {
                (offset::NR, _) => f.write_str("A = nr"),
                (offset::ARCH, _) => f.write_str("A = arch"),
                (_, Some((arg, word))) => write!(f, "A = args[{arg}].{word}"),
                (k, None) => write!(f, "A = data[{k}]"),
            },
            code::JUMP => write!(f, "goto {:04}", at as u64 + 1 + u64::from(self.k)),
            code::IF_EQUAL => branch(f, "=="),
            code::IF_AT_LEAST => branch(f, ">="),
            code::IF_ANY_BIT => branch(f, "&"),
            code::AND => write!(f, "A &= {:#x}", self.k),
            code::RETURN => match self.k {
                abi::SECCOMP_RET_ALLOW => f.write_str("return allow"),
                abi::SECCOMP_RET_KILL_PROCESS => f.write_str("return kill process"),
                k if k & 0xffff_0000 == abi::SECCOMP_RET_ERRNO => {
                    write!(f, "return errno {}", k & 0xffff)
                }
                k => write!(f, "return {k:#x}"),
            },
            other => write!(f, "{other:#06x} {} {} {:#x}", self.jt, self.jf, self.k),
        }
    }
}
