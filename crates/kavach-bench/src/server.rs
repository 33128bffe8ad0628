//! A host process of a given size that lives sandboxes on request, one line each way. It stands
//! for the application that kavach is embedded in.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::guest::{self, Without};
use crate::jails::{Filter, Peer};
use crate::throughput;

const PAGE: usize = 4096;

/// Answers until its input ends.
pub(crate) fn serve(ballast_mib: usize, guests: &Path) -> Result<()> {
    let mut ballast = vec![0_u8; ballast_mib << 20];
    for page in ballast.chunks_mut(PAGE) {
        if let Some(byte) = page.first_mut() {
            *byte = 1;
        }
    }
    let runtime = guest::runtime()?;
    let program = guest::true_in(guests);
    let config = guest::config(guest::policy("strict", guests, Without::Nothing)?);
    let filter = Filter::strict(&std::env::temp_dir())?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_once(' ').unwrap_or((&line, "")) {
            ("life", _) => runtime
                .block_on(guest::life(config.clone(), &program))
                .map(|times| times.last().map_or(0, |(_, total)| total.as_nanos())),
            ("vfork", _) => guest::child(&mut Command::new(&program)).map(|t| t.as_nanos()),
            ("fork", _) => guest::forked(&program).map(|t| t.as_nanos()),
            ("lives", milliseconds) => {
                let time = Duration::from_millis(milliseconds.parse()?);
                throughput::lives(&config, &program, time).map(u128::from)
            }
            ("peer", id) => match Peer::ALL.iter().find(|peer| peer.id() == id) {
                Some(peer) => peer.run(guests, &filter).map(|t| t.as_nanos()),
                None => bail!("asked for the peer {id}"),
            },
            (other, _) => bail!("asked for {other}"),
        };
        match answer {
            Ok(number) => writeln!(out, "{number}")?,
            Err(e) => writeln!(out, "error {}", format!("{e:#}").replace('\n', " "))?,
        }
        out.flush()?;
    }
    // Used to the end, so that it is there to the end.
    drop(ballast);
    Ok(())
}

/// The other side of [`serve`].
pub(crate) struct Server {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(ballast_mib: usize, guests: &Path) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", "--ballast-mib", &ballast_mib.to_string()])
            .arg("--guests")
            .arg(guests)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a host process")?;
        let (to, from) = (process.stdin.take(), process.stdout.take());
        Ok(Self {
            process,
            to,
            from: BufReader::new(from.context("its output")?),
        })
    }

    /// Asks, without waiting for the answer.
    pub(crate) fn ask(&mut self, what: &str) -> Result<()> {
        let to = self.to.as_mut().context("its input")?;
        writeln!(to, "{what}").context("ask a host process")
    }

    pub(crate) fn answer(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        match line.trim_end().strip_prefix("error ") {
            Some(e) => bail!("{e}"),
            None => line.trim_end().parse().context("its answer"),
        }
    }

    /// What one of something took there.
    pub(crate) fn time(&mut self, what: &str) -> Result<Duration> {
        self.ask(what)?;
        Ok(Duration::from_nanos(self.answer()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.to = None;
        // It ends with its input; an error means that it has ended.
        let _ = self.process.wait();
    }
}
