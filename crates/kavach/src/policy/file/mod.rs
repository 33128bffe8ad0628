//! Policies as text, in TOML or JSON.
//!
//! ```toml
//! version = 1
//! extends = "strict"          # a preset or another file; `basic` where it is left out
//! network = "off"
//! accept_approximate = ["memory", "pids"]
//!
//! [syscall_filter]
//! profile = "strict"          # or "none"
//!
//! [filesystem]
//! read = ["/srv/data"]
//!
//! [limits]
//! memory_mb = 1024
//!
//! [requirements]
//! landlock = "preferred"      # "off" also drops a limit that the preset has
//! ```
//!
//! What is left out stays as in the policy that is extended. A list replaces the list that it
//! stands for; the entries of `requirements` are laid over the extended ones, key by key. Keys that
//! are not known are refused: a misspelt limit must not be no limit.
//!
//! A text becomes a policy in four steps, each in a module of its own: the text a [`tree`] with
//! places (by [`toml`] or [`json`]), the tree the types of [`text`] (by [`decode`], which finds
//! every mistake), the file a [`document`], and the documents of a chain of `extends` a policy.

mod decode;
mod document;
mod json;
mod mistake;
mod problem;
#[cfg(feature = "schema")]
mod schema;
mod text;
mod toml;
mod tree;

pub(crate) use document::{Base, Document, assemble};
pub use problem::{Excerpt, PolicyProblem, ProblemKind};
#[cfg(feature = "schema")]
pub use schema::json_schema;

use super::SandboxPolicy;
use crate::error::{KavachError, Result};
use text::PolicyText;

/// Largest policy text, in bytes. A full policy with 512 long paths is smaller.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

/// How a policy is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// JSON, with the same keys.
    Json,
}

/// What came of reading a policy.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PolicyCheck {
    /// The policy, where nothing is wrong with it.
    pub policy: Option<SandboxPolicy>,
    /// Everything that is wrong, in the order of the file; at most some dozens.
    pub problems: Vec<PolicyProblem>,
    /// What is not wrong, but makes the sandbox weak or means nothing.
    pub warnings: Vec<PolicyProblem>,
}

impl PolicyCheck {
    /// The policy.
    ///
    /// # Errors
    /// [`KavachError::InvalidPolicy`] with every problem.
    pub fn into_policy(self) -> Result<SandboxPolicy> {
        match self.policy {
            Some(policy) if self.problems.is_empty() => Ok(policy),
            _ => Err(KavachError::InvalidPolicy {
                problems: self.problems,
            }),
        }
    }
}

impl SandboxPolicy {
    /// Reads a policy from text. `source_name` stands in errors, and is the policy's name where
    /// the text gives none. A text can extend a preset; another file only a file can.
    ///
    /// # Errors
    /// [`KavachError::InvalidPolicy`] with everything that is wrong: each with its line and
    /// column, the key, what is accepted and, for an unknown name, the nearest known one.
    pub fn parse(text: &str, format: Format, source_name: &str) -> Result<Self> {
        Self::check(text, format, source_name).into_policy()
    }

    /// Reads a policy from text, and says everything that is wrong or weak about it.
    #[must_use]
    pub fn check(text: &str, format: Format, source_name: &str) -> PolicyCheck {
        let mut document = Document::parse(text, format, source_name);
        if let Base::File(_) = document.base() {
            document.refuse_base(
                "a text that is no file of its own cannot extend one",
                "extend a preset, or read the policy from a file",
            );
        }
        assemble(vec![document])
    }

    /// The whole policy as TOML, with nothing left to a preset but what it does not have:
    /// [`SandboxPolicy::parse`] reads the same policy back.
    ///
    /// # Errors
    /// [`KavachError::InvalidConfig`] for a policy that [`SandboxPolicy::validate`] refuses, or
    /// for a read path that is not UTF-8, which no TOML can hold.
    pub fn to_toml(&self) -> Result<String> {
        self.validate()?;
        ::toml::to_string(&PolicyText::from(self)).map_err(|err| unwritable(&err))
    }

    /// The whole policy as JSON, with the keys of the TOML form.
    ///
    /// # Errors
    /// As [`SandboxPolicy::to_toml`].
    pub fn to_json(&self) -> Result<String> {
        self.validate()?;
        serde_json::to_string_pretty(&PolicyText::from(self)).map_err(|err| unwritable(&err))
    }
}

/// The one part of a valid policy that no text format may be able to hold.
fn unwritable(err: &dyn std::error::Error) -> KavachError {
    KavachError::invalid(
        "filesystem.read",
        err.to_string(),
        "paths that are valid UTF-8",
        "rename the path, or leave it out of the policy",
    )
}

#[cfg(test)]
mod tests;
