use super::*;
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
fn errors_name_the_place_and_the_nearest_key() {
    let cases = [
        "version = 1\n[limits]\nmemroy_mb = 5\n",
        "version = 1\nnetwork = \"offf\"\n",
        "version = 1\n[requirements]\nlandlok = \"off\"\n",
        "version = 1\n[limits]\npids = -1\n",
        "version = 1\n[limits]\npids = \"many\"\n",
        "version = 1\n[limits\n",
        "version = 1\nversion = 1\n",
        "network = \"off\"\n",
        "version = 2\n",
        "version = 1\nextends = \"strct\"\n",
        "version = 1\n[syscall_filter]\nprofile = \"strit\"\n",
        "version = 1\n[limits]\nmemory_mb = 0\n",
        "version = 1\n[limits]\ncpus = nan\n",
        "version = 1\n[filesystem]\nread = [\"/a\\u0000b\"]\n",
        "version = 1\n[filesystem]\nread = [\"../etc\"]\n",
        "",
    ];
    let out: String = cases
        .iter()
        .map(|text| format!("{text:?}\n  {}\n", refused(text, Format::Toml)))
        .collect();
    insta::assert_snapshot!(out);
}

#[test]
fn json_errors_name_the_place_too() {
    let cases = [
        "{\"version\": 1,\n \"limits\": {\"memroy_mb\": 5}}",
        "{\"version\": 1, \"network\": \"none\"}",
        "{\"version\": 1",
        "[]",
        "{\"version\": 1, \"limits\": {\"pids\": 1e99}}",
    ];
    let out: String = cases
        .iter()
        .map(|text| format!("{text}\n  {}\n", refused(text, Format::Json)))
        .collect();
    insta::assert_snapshot!(out);
}

#[test]
fn hostile_texts_are_refused_in_bounded_space() {
    let deep_json = "[".repeat(100_000);
    let deep_toml = format!("version = 1\nread = {}", "[".repeat(100_000));
    let large = " ".repeat(MAX_POLICY_BYTES + 1);
    let long_key = format!("version = 1\n{} = 1\n", "k".repeat(500_000));
    for (text, format) in [
        (&deep_json, Format::Json),
        (&deep_toml, Format::Toml),
        (&large, Format::Toml),
        (&long_key, Format::Toml),
    ] {
        let err = SandboxPolicy::parse(text, format, "p").unwrap_err();
        assert_eq!(err.code(), "KV-INVALID-POLICY");
        assert!(err.to_string().len() < 2048);
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

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", json: bool) {
        let format = if json { Format::Json } else { Format::Toml };
        let _ = SandboxPolicy::parse(&text, format, "p");
    }
}
