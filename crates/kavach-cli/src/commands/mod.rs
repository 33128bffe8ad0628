//! One module per verb.

pub(crate) mod exec;
pub(crate) mod policy;
mod run;
pub(crate) mod shell;
