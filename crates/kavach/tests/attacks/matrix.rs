//! The pass matrix: the register's cases against backends and users, as a run of the suites saw
//! them. `scripts/matrix.sh` runs the suites and writes it; a test keeps it that of the register.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::attacks::{Case, Registry, WHOS};
use crate::outcome::{End, Run, refused_by_the_host};
use crate::render::render;
use crate::repository;

/// The backends of the matrix, as the isolation suite runs them (`COLUMNS` of its harness).
const BACKENDS: [&str; 1] = ["process"];
/// The directory with the output of the run from which the matrix is to be written.
const WRITE: &str = "KAVACH_WRITE_MATRIX";

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// Where the suites ran.
    pub(crate) host: String,
    /// Backends and who runs them.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<MatrixRow>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct MatrixRow {
    pub(crate) number: u32,
    pub(crate) title: String,
    pub(crate) must: String,
    pub(crate) cases: Vec<MatrixCase>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct MatrixCase {
    pub(crate) name: String,
    pub(crate) attacks: Vec<String>,
    pub(crate) controls: Vec<String>,
    /// What in the attacking trial is the control, where none has a trial of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) within: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) either: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) pending: Option<String>,
    /// By column.
    pub(crate) cells: BTreeMap<String, Cell>,
}

/// What a case is on a backend for a user.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) result: Outcome,
    /// What stands in its way, or why it is not faced.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) reason: Option<String>,
    /// The policies under which it was tried, where the trials' names have them.
    pub(crate) policies: Vec<String>,
    /// How many trials attacked.
    pub(crate) trials: usize,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) control: Option<Control>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Every trial saw the attack answered as it must be.
    Held,
    Failed,
    /// No trial could run on this host.
    Skipped,
    /// The user or the backend does not face it.
    NotFaced,
    /// Comes with a capability of a later version.
    Pending,
    /// The run did not have its trials.
    NotRun,
}

/// What the positive control showed.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Control {
    /// The attack works where nothing stands in its way.
    Effective,
    /// The same, where the host lets it be tried: for some of the acts something is missing.
    Partly(Vec<String>),
    /// The host refuses this user as well: what the sandbox adds, root's half shows.
    HostRefuses,
    /// In the attacking trial itself.
    Within,
    Failed,
    Skipped(String),
    NotRun,
}

/// Every column: each backend for each user.
fn columns() -> Vec<String> {
    let of = |backend: &&str| {
        let whos = WHOS.into_iter().chain(["delegated"]);
        whos.map(|who| format!("{backend}/{who}"))
            .collect::<Vec<_>>()
    };
    BACKENDS.iter().flat_map(of).collect()
}

impl Matrix {
    /// Of a run; of none, with every trial missing.
    fn new(registry: &Registry, host: String, run: &Run) -> Self {
        let rows = registry.rows.iter().map(|row| MatrixRow {
            number: row.number,
            title: row.title.clone(),
            must: row.must.clone(),
            cases: row
                .cases
                .iter()
                .map(|case| MatrixCase::new(case, run))
                .collect(),
        });
        Self {
            host,
            columns: columns(),
            rows: rows.collect(),
        }
    }

    fn cells(&self) -> impl Iterator<Item = (String, &Cell)> {
        self.rows.iter().flat_map(|row| {
            row.cases.iter().flat_map(move |case| {
                let name = format!("row {}, {}", row.number, case.name);
                case.cells
                    .iter()
                    .map(move |(column, cell)| (format!("{name}, {column}"), cell))
            })
        })
    }

    /// The cells in which something is wrong.
    fn gaps(&self) -> Vec<String> {
        let wrong = |cell: &Cell| {
            matches!(cell.result, Outcome::Failed | Outcome::NotRun)
                || matches!(cell.control, Some(Control::Failed | Control::NotRun))
        };
        let cells = self.cells().filter(|(_, cell)| wrong(cell));
        cells
            .map(|(name, cell)| format!("{name}: {cell:?}"))
            .collect()
    }

    /// The same without what a run adds.
    fn without_results(mut self) -> Self {
        self.host.clear();
        for case in self.rows.iter_mut().flat_map(|row| &mut row.cases) {
            // Those of a user with groups are there where the suite has trials.
            case.cells
                .retain(|column, _| !column.ends_with("/delegated"));
            for cell in case.cells.values_mut() {
                let faced = !matches!(cell.result, Outcome::NotFaced | Outcome::Pending);
                if faced {
                    (cell.result, cell.reason) = (Outcome::NotRun, None);
                    (cell.policies, cell.trials, cell.control) = (Vec::new(), 0, None);
                }
            }
        }
        self
    }
}

impl MatrixCase {
    fn new(case: &Case, run: &Run) -> Self {
        let mut cells = BTreeMap::new();
        for column in columns() {
            let (backend, who) = column.split_once('/').unwrap();
            if let Some(cell) = Cell::new(case, run, backend, who) {
                cells.insert(column, cell);
            }
        }
        Self {
            name: case.name.clone(),
            attacks: case.attacks.clone(),
            controls: case.controls.clone(),
            within: case.within.clone(),
            either: case.either.clone(),
            pending: case.pending.clone(),
            cells,
        }
    }
}

impl Cell {
    fn bare(result: Outcome, reason: Option<&String>) -> Self {
        Self {
            result,
            reason: reason.cloned(),
            policies: Vec::new(),
            trials: 0,
            control: None,
        }
    }

