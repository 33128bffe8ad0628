//! The matrix as a document.

use std::fmt::Write as _;

use crate::matrix::{Cell, Control, Matrix, MatrixCase, Outcome};

const HEAD: &str = "# The pass matrix

Every attack of the register (`crates/kavach/tests/attacks.toml`), case by case, on every backend,
as `scripts/matrix.sh` saw it. The file is written by that script from the trials of a run and is
not edited; `matrix.json` beside it has the same, with the names of the trials. What each cell
rests on is told in [testing.md](../development/testing.md#the-register-of-attacks).

| word | means |
|---|---|
| held | every trial saw the attack end as it must, and the host unchanged; with the policies |
| control | the same act where nothing stands in its way: *effective*; *host* where the host refuses an ordinary user as well, so that root's half alone shows what the sandbox adds; *within* where the attacking trial shows it itself |
| not faced | this user or this backend cannot be attacked so, with the reason |
| pending | comes with a capability of a later version, which is named |
| skipped | no trial could run on this host, with what is missing |

*root* and *user* are who runs kavach. *delegated*, an ordinary user with control groups of its
own, differs from *user* in its limits alone and has a cell where these matter.
";

pub(crate) fn render(matrix: &Matrix) -> String {
    let mut out = HEAD.to_owned();
    let _ = write!(out, "\nThis run: {}.\n\n", matrix.host);
    summary(matrix, &mut out);
    for row in &matrix.rows {
        let _ = write!(
            out,
            "\n## {} {}\n\nMust: {}.\n\n",
            row.number, row.title, row.must
        );
        if let [
            MatrixCase {
                pending: Some(capability),
                ..
            },
        ] = row.cases.as_slice()
        {
            let _ = writeln!(out, "Pending: {capability}.");
            continue;
        }
        let _ = writeln!(out, "| case | control | {} |", matrix.columns.join(" | "));
        let _ = writeln!(out, "|---|---|{}", "---|".repeat(matrix.columns.len()));
        let mut notes = Vec::new();
        for case in &row.cases {
            let cells = matrix.columns.iter().map(|column| {
                let cell = case.cells.get(column);
                cell.map_or("·".to_owned(), |cell| words(cell, &mut notes))
            });
            let cells: Vec<_> = cells.collect();
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                case.name,
                controls(case),
                cells.join(" | ")
            );
        }
        for (n, note) in notes.iter().enumerate() {
            let gap = if n == 0 { "\n" } else { "" };
            let _ = writeln!(out, "{gap}{}. {note}", n + 1);
        }
    }
    out
}

/// The cell, with what needs more words as a note below the table.
fn words(cell: &Cell, notes: &mut Vec<String>) -> String {
    let note = cell.reason.as_ref().map(|reason| {
        let known = notes.iter().position(|note| note == reason);
        let n = known.unwrap_or_else(|| {
            notes.push(reason.clone());
            notes.len() - 1
        });
        format!(" ({})", n + 1)
    });
    let note = note.unwrap_or_default();
    match cell.result {
        Outcome::Held if cell.policies.is_empty() => format!("held{note}"),
        Outcome::Held => format!("held: {}{note}", cell.policies.join(", ")),
        Outcome::Failed => "**failed**".to_owned(),
        Outcome::Skipped => format!("skipped{note}"),
        Outcome::NotFaced => format!("not faced{note}"),
        Outcome::Pending => format!("pending{note}"),
        Outcome::NotRun => "**not run**".to_owned(),
    }
}

/// What the controls of a case showed: once where it is the same for everybody.
fn controls(case: &MatrixCase) -> String {
    let mut seen: Vec<(String, &str)> = Vec::new();
    for (column, cell) in &case.cells {
        let who = column.rsplit('/').next().unwrap_or_default();
        if let Some(control) = &cell.control
            && who != "delegated"
        {
            let word = match control {
                Control::Effective => "effective".to_owned(),
                Control::Partly(missing) => format!("effective, but: {}", missing.join("; ")),
                Control::HostRefuses => "host".to_owned(),
                Control::Within => "within".to_owned(),
                Control::Failed => "**failed**".to_owned(),
                Control::Skipped(reason) => format!("skipped: {reason}"),
                Control::NotRun => "**not run**".to_owned(),
            };
            seen.push((word, who));
        }
    }
    let first = seen
        .first()
        .map(|(word, _)| word.clone())
        .unwrap_or_default();
    if seen.iter().all(|(word, _)| *word == first) {
        return first;
    }
    let each = seen.iter().map(|(word, who)| format!("{who} {word}"));
    each.collect::<Vec<_>>().join(", ")
}

/// How many cells of each kind a column has.
fn summary(matrix: &Matrix, out: &mut String) {
    let kinds = [
        (Outcome::Held, "held"),
        (Outcome::NotFaced, "not faced"),
        (Outcome::Skipped, "skipped"),
        (Outcome::Pending, "pending"),
        (Outcome::Failed, "failed"),
        (Outcome::NotRun, "not run"),
    ];
    let _ = writeln!(
        out,
        "| column | {} | controls effective | the host refuses too | within | skipped |",
        kinds.map(|(_, word)| word).join(" | ")
    );
    let _ = writeln!(out, "|---|{}", "---|".repeat(kinds.len() + 4));
    for column in &matrix.columns {
        let cases = || matrix.rows.iter().flat_map(|row| &row.cases);
        let cells = || cases().filter_map(|case| case.cells.get(column));
        let counts = kinds.map(|(kind, _)| {
            cells()
                .filter(|cell| cell.result == kind)
                .count()
                .to_string()
        });
        let controls = |is: fn(&Control) -> bool| {
            cells()
                .filter_map(|cell| cell.control.as_ref())
                .filter(|c| is(c))
                .count()
        };
        let _ = writeln!(
            out,
            "| {column} | {} | {} | {} | {} | {} |",
            counts.join(" | "),
            controls(|c| matches!(c, Control::Effective | Control::Partly(_))),
            controls(|c| *c == Control::HostRefuses),
            controls(|c| *c == Control::Within),
            controls(|c| matches!(c, Control::Skipped(_))),
        );
    }
}
