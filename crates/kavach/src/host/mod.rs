//! What this host can do: facts as plain data, so that a plan can be made for any host.

mod facts;
mod fakes;
mod probe;

pub use facts::{
    Availability, CgroupFacts, CgroupVersion, ControllerFacts, HostFacts, IdRange, PathKind,
};
pub use probe::probe;
