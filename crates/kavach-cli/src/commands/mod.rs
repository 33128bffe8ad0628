//! One module per verb.

mod attempt;
pub(crate) mod backends;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod gc;
pub(crate) mod man;
mod moving;
pub(crate) mod policy;
pub(crate) mod run;
pub(crate) mod score;
pub(crate) mod shell;
mod table;
pub(crate) mod verify;
pub(crate) mod workspace;
