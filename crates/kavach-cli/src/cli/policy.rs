//! The arguments of `kavach policy`.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueHint};

use super::OutputArgs;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = false)]
#[command(subcommand_value_name = "VERB")]
#[command(
    subcommand_help_heading = "Verbs",
    override_usage = "kavach policy VERB [OPTIONS]"
)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Print a preset or a file in full, as TOML; of several, the merge.
    ///
    /// What it prints can be read back as a policy file, with --json too.
    Show(PolicyShowArgs),
    /// Check a policy file without running anything: every mistake, and what is weak.
    Check(PolicyCheckArgs),
    /// Tell for each control what this host does about it, what stands in the way, and its points.
    ///
    /// Nothing is built and nothing runs: `kavach score --here` builds a sandbox.
    Explain(PolicyExplainArgs),
    /// Tell what changes from one policy to another, each with something that only one allows.
    ///
    /// Each change comes with a witness: something that the one allows and the other denies.
    Diff(PolicyDiffArgs),
    /// Print the JSON Schema of policy files.
    Schema(OutputArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyShowArgs {
    /// A preset (minimal, basic, strict) or a file: its name has a `/` or a `.`
    #[arg(value_name = "NAME|FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) policy: Vec<OsString>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// A file: its name has a `/` or a `.`; or a preset
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: OsString,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyExplainArgs {
    /// A preset (minimal, basic, strict) or a file; of several, the merge
    #[arg(value_name = "NAME|FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) policy: Vec<OsString>,
    /// What would isolate the program [default: process]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyDiffArgs {
    /// The policy to start from: a preset or a file
    #[arg(value_name = "FROM", value_hint = ValueHint::FilePath)]
    pub(crate) from: OsString,
    /// The policy to compare with it
    #[arg(value_name = "TO", value_hint = ValueHint::FilePath)]
    pub(crate) to: OsString,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
