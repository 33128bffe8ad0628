//! What a program may do: presets, a policy of one's own, and the stricter of two.
//!
//! ```text
//! minimal: 40 (basic)
//! basic: 57 (standard)
//! strict: 63 (standard)
//! agent: 256 MiB, 32 processes
//! agent and strict: 256 MiB, 32 processes, stricter than strict: true
//! mine.toml:3:1: limits.memroy_mb: unknown key[..]
//!   did you mean `limits.memory_mb`?
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::policy::{Format, PRESETS};
use kavach::{Backend, SandboxPolicy, scoring};

const AGENT: &str = r#"
version = 1
extends = "basic"
name = "agent"

[limits]
memory_mb = 256
pids = 32
"#;

const MISSPELT: &str = "version = 1
[limits]
memroy_mb = 256
";

fn main() -> anyhow::Result<()> {
    for name in PRESETS {
        let preset = SandboxPolicy::from_preset(name)?;
        println!(
            "{name}: {}",
            scoring::score_backend(Backend::Process, &preset)
        );
    }

    // A file changes the preset that it extends. `SandboxPolicy::load` reads it from a path.
    let agent = SandboxPolicy::parse(AGENT, Format::Toml, "agent.toml")?;
    println!("agent: {}", limits(&agent));

    // Of several policies the stricter wins, key by key.
    let strict = SandboxPolicy::strict();
    let both = agent.merge(&strict);
    let stricter = both.is_at_least_as_strict_as(&strict);
    println!(
        "agent and strict: {}, stricter than strict: {stricter}",
        limits(&both)
    );

    // What a file says that no policy can say is refused, with the place.
    if let Err(error) = SandboxPolicy::parse(MISSPELT, Format::Toml, "mine.toml") {
        println!("{error}");
        println!("  {}", error.hint().unwrap_or_default());
    }
    Ok(())
}

fn limits(policy: &SandboxPolicy) -> String {
    let number = |limit: Option<u64>| limit.map_or("any".to_owned(), |n| n.to_string());
    format!(
        "{} MiB, {} processes",
        number(policy.limits.memory_mb),
        number(policy.limits.pids.map(u64::from))
    )
}
