//! A running command, watched: time, output, limits, cancellation. The same for every backend.

mod capture;
mod clock;
mod run;
mod terminal;

pub(crate) use capture::{Captured, Source, capture, feed};
pub(crate) use clock::PauseClock;
pub(crate) use run::{Finished, Watched, started, watch};
pub(crate) use terminal::Master;
