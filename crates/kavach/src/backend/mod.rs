//! What can run a guest, and whether it can here.

mod name;
mod registry;

pub use name::{Backend, Unavailable};
pub use registry::{compiled_in, unavailable_in_build};
