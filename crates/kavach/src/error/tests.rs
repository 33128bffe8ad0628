use super::*;

/// One of each variant.
fn one_of_each() -> Vec<KavachError> {
    let io = || io::Error::from_raw_os_error(13);
    let all = vec![
        KavachError::InvalidTransition {
            from: SandboxState::Stopped,
            to: SandboxState::Running,
        },
        KavachError::NotRunning {
            state: SandboxState::Paused,
            act: "exec",
        },
        KavachError::UnknownProfile {
            name: "strct".into(),
            nearest: Some("strict".into()),
            known: vec!["basic", "strict"],
        },
        KavachError::UnknownPreset {
            name: "x".into(),
            nearest: None,
            known: vec!["minimal", "basic", "strict"],
        },
        KavachError::UnknownBackend {
            name: "oc".into(),
            nearest: Some("oci".into()),
            known: vec!["noop", "oci"],
        },
        KavachError::UnknownControl {
            name: "memroy".into(),
            nearest: Some("memory".into()),
        },
        KavachError::invalid("limits.pids", "0", "1 to 4194304", "leave it out"),
        crate::SandboxPolicy::parse(
            "version = 1\n[limits]\nmemroy_mb = 5\n",
            crate::policy::Format::Toml,
            "p.toml",
        )
        .unwrap_err(),
        KavachError::PathMissing {
            field: "filesystem.read[0]".into(),
            path: "/srv/x".into(),
            source: io(),
        },
        KavachError::ControlUnavailable {
            control: Control::Landlock,
            required: "Landlock ABI 1 or later (Linux 5.13)".into(),
            found: "the kernel has no Landlock".into(),
            fix: "boot a kernel that has it".into(),
        },
        KavachError::BackendUnavailable {
            backend: Backend::Wasm,
            reason: Unavailable::NotCompiled { feature: "wasm" },
            hint: None,
        },
        KavachError::CommandSyntax {
            position: 5,
            problem: "an open single quote",
        },
        KavachError::CommandNotFound {
            program: "foo".into(),
            searched: "/usr/bin".into(),
        },
        KavachError::CommandNotExecutable {
            program: "/etc/passwd".into(),
            source: io(),
        },
        KavachError::Setup {
            step: "mount tmpfs".into(),
            on: "/tmp".into(),
            source: io(),
            fix: Some("allow it".into()),
        },
        KavachError::Agent {
            problem: "a frame of 4 GiB".into(),
        },
        KavachError::AgentDied {
            how: "signal 9".into(),
        },
        KavachError::Cgroup {
            op: "write".into(),
            path: "/sys/fs/cgroup/x".into(),
            source: io(),
        },
        KavachError::SecretMissing { name: "KEY".into() },
        KavachError::SecretUndeliverable {
            name: "KEY".into(),
            reason: "a NUL in it".into(),
        },
        KavachError::Vetoed {
            act: "exec".into(),
            reason: "night".into(),
            hook: "ops".into(),
        },
        KavachError::HookPanicked {
            hook: "ops".into(),
            act: "exec".into(),
        },
        KavachError::SandboxGone { act: "exec" },
        KavachError::Unsupported {
            act: "pause".into(),
            backend: Backend::Process,
            reason: "no freezer".into(),
            hint: Some("delegate a cgroup".into()),
        },
        KavachError::NoWorkspace {
            act: "apply changes",
        },
        KavachError::WorkspaceLimit {
            what: "changed entries",
            limit: 10,
            path: "a/b".into(),
        },
        KavachError::WorkspaceLayer {
            problem: "a redirect",
            path: "a/b".into(),
        },
        KavachError::WorkspaceBusy,
        KavachError::HostIo {
            op: "read".into(),
            path: "/proc/x".into(),
            source: io(),
        },
    ];
    assert_eq!(all.len(), 29, "one of each variant");
    all
}

#[test]
fn codes_are_unique_and_plain() {
    let mut codes: Vec<&str> = one_of_each().iter().map(KavachError::code).collect();
    assert!(codes.iter().all(
        |c| c.starts_with("KV-") && c.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
    ));
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count);
}

#[test]
fn every_error_as_people_see_it() {
    let out: String = one_of_each()
        .iter()
        .map(|err| {
            format!(
                "{}\n  {err}\n  {}\n",
                err.code(),
                err.hint().unwrap_or("-".into())
            )
        })
        .collect();
    insta::assert_snapshot!(out);
}

#[test]
fn the_cause_from_below_is_kept() {
    use std::error::Error as _;
    let causes = one_of_each()
        .iter()
        .filter(|err| err.source().is_some())
        .count();
    assert_eq!(causes, 5);
}

#[test]
fn a_copy_says_the_same_and_keeps_the_number_from_below() {
    use std::error::Error as _;
    let number = |err: &KavachError| {
        let cause = err.source()?.downcast_ref::<io::Error>()?;
        cause.raw_os_error()
    };
    for err in one_of_each() {
        let copy = err.clone();
        assert_eq!(format!("{copy:?}"), format!("{err:?}"));
        assert_eq!(number(&copy), number(&err));
    }
    let named = KavachError::HostIo {
        op: "read".into(),
        path: "/x".into(),
        source: io::Error::new(io::ErrorKind::InvalidData, "not a number"),
    };
    assert_eq!(named.clone().to_string(), named.to_string());
}

#[test]
fn too_few_files_are_named_wherever_they_are_met() {
    let setup = |source| KavachError::Setup {
        step: "mount".into(),
        on: "/etc".into(),
        source,
        fix: Some("something else".into()),
    };
    let direct = setup(io::Error::from_raw_os_error(24));
    assert!(direct.hint().unwrap().contains("`ulimit -n`"));
    // Below an error of another layer.
    let wrapped = setup(io::Error::other(direct));
    assert!(wrapped.hint().unwrap().contains("`ulimit -n`"));
    let other = setup(io::Error::from_raw_os_error(13));
    assert_eq!(other.hint().unwrap(), "something else");
}
