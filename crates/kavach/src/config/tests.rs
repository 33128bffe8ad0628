use super::*;
use crate::credential::InjectionMethod;

/// The field that validation names.
fn field_of(builder: SandboxConfigBuilder) -> String {
    match builder.build().validate() {
        Err(KavachError::InvalidConfig { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_builder_starts_from_basic_on_process() {
    let config = SandboxConfig::builder().build();
    assert_eq!(config.backend(), Backend::Process);
    assert_eq!(*config.policy(), SandboxPolicy::basic());
    assert_eq!(config.timeout_ms(), 0);
    assert_eq!(config.validate().unwrap().timeout_ms(), None);
}

#[test]
fn changes_apply_in_the_order_of_the_calls() {
    let late = SandboxConfig::builder()
        .policy(SandboxPolicy::strict())
        .policy_seccomp("basic")
        .network(true)
        .build();
    assert_eq!(
        late.policy().syscall_filter.profile.as_deref(),
        Some("basic")
    );
    assert_eq!(late.policy().network, Network::On);
    assert!(late.policy().landlock);
    let replaced = SandboxConfig::builder()
        .policy_seccomp("basic")
        .network(true)
        .policy(SandboxPolicy::strict())
        .build();
    assert_eq!(*replaced.policy(), SandboxPolicy::strict());
}

#[test]
fn a_misspelt_profile_comes_out_of_validation_with_the_nearest() {
    let err = SandboxConfig::builder()
        .policy_seccomp("strct")
        .build()
        .validate()
        .unwrap_err();
    assert_eq!(err.to_string(), "unknown system call profile `strct`");
    assert_eq!(
        err.hint().unwrap(),
        "did you mean `strict`? known: basic, strict"
    );
}

#[test]
fn each_bad_value_is_named_by_its_field() {
    let builder = SandboxConfig::builder;
    assert_eq!(field_of(builder().agent_id(&"x".repeat(129))), "agent_id");
    assert_eq!(field_of(builder().agent_id("a\u{1b}[0m")), "agent_id");
    for name in ["", "-a", "a b", "a/b", "ü", &"h".repeat(65)] {
        assert_eq!(field_of(builder().hostname(name)), "hostname", "{name:?}");
    }
    assert_eq!(field_of(builder().timeout_ms(u64::MAX)), "timeout_ms");
    assert_eq!(field_of(builder().env("A=B", "x")), "env");
    assert_eq!(field_of(builder().env("", "x")), "env");
    assert_eq!(field_of(builder().env("A", "x\0y")), "env.A");
    assert_eq!(
        field_of(builder().env("A", "x".repeat(128 * 1024))),
        "env.A"
    );
    assert_eq!(field_of(builder().memory_mb(0)), "limits.memory_mb");
    assert_eq!(field_of(builder().pids(u32::MAX)), "limits.pids");
    assert_eq!(field_of(builder().cpu_time_ms(0)), "limits.cpu_time_ms");
    assert_eq!(field_of(builder().output_limit_kb(0)), "limits.output_kb");
    for cpus in [0.0, -1.0, 4097.0, f64::NAN, f64::INFINITY] {
        assert_eq!(field_of(builder().cpus(cpus)), "limits.cpus", "{cpus}");
    }
    let many = (0..=MAX_ENV).fold(builder(), |b, n| b.env(format!("V{n}"), ""));
    assert_eq!(field_of(many), "env");
}

#[test]
fn bad_read_paths_are_named_by_their_place() {
    let long = format!("/{}", "x".repeat(4096));
    for path in [
        "", "relative", "/a/../b", "/a//b", "/a/", "/a/.", "/a\nb", "/a\0b", "/", "/proc/1", &long,
    ] {
        let builder = SandboxConfig::builder().read("/srv").read(path);
        assert_eq!(field_of(builder), "filesystem.read[1]", "{path:?}");
    }
    let twice = SandboxConfig::builder().read("/srv").read("/srv");
    assert_eq!(field_of(twice), "filesystem.read[1]");
    let many = (0..=512).fold(SandboxConfig::builder(), |b, n| b.read(format!("/srv/{n}")));
    assert_eq!(field_of(many), "filesystem.read");
}

#[test]
fn policies_that_contradict_themselves_are_refused() {
    let with = |change: fn(&mut SandboxPolicy)| {
        let mut policy = SandboxPolicy::basic();
        change(&mut policy);
        field_of(SandboxConfig::builder().policy(policy))
    };
    use crate::control::{Control, Requirement};
    use crate::policy::View;
    assert_eq!(with(|p| p.namespaces.mount = false), "namespaces.mount");
    assert_eq!(with(|p| p.namespaces.pid = false), "namespaces.pid");
    let host_root = with(|p| {
        p.filesystem.view = View::Host;
        p.filesystem.read_only_root = true;
    });
    assert_eq!(host_root, "filesystem.view");
    let vague = with(|p| {
        p.accept_approximate.insert(Control::SyscallFilter);
    });
    assert_eq!(vague, "accept_approximate");
    let bare = with(|p| {
        p.requirements.insert(Control::NoNewPrivs, Requirement::Off);
    });
    assert_eq!(bare, "requirements.no_new_privs");
}

#[test]
fn secrets_are_resolved_and_shown_nowhere() {
    let mut proxy = CredentialProxy::new();
    proxy.register("KEY", "sk-canary");
    let secret = |name: &str| SecretRef {
        name: name.into(),
        inject_via: InjectionMethod::EnvVar {
            var_name: "V".into(),
        },
    };
    let config = SandboxConfig::builder()
        .credentials(proxy.clone(), vec![secret("KEY")])
        .env("TOKEN", "env-canary")
        .build();
    let spec = config.validate().unwrap();
    assert_eq!(spec.injections().env.len(), 1);
    assert!(!format!("{config:?} {spec:?}").contains("canary"));
    let missing = SandboxConfig::builder()
        .credentials(proxy, vec![secret("NO")])
        .build();
    assert_eq!(missing.validate().unwrap_err().code(), "KV-SECRET-MISSING");
}
