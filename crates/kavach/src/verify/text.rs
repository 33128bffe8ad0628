//! A verification for people; programs read the serialised form.

use std::fmt;

use super::Verification;

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} with {}: {} measured, {} claimed",
            self.backend, self.policy, self.measured, self.claimed
        )?;
        for item in &self.breakdown.items {
            write!(f, "  {:>+4}  {}", item.points, item.what)?;
            match item.control {
                Some(control) => writeln!(f, " ({control})")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f)?;
        let mut rows = vec![["CONTROL", "CLAIMED", "MEASURED", "POINTS", "WHY"].map(str::to_owned)];
        rows.extend(self.controls.iter().map(|control| {
            [
                control.control.to_string(),
                control.claimed.to_string(),
                control.observation.to_string(),
                match control.points {
                    0 => String::new(),
                    points => points.to_string(),
                },
                control.why.clone(),
            ]
        }));
        table(f, &rows)?;
        writeln!(f)?;
        let head = [
            "OUTCOME",
            "CONTROL",
            "TRIED",
            "ANSWERED BY",
            "OUTSIDE",
            "INSIDE",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.probes.iter().map(|probe| {
            let answered_by = probe.answered_by.map(|control| control.to_string());
            [
                probe.outcome.to_string(),
                probe.control.to_string(),
                probe.what.clone(),
                answered_by.unwrap_or_default(),
                probe.outside.clone().unwrap_or_default(),
                probe.seen.clone(),
            ]
        }));
        table(f, &rows)?;
        for control in self.claimed_not_observed() {
            let (name, what, why) = (control.control, control.observation, &control.why);
            write!(f, "\n{name}: {what}: {why}")?;
        }
        Ok(())
    }
}

/// Columns as wide as their widest cell, but for the last.
fn table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells.map(|(cell, w)| format!("{cell:<w$}")).collect();
        writeln!(f, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
