//! The command line's shape. Parsing does no I/O; `resolve` gives the words their meaning.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  the program's own  0 to 255, as it exited
  124                timed out
  125                kavach failed, or the arguments are wrong
  126                the program cannot be started
  127                the program was not found
  128+n              ended by signal n; 137 by a limit or by force";

/// Run untrusted programs behind isolation, and know how strong it is.
#[derive(Debug, Parser)]
#[command(name = "kavach", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run one program in a sandbox of its own.
    Exec(ExecArgs),
    /// Run a shell in a sandbox of its own.
    Shell(ShellArgs),
    /// Show the backends, and which can be used here.
    Backends(JsonArgs),
    /// Show what policies are worth, by the scale or on this host.
    Score(ScoreArgs),
    /// Look at what this host can enforce, and say how to get what is missing.
    Doctor(JsonArgs),
    /// Show, check, explain and compare policies.
    Policy(PolicyArgs),
    /// Remove what sandboxes of dead host processes left behind.
    Gc(GcArgs),
}

impl Verb {
    /// Whether errors are to be JSON too.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Verb::Exec(args) => args.json,
            Verb::Shell(_) => false,
            Verb::Backends(args) | Verb::Doctor(args) => args.json,
            Verb::Score(args) => args.json,
            Verb::Policy(args) => match &args.verb {
                PolicyVerb::Show(args) => args.json,
                PolicyVerb::Check(args) => args.json,
                PolicyVerb::Explain(args) => args.json,
                PolicyVerb::Diff(args) => args.json,
                PolicyVerb::Schema => true,
            },
            Verb::Gc(args) => args.json,
        }
    }

    /// Whether it builds sandboxes.
    pub(crate) fn makes_sandboxes(&self) -> bool {
        match self {
            Verb::Exec(_) | Verb::Shell(_) | Verb::Score(_) | Verb::Doctor(_) => true,
            Verb::Backends(_) | Verb::Policy(_) | Verb::Gc(_) => false,
        }
    }
}

/// What `exec` and `shell` have in common.
#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// What isolates the program [default: process]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<String>,
    /// A preset (minimal, basic, strict) or a file: its name has a `/` or a `.` [default: basic].
    /// Of several, the stricter wins in each point
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) policy: Vec<OsString>,
    /// End the program after this time: 500ms, 10s, 2m, 1h, plain seconds; 0 is never
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Show this path of the host inside, read-only, under the same name
    #[arg(long, value_name = "PATH")]
    pub(crate) read: Vec<PathBuf>,
    /// Work in a copy of this directory, under the same name: the directory itself stays as it is
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
    /// Keep the workspace's changes in this directory instead of in memory; they have no quota
    #[arg(long, value_name = "DIR", requires = "workspace")]
    pub(crate) workspace_upper: Option<PathBuf>,
    /// Limit what the workspace's changes take up in memory, in MiB
    #[arg(long, value_name = "N", requires = "workspace")]
    pub(crate) workspace_mb: Option<u64>,
    /// Let the program write to this directory itself. Weakens the sandbox: no quota, no way back
    #[arg(long, value_name = "DIR")]
    pub(crate) write_through: Vec<PathBuf>,
    /// Show the system of this directory (its usr, bin, etc) instead of the host's
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Set a variable inside; the host's own are not passed on
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<OsString>,
    /// Set a variable inside to a secret: NAME=env:VARIABLE or NAME=file:PATH of the host
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) secret: Vec<OsString>,
    /// Open the host's network to the program. Weakens the sandbox and lowers its score
    #[arg(long)]
    pub(crate) network: bool,
    /// Name of the owner, shown in the process list and in audit events
    #[arg(long, value_name = "ID")]
    pub(crate) agent_id: Option<String>,
    /// Start in this directory, inside [default: the workspace, else the home directory inside]
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Limit the memory of all processes together, in MiB
    #[arg(long, value_name = "N")]
    pub(crate) memory_mb: Option<u64>,
    /// Limit the number of processes and threads
    #[arg(long, value_name = "N")]
    pub(crate) pids: Option<u32>,
    /// Limit the CPUs' worth of time at a time: 0.5 is half of one
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<f64>,
    /// Limit what --json captures of each stream, in KiB [default: 1024]
    #[arg(long, value_name = "N")]
    pub(crate) output_kb: Option<u64>,
}

