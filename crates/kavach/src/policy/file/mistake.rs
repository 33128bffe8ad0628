//! Mistakes in the words of people: what stands there, what is accepted, what was meant.

use super::Format;
use super::decode::{Mistake, What};
use super::problem::{PolicyProblem, ProblemKind, Syntax};
use super::tree::{Step, written};
use crate::names::nearest;
use crate::policy::section::{Key, Section as _};
use crate::policy::{Filesystem, Limits, Namespaces, PRESETS};

/// Up to so many known names are told beside the nearest.
const FEW: usize = 12;

/// Every key of a section.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    [Filesystem::KEYS, Namespaces::KEYS, Limits::KEYS]
        .into_iter()
        .flatten()
}

/// What is wrong, without its place.
pub(super) fn explain(mistake: &Mistake, source_name: &str) -> PolicyProblem {
    let key = written(&mistake.path);
    let problem = |kind, words: &str| {
        PolicyProblem::of_file(kind, source_name, words, "").at_key(key.clone())
    };
    match &mistake.what {
        What::UnknownKey(known) => unknown_key(
            problem(ProblemKind::UnknownKey, "unknown key"),
            &mistake.path,
            known,
        ),
        What::UnknownName(known) => {
            let mut found =
                problem(ProblemKind::UnknownName, &mistake.found).requiring(one_of(known, '"'));
            found.nearest = nearest(text_of(&mistake.found), known.iter().copied());
            found.fix = name_fix(&key, &mistake.found);
            if found.nearest.is_some() && known.len() > FEW {
                found.required.clear();
            }
            found
        }
        What::WrongType(expected) => {
            let mut found =
                problem(ProblemKind::WrongType, &mistake.found).requiring(in_words(&key, expected));
            found.fix = type_fix(&key, &mistake.found);
            found
        }
        What::WrongValue(expected) => {
            problem(ProblemKind::WrongValue, &mistake.found).requiring(in_words(&key, expected))
        }
        What::Other(words) => problem(ProblemKind::WrongValue, words),
    }
}

/// A key that is not known where it stands: near to one that is, or one of another place.
fn unknown_key(
    mut found: PolicyProblem,
    path: &[Step],
    known: &'static [&'static str],
) -> PolicyProblem {
    let (Some(Step::Key(wrong)), table) = (path.last(), path.get(..path.len().saturating_sub(1)))
    else {
        return found;
    };
    let table = written(table.unwrap_or_default());
    let below = |name: String| match table.as_str() {
        "" => name,
        table => format!("{table}.{name}"),
    };
    let known: Vec<&'static str> = known
        .iter()
        .copied()
        .filter(|name| *name != "$schema")
        .collect();
    let controls = known.contains(&"syscall_filter") && known.contains(&"memory");
    found.nearest = nearest(wrong, known.iter().copied())
        .or_else(|| (controls && wrong == "seccomp").then(|| "syscall_filter".to_owned()))
        .map(below)
        .or_else(|| elsewhere(wrong).filter(|_| !controls));
    if matches!(wrong.as_str(), "timeout" | "timeout_ms" | "wall_time_ms") {
        found.nearest = None;
        found.fix = "a time limit belongs to the command, not to the policy: `--timeout`, or \
                     `timeout_ms` of the config"
            .into();
    }
    if found.nearest.is_none() || known.len() <= FEW {
        found.required = one_of(&known, '`');
    }
    found
}

/// Keys that others have for what is meant, with its whole path here.
const SYNONYMS: [(&str, &str); 6] = [
    ("seccomp", "syscall_filter"),
    ("processes", "limits.pids"),
    ("readonly", "filesystem.read_only_root"),
    ("rlimit_nofile", "limits.open_files"),
    ("include", "extends"),
    ("inherits", "extends"),
];

/// The whole path of a key of this name in another place.
fn elsewhere(wrong: &str) -> Option<String> {
    if let Some((_, path)) = SYNONYMS.iter().find(|(name, _)| *name == wrong) {
        return Some((*path).to_owned());
    }
    let paths = keys().map(|key| key.path.to_owned());
    let tops = [
        "network",
        "landlock",
        "accept_approximate",
        "extends",
        "name",
    ];
    let others = tops.into_iter().map(str::to_owned);
    let mut all: Vec<String> = paths.chain(others).collect();
    all.push("syscall_filter.profile".into());
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let names: Vec<String> = all.iter().map(|path| last(path)).collect();
    let name = nearest(wrong, names.iter().map(String::as_str))?;
    all.into_iter().find(|path| last(path) == name)
}

fn one_of(known: &[&str], quote: char) -> String {
    let quoted: Vec<String> = known
        .iter()
        .map(|name| format!("{quote}{name}{quote}"))
        .collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        [one, other] => format!("{one} or {other}"),
        many => format!("one of {}", many.join(", ")),
    }
}

