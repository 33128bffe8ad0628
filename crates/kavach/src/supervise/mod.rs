//! A running command, watched: time, output, limits, cancellation. The same for every backend.

mod capture;
mod clock;
mod run;

pub(crate) use capture::{Captured, capture, feed};
pub(crate) use clock::PauseClock;
pub(crate) use run::{Finished, Watched, started, watch};