/// What becomes of the changes in the workspace.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Write the workspace's changes back to its directory: where the program exited with 0, or
    /// always. Without this they are lost with the sandbox
    #[arg(long, value_name = "WHEN", value_enum, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "success", requires = "workspace")]
    pub(crate) apply: Option<ApplyWhen>,
    /// Apply this path too, although programs of the host act on it by themselves: git hooks,
    /// settings of editors, shells, CI. Relative to the workspace
    #[arg(long, value_name = "PATH", requires = "apply")]
    pub(crate) apply_allow: Vec<PathBuf>,
    /// Write a list of the workspace's changes to this file, as JSON; `-` is standard output
    #[arg(long, value_name = "FILE", requires = "workspace")]
    pub(crate) changes: Option<PathBuf>,
}

/// When the changes are written back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApplyWhen {
    /// Where the program exited with 0. Of an interactive shell the code says nothing: there it is
    /// enough that it exited by itself.
    Success,
    /// However it ended.
    Always,
}

/// Whether the program gets a terminal of its own.
#[derive(Debug, Args)]
pub(crate) struct TerminalArgs {
    /// Give the program a terminal [default: where standard input and output are one]
    #[arg(short = 't', long, overrides_with = "no_tty")]
    pub(crate) tty: bool,
    /// Give it none: it sees pipes
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub(crate) no_tty: bool,
    /// Let every escape sequence of the program reach the terminal, also those that set its
    /// clipboard or make it type. Weakens the protection of the terminal
    #[arg(long)]
    pub(crate) unfiltered_terminal: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) apply: ApplyArgs,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    /// Print one JSON document instead of the program's output
    #[arg(long, conflicts_with = "tty")]
    pub(crate) json: bool,
    /// The program and its arguments, handed over untouched: no shell is involved
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Run a shell in a sandbox of its own.
///
/// It is bash where the sandbox has it, else /bin/sh. On a terminal it is interactive; else it
/// reads its commands from standard input.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) apply: ApplyArgs,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    /// Another shell, by name or path inside [default: bash, else /bin/sh]
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Option<OsString>,
    /// Run this script instead of reading commands
    #[arg(short = 'c', value_name = "SCRIPT")]
    pub(crate) script: Option<OsString>,
    /// Arguments of the shell; with -c those of the script: $0, $1, …
    #[arg(last = true, value_name = "ARG")]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// This backend alone [default: all]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<String>,
    /// This preset or file alone, or the merge of several [default: the three presets]
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) policy: Vec<OsString>,
    /// Build a real sandbox on this host and print what is enforced, with the evidence
    /// [backend: process, policy: basic, where none is given]
    #[arg(long)]
    pub(crate) here: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Print a preset or a file in full, as TOML; of several, the merge.
    Show(PolicyShowArgs),
    /// Check a policy file without running anything: every mistake, and what is weak.
    Check(PolicyCheckArgs),
    /// Tell for each control what this host does about it, what stands in the way, and its points.
    Explain(PolicyExplainArgs),
    /// Tell what changes from one policy to another, each with something that only one allows.
    Diff(PolicyDiffArgs),
    /// Print the JSON Schema of policy files.
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyShowArgs {
    /// A preset (minimal, basic, strict) or a file: its name has a `/` or a `.`
    #[arg(value_name = "NAME|FILE", required = true)]
    pub(crate) policy: Vec<OsString>,
    /// Print it as JSON, which can be read back too
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// A file: its name has a `/` or a `.`; or a preset
    #[arg(value_name = "FILE")]
    pub(crate) policy: OsString,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyExplainArgs {
    /// A preset (minimal, basic, strict) or a file; of several, the merge
    #[arg(value_name = "NAME|FILE", required = true)]
    pub(crate) policy: Vec<OsString>,
    /// What would isolate the program [default: process]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Tell what changes from one policy to another.
///
/// Each change comes with a witness: something that the one allows and the other denies. Exits
/// with 1 where the second allows what the first denies, else with 0.
#[derive(Debug, Args)]
pub(crate) struct PolicyDiffArgs {
    /// The policy to start from: a preset or a file
    #[arg(value_name = "FROM")]
    pub(crate) from: OsString,
    /// The policy to compare with it
    #[arg(value_name = "TO")]
    pub(crate) to: OsString,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
