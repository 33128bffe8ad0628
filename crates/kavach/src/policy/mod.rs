//! What a sandbox is asked to be: data, without input or output and without a clock.
//!
//! Policies are ordered: [`SandboxPolicy::is_at_least_as_strict_as`] compares two,
//! [`SandboxPolicy::merge`] makes one that is as strict as both, and [`SandboxPolicy::diff`] names
//! each difference with something that the one allows and the other denies.
//!
//! # Adding a key
//!
//! A key of `filesystem`, `namespaces` or `limits` is a row in `sections.rs`: its documentation,
//! name, type, default, and its rule (the control that it belongs to, range, unit, and in words
//! what a weaker value lets a guest do). The row makes the public field, the key in TOML and JSON
//! with its errors, the range check, the merge, the diff, and the entry in the JSON Schema. What
//! else there is to do depends on the key:
//!
//! - a type that no other key has implements `Value` in `value/` (for a setting with names,
//!   `Setting`);
//! - a value that asks for a control: its arm in `SandboxPolicy::would_ask_for` (`types.rs`) and
//!   in `asked_by` (`words.rs`);
//! - a value that cannot stand with another: an entry in `NEEDS` (`validate.rs`);
//! - a value that makes a sandbox weak: a line in `weakness.rs`;
//! - `policies/policy.schema.json` and the table in docs/policy.md are written anew from the types
//!   by the tests that pin them, which say how.
//!
//! A key beside the sections (`network`, `landlock`) is a field of `SandboxPolicy` and of
//! `PolicyText`; the compiler then names every place that takes the two apart.

mod diff;
mod file;
mod merge;
mod order;
mod presets;
mod section;
mod sections;
mod types;
mod validate;
mod value;
mod weakness;
mod words;

#[cfg(test)]
mod tests;

pub use diff::{Act, Change, Effect};
#[cfg(feature = "schema")]
pub use file::json_schema;
pub(crate) use file::{Base, Document, assemble};
pub use file::{Excerpt, Format, MAX_POLICY_BYTES, PolicyCheck, PolicyProblem, ProblemKind};
pub use presets::PRESETS;
pub use sections::{Filesystem, Limits, Namespaces};
pub use types::{Links, Network, OnOutput, SandboxPolicy, SyscallFilter, View};
pub(crate) use validate::{MAX_MS, check_path, range};
pub use validate::{MAX_READ_PATHS, SYSCALL_PROFILES};
