//! What can run a guest, and whether it can here.

mod availability;
mod driver;
mod name;
mod noop;
#[cfg(feature = "process")]
mod process;
mod registry;

#[cfg(feature = "fuzzing")]
pub use process::fuzzing;

pub use availability::availability;
pub use driver::{
    Act, Driver, Guest, GuestEnd, Instance, Launch, Pausable, SandboxName, Started, Terminal,
    Terminals,
};
pub use name::{Backend, Unavailable};
pub(crate) use registry::driver;
pub use registry::{compiled_in, unavailable_in_build};
