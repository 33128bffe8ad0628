//! The command line's shape. Parsing does no I/O; `resolve` gives the words their meaning, `help`
//! adds the examples.

mod policy;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub(crate) use self::policy::{
    PolicyArgs, PolicyCheckArgs, PolicyDiffArgs, PolicyExplainArgs, PolicyShowArgs, PolicyVerb,
};
use crate::number;

/// Run untrusted programs behind isolation, and know how strong it is.
///
/// Each program runs in a sandbox of its own. Without options it gets the policy `basic`: a
/// filter of system calls, no network, and a private file system without the files of the host's
/// users. What this host cannot enforce is an error before anything runs.
#[derive(Debug, Parser)]
#[command(name = "kavach", version, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = false)]
#[command(
    override_usage = "kavach VERB [OPTIONS]",
    subcommand_help_heading = "Verbs"
)]
#[command(subcommand_value_name = "VERB")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run one program in a sandbox of its own.
    ///
    /// What stands after `--` reaches the program untouched; no shell is involved. Standard
    /// input, output and error pass through. The sandbox ends with the program: what it left
    /// running in the background is killed.
    Exec(ExecArgs),
    /// Run a shell in a sandbox of its own.
    ///
    /// It is bash where the sandbox has it, else /bin/sh. On a terminal it is interactive; else
    /// it reads its commands from standard input.
    Shell(ShellArgs),
    /// Show the backends, and which can be used here.
    ///
    /// A backend is what isolates a program. One is called usable after a sandbox of it was
    /// built; nothing is run in it.
    Backends(OutputArgs),
    /// Show what policies are worth, by the scale or on this host.
    ///
    /// The scale says what a policy gives where all of it holds. What a sandbox really has
    /// depends on the host: `--here` builds one and reads back what holds.
    Score(ScoreArgs),
    /// Measure the strength of a sandbox: try what it is to refuse, from inside.
    ///
    /// A program of kavach's own runs in sandboxes made for it, as every program does, and tries
    /// one door after another; nothing it does outlives it. The measured score counts what was
    /// seen refused. What is claimed and was seen to go through is an error: "claimed, not
    /// observed".
    Verify(VerifyArgs),
    /// Look at what this host can enforce, and say how to get what is missing.
    ///
    /// It looks at the kernel, control groups and the programs of the backends, and builds a
    /// sandbox of each preset. Each missing thing comes with its fix.
    Doctor(OutputArgs),
    /// Show, check, explain and compare policies.
    ///
    /// A policy says what a program may do. It is a preset, or a file that changes one.
    Policy(PolicyArgs),
    /// Remove what sandboxes of dead host processes left behind.
    ///
    /// Sandboxes end with the process that made them. Control groups stay behind only where that
    /// process and its reaper were both killed.
    Gc(GcArgs),
    /// Print the completion script of a shell.
    ///
    /// The script completes verbs, options, presets, backends and files. It does not call kavach.
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them into a directory.
    ///
    /// There is one page for kavach and one for each verb, in the format of man(7).
    Man(ManArgs),
}

impl Verb {
    /// How to print, errors included.
    pub(crate) const fn output(&self) -> OutputArgs {
        match self {
            Verb::Exec(args) => args.output,
            Verb::Shell(args) => args.output,
            Verb::Backends(output) | Verb::Doctor(output) => *output,
            Verb::Score(args) => args.output,
            Verb::Verify(args) => args.output,
            Verb::Policy(args) => match &args.verb {
                PolicyVerb::Show(args) => args.output,
                PolicyVerb::Check(args) => args.output,
                PolicyVerb::Explain(args) => args.output,
                PolicyVerb::Diff(args) => args.output,
                PolicyVerb::Schema(output) => *output,
            },
            Verb::Gc(args) => args.output,
            Verb::Completions(args) => args.output,
            Verb::Man(args) => args.output,
        }
    }

