//! Names that people type: the nearest known one, and a safe way to repeat a wrong one.

/// Longest wrong name that is repeated in an error or compared with the known ones.
const LONGEST_SHOWN: usize = 64;

/// The known name nearest to `wrong`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // The distance costs len × len: a megabyte of garbage is no misspelling of anything.
    if wrong.is_empty() || wrong.len() > LONGEST_SHOWN {
        return None;
    }
    let wrong = wrong.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, name), name))
        .filter(|(distance, name)| *distance <= (name.len().max(3) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

/// Longest path that is repeated in an error.
const LONGEST_PATH: usize = 256;

/// `name` as it may stand in an error text: bounded, control characters escaped.
///
/// Names come from files and command lines that others wrote; an escape sequence in one must
/// not reach a terminal through our own error message.
pub(crate) fn shown(name: &str) -> String {
    let mut out: String = name
        .chars()
        .take(LONGEST_SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(LONGEST_SHOWN).is_some() {
        out.push('…');
    }
    out
}

/// The same for the path of a file: longer, and cut at its beginning.
pub(crate) fn shown_path(path: &str) -> String {
    let count = path.chars().count();
    let cut = count.saturating_sub(LONGEST_PATH);
    let mut out = String::new();
    if cut > 0 {
        out.push('…');
    }
    out.extend(path.chars().skip(cut).flat_map(char::escape_debug));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["basic", "strict", "minimal"];
        assert_eq!(nearest("strct", known).as_deref(), Some("strict"));
        assert_eq!(nearest("Basci", known).as_deref(), Some("basic"));
        assert_eq!(nearest("paranoid", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"s".repeat(1 << 20), known), None);
    }

    #[test]
    fn shown_names_are_bounded_and_carry_no_escape_sequence() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), LONGEST_SHOWN + 1);
        let long = "d/".repeat(1000) + "p\u{1b}.toml";
        assert!(shown_path(&long).starts_with("…") && shown_path(&long).ends_with("p\\u{1b}.toml"));
        assert_eq!(shown_path("a/p.toml"), "a/p.toml");
    }
}
