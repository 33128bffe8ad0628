//! Readers that stop, go away half way or take a byte at a time, and writers that do.

use std::time::Duration;

use kavach::{Child, Command, Sandbox, SandboxState, Termination};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{Random, number};
use crate::kills::seed;
use crate::life::{Around, config, life, renew, runtime, workspace};
use crate::place::{self, Who, place};
use crate::tally::Tally;

const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;
const MANNERS: [&str; 7] = [
    "stops",
    "stops and stop",
    "stops and destroy",
    "goes away",
    "byte by byte",
    "writer goes away",
    "writer stops",
];

pub(crate) fn trials() -> Vec<Trial> {
    place::trials(
        "streams",
        &Who::BOTH,
        place::Around::Nothing,
        place::nothing,
    )
}

pub(crate) fn streams() {
    let seed = seed("streams");
    let mut random = Random(seed);
    let work = workspace();
    let runtime = runtime();
    let expected = life(&runtime, config("strict", &work)).unwrap();
    renew(&work);
    let mut before = Around::now();
    let mut tally = Tally::new("streams");
    for round in 0..number("KAVACH_ROUNDS").unwrap_or(28) {
        let manner = MANNERS[(round % MANNERS.len() as u64) as usize];
        let at = format!("KAVACH_SEED={seed}, round {round}, {manner}");
        match runtime.block_on(one(manner, &mut random)) {
            Ok(()) => tally.round(manner),
            Err(wrong) => {
                tally.round("wrong");
                tally.wrong(format!("{at}: {wrong}"));
            }
        }
        tally.settled(&mut before, &at);
    }
    let next = life(&runtime, config("strict", &work)).unwrap();
    assert_eq!(next, expected);
    tally.end();
}

async fn one(manner: &str, random: &mut Random) -> Result<(), String> {
    let text = |e: kavach::KavachError| format!("{}: {e}", e.code());
    let io = |e: std::io::Error| e.to_string();
    let mut sandbox = Sandbox::create(config("strict", &place().join("work")))
        .await
        .map_err(text)?;
    sandbox.transition(SandboxState::Running).map_err(text)?;
    // Less than, about and more than what a pipe holds.
    let some = [1, 1000, 65_536, 200_000][random.below(4) as usize];
    let command = match manner {
        "stops" => Command::new("yes").timeout_ms(30),
        "byte by byte" => Command::shell("seq 500; seq 500 >&2"),
        "writer goes away" | "writer stops" => Command::new("cat").stdin_piped(),
        _ => Command::new("yes"),
    };
    let command = match manner {
        "writer stops" => command.timeout_ms(30),
        _ => command,
    };
    let mut child = sandbox.spawn(command).await.map_err(text)?;
    let mut stopped = None;
    let expected = match manner {
        "stops" => {
            read(&mut child, some).await?;
            vec![Termination::TimedOut]
        }
        "stops and stop" => {
            read(&mut child, some).await?;
            sandbox.stop(Duration::from_secs(10)).await.map_err(text)?;
            vec![Termination::Signaled(SIGTERM)]
        }
        "stops and destroy" => {
            read(&mut child, some).await?;
            sandbox.destroy().await.map_err(text)?;
            vec![Termination::Killed]
        }
        "goes away" => {
            read(&mut child, some).await?;
            drop(child.stdout.take());
            vec![Termination::Signaled(SIGPIPE)]
        }
        "byte by byte" => {
            let mut said = [Vec::new(), Vec::new()];
            let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
            for (stream, said) in [&mut out, &mut err].into_iter().zip(&mut said) {
                let stream = stream.as_mut().ok_or("no stream")?;
                let mut byte = [0];
                while stream.read(&mut byte).await.map_err(io)? == 1 {
                    said.push(byte[0]);
                }
            }
            if said[0] != said[1] || said[0].len() != 1892 {
                return Err(format!("{} and {} bytes", said[0].len(), said[1].len()));
            }
            vec![Termination::Exited(0)]
        }
        "writer goes away" => {
            let mut to = child.stdin.take().ok_or("no stdin")?;
            let mut out = child.stdout.take().ok_or("no stdout")?;
            let bytes = vec![b'x'; some];
            // Both at once: cat writes while it reads.
            let write = async move {
                to.write_all(&bytes).await?;
                drop(to);
                Ok::<_, std::io::Error>(())
            };
            let mut said = Vec::new();
            let (written, read) = tokio::join!(write, out.read_to_end(&mut said));
            written.map_err(io)?;
            read.map_err(io)?;
            if said.len() != some {
                return Err(format!("{} of {some} bytes", said.len()));
            }
            vec![Termination::Exited(0)]
        }
        _ => {
            // It waits for more that never comes.
            let mut to = child.stdin.take().ok_or("no stdin")?;
            to.write_all(b"half a line").await.map_err(io)?;
            stopped = Some(to);
            vec![Termination::TimedOut]
        }
    };
    let end = child.wait().await.map_err(text)?;
    if !expected.contains(&end.termination) {
        return Err(format!("{}, not {expected:?}", end.termination));
    }
    drop((child, stopped));
    if sandbox.state() == SandboxState::Running {
        let next = sandbox.exec("true").await.map_err(text)?;
        if !next.success() {
            return Err(format!("the next command: {}", next.termination));
        }
    }
    Ok(())
}

async fn read(child: &mut Child, some: usize) -> Result<(), String> {
    let out = child.stdout.as_mut().ok_or("no stdout")?;
    let mut bytes = vec![0; some];
    let read = out.read_exact(&mut bytes).await;
    read.map(drop).map_err(|e| e.to_string())
}