/// The text within `the text "…"`.
fn text_of(found: &str) -> &str {
    found
        .strip_prefix("the text \"")
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(found)
}

/// What a key takes: of a number with its range, else what serde says, in plain words.
fn in_words(key: &str, expected: &str) -> String {
    let number = match expected {
        "u8" | "u16" | "u32" | "u64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => return "true or false".into(),
        "a string" | "path string" => return "a text in quotes".into(),
        "a sequence" => return "a list: [ … ]".into(),
        "a map" => return "a table".into(),
        other => return other.to_owned(),
    };
    let rule = keys().find(|known| known.path == key).map(|key| key.rule);
    match rule.map(|rule| rule.range_in_words()) {
        Some(range) if !range.is_empty() => format!("{number}, {range}"),
        _ => number.to_owned(),
    }
}

/// What was probably meant by a value of the wrong type.
fn type_fix(key: &str, found: &str) -> String {
    let text = text_of(found);
    let is_text = text != found;
    let is_number = keys().any(|known| known.path == key && known.rule.range.is_some());
    let looks_like_number = text.starts_with(|c: char| c.is_ascii_digit());
    if found == "null" {
        return format!(
            "leave the key out: it stays as in the extended policy{}",
            match keys()
                .find(|known| known.path == key)
                .and_then(|k| k.rule.control)
            {
                Some(control) if is_number => {
                    format!(", and `requirements.{control}` = \"off\" drops the limit")
                }
                _ => String::new(),
            }
        );
    }
    if is_text && is_number && looks_like_number {
        return "write the number alone, without quotes: the unit stands in the key's name".into();
    }
    if is_text && matches!(text, "true" | "false") {
        return format!("write it without quotes: {text}");
    }
    if is_text && key == "filesystem.read" {
        return format!("write a list, also of one: [\"{text}\"]");
    }
    match (key, found) {
        ("extends", "a list") => {
            "a policy extends one other; several are merged where they are used".into()
        }
        _ => String::new(),
    }
}

/// What was probably meant by a value that is no known name.
fn name_fix(key: &str, found: &str) -> String {
    match (key, text_of(found)) {
        ("network", "false" | "none" | "no" | "disabled") => "write \"off\"".into(),
        ("network", "true" | "host" | "yes") => "write \"on\"".into(),
        (key, "true") if key.starts_with("requirements.") => "write \"required\"".into(),
        (key, "false" | "none") if key.starts_with("requirements.") => "write \"off\"".into(),
        _ => String::new(),
    }
}

/// A preset that is not known.
pub(super) fn unknown_preset(name: &str, source_name: &str) -> PolicyProblem {
    let problem = format!("unknown policy preset `{}`", crate::names::shown(name));
    let mut found = PolicyProblem::of_file(
        ProblemKind::UnknownName,
        source_name,
        problem,
        "a file is named with a `/` or a `.`: \"./base.toml\"",
    )
    .at_key("extends")
    .requiring(format!("{}, or a policy file", one_of(&PRESETS, '"')));
    found.nearest = nearest(name, PRESETS);
    found
}

/// Whether a closing bracket stands here, and a comma before it.
fn follows_comma(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default().trim_end();
    let after = text.get(at..).unwrap_or_default();
    before.ends_with(',') && after.starts_with(['}', ']'])
}

/// What was probably meant by a text that is not of its format.
pub(super) fn syntax_fix(format: Format, text: &str, syntax: &Syntax) -> &'static str {
    let start = text.trim_start();
    let at = syntax.span.start.min(text.len());
    let from = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |at| at + 1);
    let line = text
        .get(from..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default();
    match format {
        Format::Toml if start.starts_with('{') => "this looks like JSON: name the file `.json`",
        Format::Toml if start.starts_with("---") => {
            "this looks like YAML: write it as TOML or JSON"
        }
        Format::Toml if line.contains(": ") || line.trim_end().ends_with(':') => {
            "in TOML a key and its value are separated by `=`, and a section is [in brackets]"
        }
        Format::Json if line.contains("//") || line.contains("/*") || line.contains('#') => {
            "JSON has no comments: remove it, or write the policy as TOML"
        }
        Format::Json if line.contains('\'') => "JSON takes double quotes alone",
        Format::Json if follows_comma(text, at) => "remove the comma before it",
        Format::Json if start.starts_with('[') || start.starts_with("version") => {
            "this looks like TOML: name the file `.toml`"
        }
        _ if syntax.problem.contains("duplicate key") || syntax.problem.contains("twice") => {
            "remove one of the two"
        }
        Format::Json if start.is_empty() => "write at least { \"version\": 1 }",
        _ => "",
    }
}
