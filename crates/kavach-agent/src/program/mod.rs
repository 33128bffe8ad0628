//! The agent: builds its own jail from a setup frame, then starts commands in it.
//!
//! `run` is entered with the mode as first argument:
//! - `jail`: descriptor 0 is the control socket; see [`jail`] and [`serve`].
//! - `reap`: descriptor 0 is the reaper's socket; see [`reaper`].
//! - `probe`: an ordinary command inside a sandbox; see [`probe`].

mod channel;
mod jail;
mod launch;
mod overlay;
mod probe;
mod reaper;
mod serve;
mod source;
mod sys;
mod view;

pub(crate) use sys::Args;

/// The exit status of a bug or a broken connection: nothing a guest can produce here.
const BROKEN: u32 = 70;
/// prctl(2): no program brings privileges any more.
const PR_SET_NO_NEW_PRIVS: usize = 38;

pub(crate) fn run(args: &Args) -> ! {
    match args.get(1).map(core::ffi::CStr::to_bytes) {
        Some(b"jail") => jail::run(),
        Some(b"reap") => reaper::run(),
        Some(b"probe") => probe::run(args),
        _ => sys::exit(BROKEN),
    }
}

pub(crate) fn abort() -> ! {
    sys::exit(BROKEN)
}