    /// Whether it builds sandboxes.
    pub(crate) const fn makes_sandboxes(&self) -> bool {
        match self {
            Verb::Exec(_) | Verb::Shell(_) | Verb::Score(_) | Verb::Verify(_) | Verb::Doctor(_) => {
                true
            }
            Verb::Backends(_)
            | Verb::Policy(_)
            | Verb::Gc(_)
            | Verb::Completions(_)
            | Verb::Man(_) => false,
        }
    }
}

/// What every verb takes.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON document instead of text, also for an error
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// Print no progress and no notes: errors alone go to standard error
    #[arg(long, short, help_heading = OUTPUT)]
    pub(crate) quiet: bool,
}

/// What `exec`, `shell` and `verify` have in common.
#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// What isolates the program [default: process]
    #[arg(long, value_name = "BACKEND", help_heading = SANDBOX)]
    pub(crate) backend: Option<String>,
    /// What the program may do: a preset (minimal, basic, strict) or a policy file, whose name
    /// has a `/` or a `.` in it [default: basic]. Of several, the stricter wins in each point
    #[arg(long, value_name = "NAME|FILE", value_hint = ValueHint::FilePath, help_heading = SANDBOX)]
    pub(crate) policy: Vec<OsString>,
    /// Name of the owner, shown in the process list and in audit events
    #[arg(long, value_name = "ID", help_heading = SANDBOX)]
    pub(crate) agent_id: Option<String>,
    /// Show this file or directory of the host inside, read-only, under the same name; may be
    /// repeated
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = FILES)]
    pub(crate) read: Vec<PathBuf>,
    /// Work in a copy of this directory, under the same name: the directory itself stays as it is
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = FILES)]
    pub(crate) workspace: Option<PathBuf>,
    /// Keep the workspace's changes in this directory instead of in memory; they have no quota
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "workspace")]
    #[arg(help_heading = FILES)]
    pub(crate) workspace_upper: Option<PathBuf>,
    /// What the workspace's changes may take up in memory, in MiB
    #[arg(long, value_name = "MIB", value_parser = number::mebibytes, requires = "workspace")]
    #[arg(allow_hyphen_values = true, help_heading = FILES)]
    pub(crate) workspace_mb: Option<u64>,
    /// Let the program write to this directory itself; may be repeated. Weakens the sandbox: no
    /// quota, no way back
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = FILES)]
    pub(crate) write_through: Vec<PathBuf>,
    /// Show the system of this directory (its usr, bin, etc) instead of the host's
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = FILES)]
    pub(crate) rootfs: Option<PathBuf>,
    /// Set a variable inside; may be repeated. The host's own are not passed on
    #[arg(long, value_name = "NAME=VALUE", help_heading = ENVIRONMENT)]
    pub(crate) env: Vec<OsString>,
    /// Set a variable inside to a secret, from the host's NAME=env:VARIABLE or NAME=file:PATH;
    /// may be repeated
    #[arg(long, value_name = "NAME=SOURCE", help_heading = ENVIRONMENT)]
    pub(crate) secret: Vec<OsString>,
    /// Open the host's network to the program. Weakens the sandbox and lowers its score
    #[arg(long, help_heading = NETWORK)]
    pub(crate) network: bool,
    /// End the program after this time: 500ms, 10s, 2m, 1h, plain seconds; 0, the default, is never
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = LIMITS)]
    pub(crate) timeout: Option<String>,
    /// Memory of all its processes together, in MiB [default: the policy's]
    #[arg(long, value_name = "MIB", value_parser = number::mebibytes)]
    #[arg(allow_hyphen_values = true, help_heading = LIMITS)]
    pub(crate) memory_mb: Option<u64>,
    /// Processes and threads at a time [default: the policy's]
    #[arg(long, value_name = "N", value_parser = number::processes)]
    #[arg(allow_hyphen_values = true, help_heading = LIMITS)]
    pub(crate) pids: Option<u32>,
    /// CPUs' worth of time at a time: 0.5 is half of one [default: the policy's]
    #[arg(long, value_name = "N", value_parser = number::cpus)]
    #[arg(allow_hyphen_values = true, help_heading = LIMITS)]
    pub(crate) cpus: Option<f64>,
    /// What --json keeps of each output stream, in KiB [default: 1024]
    #[arg(long, value_name = "KIB", value_parser = number::kibibytes)]
    #[arg(allow_hyphen_values = true, help_heading = LIMITS)]
    pub(crate) output_kb: Option<u64>,
}

