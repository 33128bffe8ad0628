use kavach::audit::AuditKind;
use kavach::command::split_words;
use kavach::fuzzing::{shown_name, shown_path, vetoed};
use kavach::seccomp::Profile;
use kavach::workspace::{EntryPath, escaped};
use kavach::{Backend, SandboxPolicy, SandboxState};

use crate::cli::json::escape;
use crate::cli::terminal::plain;
use crate::text::{assert_plain, is_dangerous};

pub(crate) fn run(data: &[u8]) {
    paths(data);
    let name = &*String::from_utf8_lossy(data);

    for shown in [shown_name(name), shown_path(name)] {
        assert_line(&shown);
        assert!(shown.len() < 4096);
    }
    assert_plain(&plain(name));
    json(name);
    errors(name);
}

/// A line of text, and nothing that a terminal acts on.
#[track_caller]
fn assert_line(text: &str) {
    assert_plain(text);
    assert!(!text.contains(['\n', '\t']), "{text:?}");
}

fn paths(bytes: &[u8]) {
    let text = escaped(bytes);
    assert_line(&text);
    assert_eq!(unescaped(&text), bytes, "{text:?}");
    let Some(path) = EntryPath::new(bytes) else {
        return;
    };
    assert_eq!(path.as_bytes(), bytes);
    assert!(path.as_path().is_relative() && !bytes.contains(&0));
    assert!(path.names().all(|name| !matches!(name, b"" | b"." | b"..")));
    assert_eq!(path.names().collect::<Vec<_>>().join(&b'/'), bytes);
    let json = serde_json::to_string(&path).expect("it is a string");
    assert_eq!(serde_json::from_str::<String>(&json).ok(), Some(text));
}

/// As docs/cli.md has it for those who read the lists.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("hexadecimal") as u8;
                out.push(digit(high) << 4 | digit(low));
                tail
            }
            (byte, tail) => {
                out.push(*byte);
                tail
            }
        };
    }
    out
}

fn json(name: &str) {
    let text = escape::escaped(&serde_json::to_string(name).expect("it is a string"));
    assert!(!text.contains(is_dangerous), "{text:?}");
    assert!(text.lines().count() == 1, "{text:?}");
    assert_eq!(
        serde_json::from_str::<String>(&text).ok().as_deref(),
        Some(name)
    );
}

/// Errors that repeat a name that somebody else chose.
fn errors(name: &str) {
    let said = [
        split_words(name).err().map(|e| e.to_string()),
        Profile::by_name(name).err().map(|e| e.to_string()),
        SandboxPolicy::from_preset(name)
            .err()
            .map(|e| e.to_string()),
        name.parse::<Backend>().err().map(|e| e.to_string()),
    ];
    for text in said.into_iter().flatten() {
        assert_line(&text);
    }
    let kinds = [
        AuditKind::Exec {
            exec: 1,
            argv: vec![name.into()],
        },
        AuditKind::Claimed {
            tenant: name.into(),
        },
        AuditKind::Transition {
            from: SandboxState::Created,
            to: SandboxState::Running,
        },
    ];
    for kind in kinds {
        let error = vetoed(kind.clone(), "hook", "reason").expect("it was forbidden");
        assert_line(&error.to_string());
        let event = serde_json::to_string(&kind).expect("an event is data");
        assert_eq!(event.lines().count(), 1, "a log has a line for each event");
    }
}
