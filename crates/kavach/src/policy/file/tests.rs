use proptest::prelude::*;

use super::*;
use crate::control::{Control, Requirement};
use crate::policy::PRESETS;

fn toml(text: &str) -> Result<SandboxPolicy> {
    SandboxPolicy::parse(text, Format::Toml, "p.toml")
}

/// The error as people see it, with its hint.
fn refused(text: &str, format: Format) -> String {
    let err = SandboxPolicy::parse(text, format, "p").unwrap_err();
    match err.hint() {
        Some(hint) => format!("{err} [{hint}]"),
        None => err.to_string(),
    }
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let policy = toml(
        "version = 1\nextends = \"strict\"\nnetwork = \"off\"\n\
         accept_approximate = [\"memory\", \"pids\"]\n\
         [syscall_filter]\nprofile = \"strict\"\n[filesystem]\nread = [\"/srv/data\"]\n\
         [limits]\nmemory_mb = 1024\ncpus = 2\n[requirements]\nlandlock = \"preferred\"\n",
    )
    .unwrap();
    assert_eq!(policy.name, "p.toml");
    assert_eq!(policy.limits.memory_mb, Some(1024));
    assert_eq!(policy.limits.cpus, Some(2.0));
    // Kept from strict.
    assert_eq!(policy.limits.pids, Some(64));
    assert!(policy.filesystem.read_only_root);
    assert_eq!(
        policy.requirement(Control::Landlock),
        Requirement::Preferred
    );
    assert!(!policy.accept_approximate.contains(&Control::Cpu));
}

#[test]
fn a_bare_version_is_the_default_policy() {
    let mut policy = toml("version = 1").unwrap();
    policy.name = "basic".into();
    assert_eq!(policy, SandboxPolicy::basic());
    let json = SandboxPolicy::parse("{\"version\": 1}", Format::Json, "basic").unwrap();
    assert_eq!(json, SandboxPolicy::basic());
}

#[test]
fn every_preset_survives_being_written_and_read() {
    for name in PRESETS {
        let mut policy = SandboxPolicy::from_preset(name).unwrap();
        policy.filesystem.read = vec!["/srv/a b".into()];
        policy
            .requirements
            .insert(Control::Landlock, Requirement::Preferred);
        assert_eq!(toml(&policy.to_toml().unwrap()).unwrap(), policy);
    }
}

#[test]
fn strict_as_toml() {
    insta::assert_snapshot!(SandboxPolicy::strict().to_toml().unwrap());
}

#[test]
fn an_error_names_the_place_what_is_accepted_and_what_was_meant() {
    let cases = [
        ("version = 1\n[limits]\nmemroy_mb = 5\n", Format::Toml),
        (
            "version = 1\n[requirements]\nlandlok = \"off\"\n",
            Format::Toml,
        ),
        ("version = 1\nextends = \"strct\"\n", Format::Toml),
        (
            "version = 1\n[filesystem]\nread = [\"/a\\u0000b\"]\n",
            Format::Toml,
        ),
        ("version = 1\n[limits\n", Format::Toml),
        ("", Format::Toml),
        (
            "{\"version\": 1,\n \"limits\": {\"pids\": 1e99}}",
            Format::Json,
        ),
        ("{\"version\": 1", Format::Json),
        ("[]", Format::Json),
    ];
    let out: String = cases
        .iter()
        .map(|(text, format)| format!("{text:?}\n  {}\n", refused(text, *format)))
        .collect();
    insta::assert_snapshot!(out);
}

#[test]
fn every_mistake_is_told_in_the_order_of_the_file() {
    let text = "version = 1\nnetwork = \"none\"\n[filesystem]\nread = [\"srv\", 3, \"/x\"]\n\
                [limits]\nmemory_mb = 0\npids = \"64\"\nmemroy_mb = 1\n";
    let check = SandboxPolicy::check(text, Format::Toml, "p");
    assert_eq!(check.policy, None);
    let found: Vec<_> = check
        .problems
        .iter()
        .map(|problem| (problem.key.as_str(), problem.line.unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ("network", 2),
            ("filesystem.read[0]", 4),
            ("filesystem.read[1]", 4),
            ("limits.memory_mb", 6),
            ("limits.pids", 7),
            ("limits.memroy_mb", 8),
        ]
    );
}

