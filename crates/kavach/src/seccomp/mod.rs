//! The system call filter: profiles as data, compiled to a seccomp program.
//!
//! A [`Profile`] is an allowlist made of groups, each with its reason;
//! [`compile`] turns it into classic BPF for `seccomp(SECCOMP_SET_MODE_FILTER)`.
//! This module decides and compiles. It loads nothing and knows no other part of
//! kavach: the agent gets the finished bytes.
//!
//! How a call is judged, in this order:
//! 1. A calling convention other than x86_64 ends the process: an i386 call
//!    (`int 0x80`) has other numbers and argument widths, so no rule fits it, and
//!    no program gets there by accident.
//! 2. An x32 number (bit 30) gets `EPERM`.
//! 3. A number without a name here gets `ENOSYS`, so that libraries newer than
//!    this table fall back. A dangerous call of a newer kernel is refused by it too.
//! 4. The first rule of the call whose conditions all hold decides.
//! 5. Otherwise `EPERM`.
//!
//! # What it does not stop
//! - It sees numbers and registers, never what a pointer points to: no paths, no
//!   socket addresses, no structures (seccomp(2)). Paths are for the filesystem
//!   view and Landlock, addresses for the network namespace. Calls whose dangerous
//!   part is in memory are refused whole (`clone3`, `openat2`, `io_uring_*`).
//! - `sendmsg` and `sendmmsg` carry their address in memory. `strict` therefore
//!   lets no socket be made that would heed one, see `profiles/sockets.rs`; under
//!   `basic` a unix socket of the host that is visible by its path can be reached.
//! - It says nothing of objects: `write` is allowed, also on a descriptor that
//!   should not have been there. Only declared descriptors may enter a sandbox.
//! - The guest may signal, renice or set the scheduling of every process of its
//!   own uid in its pid namespace. The agent's PID 1 cannot be killed from within,
//!   but it can be slowed; time limits are the host's to keep.
//! - Bugs in allowed calls, hardware side channels, and use of allowed calls in
//!   excess: those are for the resource limits, and for backends with another kernel.
//! - It is no substitute for a denied capability or a private namespace; many
//!   rules stand beside one of them so that the kernel's code is not reached at all.
//! - A file that is already setuid stays so; `no_new_privs` makes the bit idle
//!   inside, and inherited setgid of directories is the kernel's doing.
//!
//! # Cost
//! The program is a binary search over ranges of numbers, arguments at the leaves.
//! Since Linux 5.11 the kernel finds out at load time which numbers are allowed
//! whatever the arguments, and does not run the program for them.
//!
//! # Sources
//! seccomp(2) and `Documentation/userspace-api/seccomp_filter.rst`; the syscall
//! signatures in `include/linux/syscalls.h` for the width of each argument; Docker's
//! default profile and Firecracker's filters as second opinions on what to list; the
//! CVE numbers stand in the reasons that they taught.

mod abi;
mod assemble;
mod compare;
mod compile;
#[cfg(test)]
mod interpret;
mod profile;
mod profiles;
mod program;
#[cfg(test)]
mod tests;

pub use compare::{Witness, allowed_beyond};
pub use compile::{CompileError, compile};
pub use profile::{
    Action, Condition, Decision, Given, Group, Options, Profile, Rule, SyscallData, Test,
    UnknownProfile, Width,
};
pub use program::{Instruction, MAX_INSTRUCTIONS, Program};
