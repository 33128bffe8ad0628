//! What the trials of a run said, read from the output of `cargo test`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::attacks::{HOST_REFUSES, Parts, parts, stands_for};

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    Failed,
    /// With what was missing.
    Skipped(String),
}

/// The trials of a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    trials: Vec<(String, Parts, End)>,
}

/// The name of a test program in the register, from the line with which cargo announces it.
fn target(line: &str) -> Option<String> {
    let (source, program) = line.trim().strip_prefix("Running ")?.split_once(" (")?;
    let name = program.rsplit('/').next()?;
    match source {
        "unittests src/lib.rs" if name.starts_with("kavach-") => Some("lib".to_owned()),
        _ => {
            let path = source.strip_prefix("tests/")?;
            let of_the_library = path.strip_suffix("/main.rs").map(str::to_owned);
            of_the_library.or_else(|| Some(format!("cli/{}", path.strip_suffix(".rs")?)))
        }
    }
}

impl Run {
    /// From the files of scripts/test.sh or scripts/matrix.sh.
    pub(crate) fn read(directory: &Path) -> Self {
        let read = |name: &str| {
            fs::read_to_string(directory.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        Self::parse(&read("test-output.txt"), &read("skips.txt"))
    }

    fn parse(output: &str, skips: &str) -> Self {
        let skips = skips
            .lines()
            .filter_map(|line| line.strip_prefix("SKIP: ")?.split_once(": "));
        let skips: BTreeMap<&str, &str> = skips.collect();
        let (mut run, mut program) = (Self::default(), String::new());
        for line in output.lines() {
            if line.trim().starts_with("Running ") {
                program = target(line).unwrap_or_default();
            }
            let Some((name, end)) = line
                .strip_prefix("test ")
                .and_then(|rest| rest.split_once(" ... "))
            else {
                continue;
            };
            let name = name.trim_end();
            let reason = skips
                .get(name)
                .map(|reason| End::Skipped((*reason).to_owned()));
            let end = match end {
                "ok" => reason.unwrap_or(End::Passed),
                "FAILED" => End::Failed,
                other => reason.unwrap_or_else(|| End::Skipped(other.to_owned())),
            };
            run.trials
                .push((program.clone(), parts(&program, name), end));
        }
        run
    }

    /// The trials that registered names stand for.
    pub(crate) fn of<'a>(
        &'a self,
        names: &'a [String],
    ) -> impl Iterator<Item = (&'a Parts, &'a End)> + 'a {
        self.trials.iter().filter_map(move |(program, parts, end)| {
            let mut names = names.iter().filter_map(|name| name.split_once(' '));
            let named = names.any(|(target, id)| target == program && stands_for(id, &parts.id));
            named.then_some((parts, end))
        })
    }
}

/// Whether the trial shows the host to refuse an ordinary user as well.
pub(crate) fn refused_by_the_host(trial: &Parts) -> bool {
    trial.id.contains(HOST_REFUSES)
}

#[test]
fn lines_of_a_run_are_read() {
    let output = "     Running tests/isolation/main.rs (target/debug/deps/isolation-12ab)\n\
                  test root::process::strict::doors::int80     ... ok\n\
                  test user::noop::doors::control_x32 ... ignored\n\
                  \x20    Running tests/tty.rs (target/debug/deps/tty-0)\n\
                  test the_guest ... FAILED\n\
                  \x20    Running unittests src/lib.rs (target/debug/deps/kavach-1)\n\
                  test a::tests::b ... ok\n";
    let run = Run::parse(
        output,
        "SKIP: user::noop::doors::control_x32: no x32 here\n",
    );
    let names = [
        "isolation doors::int80",
        "isolation doors::control_x32",
        "cli/tty the_guest",
        "lib a::tests::b",
    ];
    let seen = |name: &str| -> Vec<(String, End)> {
        let name = [name.to_owned()];
        run.of(&name)
            .map(|(p, end)| (p.who.clone(), end.clone()))
            .collect()
    };
    let ends = names.map(seen);
    let expected = |who: &str, end| vec![(who.to_owned(), end)];
    assert_eq!(ends[0], expected("root", End::Passed));
    assert_eq!(
        ends[1],
        expected("user", End::Skipped("no x32 here".to_owned()))
    );
    assert_eq!(ends[2], expected("root", End::Failed));
    assert_eq!(ends[3], expected("root", End::Passed));
}
