//! The pure parts: planning, scoring, checking a policy. Too short for one stopwatch reading, so
//! each row times a batch.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use kavach::backend::Backend;
use kavach::policy::Format;
use kavach::{SandboxConfig, SandboxPolicy, host, plan, scoring};

use crate::record::{Record, Step};

const BATCH: u32 = 100;

/// Adds a number for each part.
pub(crate) fn measure(record: &mut Record, rounds: usize) -> Result<()> {
    let policy = SandboxPolicy::strict();
    let config = SandboxConfig::builder().policy(policy.clone()).build();
    let spec = config.validate()?;
    let facts = host::probe().looking_at(spec.host_paths());
    let text = policy.to_toml()?;
    let mut add = |id: &str, label: &str, work: &mut dyn FnMut()| {
        let mut times: Vec<Duration> = (0..rounds.max(10))
            .map(|_| {
                let start = Instant::now();
                for _ in 0..BATCH {
                    work();
                }
                start.elapsed() / BATCH
            })
            .collect();
        times.sort_unstable();
        record.add(id, label, Step::of(&times).p50_us, "µs");
    };
    add("score", "score of a policy", &mut || {
        black_box(scoring::score_backend(Backend::Process, black_box(&policy)));
    });
    add("check", "check of a config with its policy", &mut || {
        drop(black_box(black_box(&config).validate()));
    });
    add("parse", "parse and check of a policy in TOML", &mut || {
        drop(black_box(SandboxPolicy::parse(
            black_box(&text),
            Format::Toml,
            "strict.toml",
        )));
    });
    // Both can fail; that they do not is seen once, before they are timed.
    plan::plan(&spec, &facts).map_err(|e| anyhow!(e))?;
    add("plan", "plan", &mut || {
        drop(black_box(plan::plan(black_box(&spec), black_box(&facts))));
    });
    Ok(())
}
