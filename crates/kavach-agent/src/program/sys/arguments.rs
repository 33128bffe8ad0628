//! What the kernel hands to a new process.

use core::ffi::CStr;

/// The arguments of the process, from the stack as the kernel laid it.
#[derive(Debug)]
pub(crate) struct Args {
    list: *const *const core::ffi::c_char,
    count: usize,
}

impl Args {
    /// # Safety
    /// `stack` must be the stack pointer at process entry: argc, then argv.
    pub(crate) const unsafe fn from_stack(stack: *const usize) -> Self {
        // SAFETY: the System V ABI puts argc there.
        let count = unsafe { *stack };
        // SAFETY: argv follows argc.
        let list = unsafe { stack.add(1) };
        Self {
            list: list.cast(),
            count,
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&CStr> {
        if index >= self.count {
            return None;
        }
        // SAFETY: within argv, by the check above.
        let slot = unsafe { self.list.add(index) };
        // SAFETY: an entry of argv, which lives as long as the process.
        let arg = unsafe { *slot };
        // SAFETY: the kernel's argv entries are C strings that live as long as the process.
        Some(unsafe { CStr::from_ptr(arg) })
    }
}