    /// None for a user with control groups where the suite has no trial of its own for it.
    fn new(case: &Case, run: &Run, backend: &str, who: &str) -> Option<Self> {
        let delegated = who == "delegated";
        if case.pending.is_some() {
            return (!delegated).then(|| Self::bare(Outcome::Pending, case.pending.as_ref()));
        }
        let not_faced = case.not_faced.iter().find(|(of, _)| of.as_str() == backend);
        let not_faced = not_faced
            .map(|(_, why)| why)
            .or_else(|| case.absent.get(who));
        if not_faced.is_some() {
            return Some(Self::bare(Outcome::NotFaced, not_faced));
        }
        let mine = |by: &str| by == who || (case.either.is_some() && !delegated);
        let trials: Vec<_> = run
            .of(&case.attacks)
            .filter(|(trial, _)| trial.backend == backend && mine(&trial.who))
            .collect();
        if trials.is_empty() {
            return (!delegated).then(|| Self::bare(Outcome::NotRun, None));
        }
        let mut policies: Vec<_> = trials
            .iter()
            .filter_map(|(t, _)| t.policy.clone())
            .collect();
        policies.sort_unstable();
        policies.dedup();
        let skipped = trials.iter().find_map(|(_, end)| match end {
            End::Skipped(reason) => Some(reason),
            _ => None,
        });
        let passed = trials
            .iter()
            .filter(|(_, end)| **end == End::Passed)
            .count();
        let failed = trials.iter().any(|(_, end)| **end == End::Failed);
        let result = match (failed, passed) {
            (true, _) => Outcome::Failed,
            (false, 0) => Outcome::Skipped,
            _ => Outcome::Held,
        };
        Some(Self {
            result,
            reason: skipped.cloned(),
            policies,
            trials: trials.len(),
            control: Some(Control::new(case, run, who)),
        })
    }
}

impl Control {
    fn new(case: &Case, run: &Run, who: &str) -> Self {
        if case.within.is_some() {
            return Self::Within;
        }
        let mine = |by: &str| by == who || case.either.is_some();
        let trials: Vec<_> = run
            .of(&case.controls)
            .filter(|(trial, _)| mine(&trial.who))
            .collect();
        let failed = trials.iter().any(|(_, end)| **end == End::Failed);
        let passed = |trial: &&(&crate::attacks::Parts, &End)| *trial.1 == End::Passed;
        let effective = trials
            .iter()
            .filter(passed)
            .any(|(trial, _)| !refused_by_the_host(trial));
        let skipped = trials.iter().filter_map(|(_, end)| match end {
            End::Skipped(reason) => Some(reason.clone()),
            _ => None,
        });
        let mut skipped: Vec<String> = skipped.collect();
        skipped.sort_unstable();
        skipped.dedup();
        if failed {
            Self::Failed
        } else if effective && skipped.is_empty() {
            Self::Effective
        } else if effective {
            Self::Partly(skipped)
        } else if trials.iter().any(|trial| passed(&trial)) {
            Self::HostRefuses
        } else if !skipped.is_empty() {
            Self::Skipped(skipped.join("; "))
        } else if who == "delegated" {
            // The ordinary user's stands for both.
            Self::new(case, run, "user")
        } else {
            Self::NotRun
        }
    }
}

/// Where the suites ran, in words.
fn host() -> String {
    let uname = rustix::system::uname();
    let groups = kavach::host::probe().cgroups.memory.version();
    let groups = groups.map_or("none", kavach::host::CgroupVersion::as_str);
    let release = uname.release().to_string_lossy().into_owned();
    let version: Vec<&str> = release.split('.').take(2).collect();
    format!(
        "Linux {}, {}, control groups: {groups}",
        version.join("."),
        uname.machine().to_string_lossy()
    )
}

fn files(root: &Path) -> [PathBuf; 2] {
    ["matrix.json", "matrix.md"].map(|name| root.join("docs/security").join(name))
}

/// What is committed is a run of every case of the register, in the words of the register, and
/// nothing in it has failed. Written anew by `scripts/matrix.sh`.
#[test]
fn the_committed_matrix_is_that_of_the_register() {
    let Some(root) = repository("matrix::the_committed_matrix_is_that_of_the_register") else {
        return;
    };
    let [json, table] = files(&root);
    let registry = Registry::read();
    if let Some(directory) = std::env::var_os(WRITE) {
        let run = Run::read(Path::new(&directory));
        let matrix = Matrix::new(&registry, host(), &run);
        std::fs::create_dir_all(json.parent().unwrap()).unwrap();
        let text = serde_json::to_string_pretty(&matrix).unwrap();
        std::fs::write(&json, text + "\n").unwrap();
        std::fs::write(&table, render(&matrix)).unwrap();
    }
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .unwrap_or_else(|e| panic!("{}: {e}: scripts/matrix.sh writes it", path.display()))
    };
    let committed: Matrix = serde_json::from_str(&read(&json)).unwrap();
    assert_eq!(committed.gaps(), Vec::<String>::new());
    assert_eq!(
        read(&table),
        render(&committed),
        "matrix.md is not that of matrix.json"
    );
    let expected = Matrix::new(&registry, String::new(), &Run::default());
    let (expected, committed) = (expected.without_results(), committed.without_results());
    assert_eq!(committed.columns, expected.columns);
    for (row, expected) in committed.rows.iter().zip(&expected.rows) {
        assert_eq!(row, expected, "run scripts/matrix.sh");
    }
    assert_eq!(committed.rows.len(), expected.rows.len());
}
