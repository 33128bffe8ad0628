//! The command line's shape. Parsing does no I/O; `resolve` gives the words their meaning.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Show and check policies.
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
                PolicyVerb::Show(args) | PolicyVerb::Check(args) => args.json,
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
    /// A preset (minimal, basic, strict) or a file: its name has a `/` or a `.` [default: basic]
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) policy: Option<OsString>,
    /// End the program after this time: 500ms, 10s, 2m, 1h, plain seconds; 0 is never
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Show this path of the host inside, read-only, under the same name
    #[arg(long, value_name = "PATH")]
    pub(crate) read: Vec<PathBuf>,
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
    /// Start in this directory, inside [default: the home directory inside]
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

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// Print one JSON document instead of the program's output
    #[arg(long)]
    pub(crate) json: bool,
    /// The program and its arguments, handed over untouched: no shell is involved
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Run a shell in a sandbox of its own.
///
/// It is bash where the sandbox has it, else /bin/sh. Without -c it reads its commands from
/// standard input. There is no terminal inside yet: no prompt, no job control, no line editing
/// of the shell's own; that comes with a later version.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// Run this script instead of reading commands
    #[arg(short = 'c', value_name = "SCRIPT")]
    pub(crate) script: Option<OsString>,
    /// Arguments of the script: $0, $1, …
    #[arg(last = true, value_name = "ARG", requires = "script")]
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
    /// This preset or file alone [default: the three presets]
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) policy: Option<OsString>,
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
    /// Print a preset or a file in full, as TOML.
    Show(PolicyArg),
    /// Check a policy file without running anything.
    Check(PolicyArg),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArg {
    /// A preset (minimal, basic, strict) or a file: its name has a `/` or a `.`
    #[arg(value_name = "NAME|FILE")]
    pub(crate) policy: OsString,
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
