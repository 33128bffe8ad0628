//! Times kavach beside bubblewrap, hakoniwa and plain child processes, in the same run on the same
//! machine, and writes the table of docs/benchmarks.md. `scripts/bench.sh` starts it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that reports on standard output"
)]

mod controls;
mod crowd;
mod guest;
mod jails;
mod machine;
mod measure;
mod micro;
mod record;
mod report;
mod server;
mod throughput;
mod turns;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Times kavach beside its peers.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure everything as the user who runs this, into a file.
    Measure(MeasureArgs),
    /// Live one strict sandbox after the other and print nothing: for a profiler.
    Lives {
        /// How many.
        #[arg(long, default_value_t = 200)]
        count: usize,
        /// The preset.
        #[arg(long, default_value = "strict")]
        policy: String,
        /// The directory with the guests.
        #[arg(long)]
        guests: PathBuf,
        /// Exec in one sandbox instead of a life each.
        #[arg(long)]
        warm: bool,
    },
    /// Write the generated part of a document from measured files.
    Report {
        /// The document; what is outside the markers is kept.
        #[arg(long)]
        into: PathBuf,
        /// What `measure` wrote.
        #[arg(required = true)]
        measured: Vec<PathBuf>,
    },
    /// Serve lives, asked for on standard input, from a process of a given size.
    #[command(hide = true)]
    Serve {
        /// Memory to touch first.
        #[arg(long)]
        ballast_mib: usize,
        /// The directory with the guests.
        #[arg(long)]
        guests: PathBuf,
    },
}

/// What to measure, and how thoroughly.
#[derive(Debug, Clone, clap::Args)]
struct MeasureArgs {
    /// Rounds in which every row has its turn.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Sandboxes alive at a time, for their memory.
    #[arg(long, default_value_t = 1000)]
    crowd: usize,
    /// Memory of the large host process.
    #[arg(long, default_value_t = 2048)]
    ballast_mib: usize,
    /// Seconds of each row of throughput.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The directory with the guests `true` and `wait`.
    #[arg(long)]
    guests: PathBuf,
    /// The command line that is measured as a whole.
    #[arg(long)]
    kavach: PathBuf,
    /// The commit that is measured.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Where the result goes.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().verb {
        Verb::Measure(args) => measure::run(&args),
        Verb::Lives {
            count,
            policy,
            guests,
            warm,
        } => measure::lives(count, &policy, &guests, warm),
        Verb::Report { into, measured } => report::write(&into, &measured),
        Verb::Serve {
            ballast_mib,
            guests,
        } => server::serve(ballast_mib, &guests),
    }
}