const SANDBOX: &str = "Sandbox options";
const FILES: &str = "File options";
const ENVIRONMENT: &str = "Environment options";
const NETWORK: &str = "Network options";
const LIMITS: &str = "Limit options";
const TERMINAL: &str = "Terminal options";
const OUTPUT: &str = "Output options";

/// Where the program starts.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Start in this directory, inside [default: the workspace, else the home directory inside]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = FILES)]
    pub(crate) cwd: Option<PathBuf>,
}

/// What becomes of the changes in the workspace.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Write the workspace's changes back to its directory: where the program exited with 0, or
    /// always. Without this they are lost with the sandbox
    #[arg(long, value_name = "WHEN", value_enum, num_args = 0..=1, require_equals = true)]
    #[arg(help_heading = FILES)]
    #[arg(default_missing_value = "success", requires = "workspace")]
    pub(crate) apply: Option<ApplyWhen>,
    /// Apply this path too, although programs of the host act on it by themselves: git hooks,
    /// settings of editors, shells, CI. Relative to the workspace
    #[arg(long, value_name = "PATH", requires = "apply", value_hint = ValueHint::AnyPath)]
    #[arg(help_heading = FILES)]
    pub(crate) apply_allow: Vec<PathBuf>,
    /// Write a list of the workspace's changes to this file, as JSON; `-` is standard output
    #[arg(long, value_name = "FILE", requires = "workspace", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = FILES)]
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
    #[arg(short = 't', long, overrides_with = "no_tty", conflicts_with = "json")]
    #[arg(help_heading = TERMINAL)]
    pub(crate) tty: bool,
    /// Give it none: it sees pipes
    #[arg(short = 'T', long, overrides_with = "tty", help_heading = TERMINAL)]
    pub(crate) no_tty: bool,
    /// Let every escape sequence of the program reach the terminal, also those that set its
    /// clipboard or make it type. Weakens the protection of the terminal
    #[arg(long, help_heading = TERMINAL)]
    pub(crate) unfiltered_terminal: bool,
}

#[derive(Debug, Args)]
#[command(override_usage = "kavach exec [OPTIONS] -- CMD [ARG]...")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) apply: ApplyArgs,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(override_usage = "kavach shell [OPTIONS] [SHELL] [-c SCRIPT] [-- ARG...]")]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) apply: ApplyArgs,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Another shell, by name or path inside [default: bash, else /bin/sh]
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Option<OsString>,
    /// Run this script instead of reading commands
    #[arg(short = 'c', value_name = "SCRIPT")]
    pub(crate) script: Option<OsString>,
    /// Arguments of the shell; with -c those of the script: $0, $1, ...
    #[arg(last = true, value_name = "ARG")]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// This backend alone [default: all]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<String>,
    /// This preset or file alone, or the merge of several [default: the three presets]
    #[arg(long, value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Vec<OsString>,
    /// Build a real sandbox on this host and print what is enforced, with the evidence
    /// [backend: process, policy: basic, where none is given]
    #[arg(long)]
    pub(crate) here: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(override_usage = "kavach man [VERB]...\n       kavach man --dir DIR")]
pub(crate) struct ManArgs {
    /// The verb whose page is printed, for instance `exec` or `policy show`
    /// [default: the page of kavach itself]
    #[arg(value_name = "VERB", conflicts_with = "dir")]
    pub(crate) verb: Vec<String>,
    /// Write all pages into this directory instead; it is made if it is not there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