#[test]
fn a_byte_order_mark_is_skipped() {
    for (text, format) in [
        ("version = 1", Format::Toml),
        ("{\"version\": 1}", Format::Json),
    ] {
        let text = format!("\u{feff}{text}");
        SandboxPolicy::parse(&text, format, "p").unwrap();
    }
}

#[test]
fn a_file_of_a_later_version_is_told_that_alone() {
    let text = "version = 2\n[future]\nkey = 1\n";
    let check = SandboxPolicy::check(text, Format::Toml, "p");
    assert_eq!(check.problems.len(), 1);
    assert_eq!(check.problems[0].kind, ProblemKind::Version);
}

#[test]
fn the_editors_key_is_known_and_means_nothing() {
    let text = "{\"$schema\": \"https://example.org/x.json\", \"version\": 1}";
    let policy = SandboxPolicy::parse(text, Format::Json, "basic").unwrap();
    assert_eq!(policy, SandboxPolicy::basic());
}

#[test]
fn only_a_file_extends_a_file() {
    let text = "version = 1\nextends = \"./x.toml\"\n";
    let check = SandboxPolicy::check(text, Format::Toml, "p");
    assert_eq!(check.problems[0].kind, ProblemKind::Extends);
    assert_eq!(check.problems[0].line, Some(2));
}

#[test]
fn hostile_texts_are_refused_in_bounded_space() {
    let deep_json = "[".repeat(100_000);
    let deep_toml = format!("version = 1\nread = {}", "[".repeat(100_000));
    let many_keys: String = (0..60_000).map(|n| format!("k{n} = 1\n")).collect();
    let many_keys = format!("version = 1\n{many_keys}");
    let large = " ".repeat(MAX_POLICY_BYTES + 1);
    let long_key = format!("version = 1\n{} = 1\n", "k".repeat(500_000));
    for (text, format) in [
        (&deep_json, Format::Json),
        (&deep_toml, Format::Toml),
        (&large, Format::Toml),
        (&long_key, Format::Toml),
        (&many_keys, Format::Toml),
    ] {
        let err = SandboxPolicy::parse(text, format, "p").unwrap_err();
        assert_eq!(err.code(), "KV-INVALID-POLICY");
        assert!(err.to_string().len() < 2048);
        let KavachError::InvalidPolicy { problems } = err else {
            unreachable!("by its code");
        };
        assert!(problems.len() <= 64, "{}", problems.len());
    }
}

#[test]
fn escape_sequences_in_a_policy_do_not_reach_the_error_text() {
    let text = "version = 1\n\"\\u001b[2Jkey\" = 1\n";
    let err = SandboxPolicy::parse(text, Format::Toml, "a\u{1b}[31m")
        .unwrap_err()
        .to_string();
    assert!(!err.contains('\u{1b}'), "{err:?}");
}

/// The pieces of policies, and a few other bytes, so that the deeper parts are reached too.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let words = proptest::sample::select(
        &[
            "version",
            " = 1\n",
            "[limits]\n",
            "{\"",
            "\": ",
            "}",
            "[",
            "]",
            ",",
            "\n",
            "memory_mb",
            "pids",
            "-1",
            "1e400",
            "nan",
            "null",
            "read",
            "\"/srv\"",
            "\"",
            "\\u",
            "d800",
            "'''",
            "#",
            "extends",
            "strict",
            "requirements",
            "landlock",
            "off",
            ".",
            "\u{feff}",
            "é",
            "0x",
            "_",
            "1979-05-27T07:32:00Z",
            "true",
        ][..],
    );
    let piece = prop_oneof![
        8 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in bytes(), json: bool) {
        let format = if json { Format::Json } else { Format::Toml };
        let check = assemble(vec![Document::of_bytes(bytes, format, "p")]);
        prop_assert_eq!(check.policy.is_some(), check.problems.is_empty());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", json: bool) {
        let format = if json { Format::Json } else { Format::Toml };
        let _ = SandboxPolicy::parse(&text, format, "p");
    }
}
