//! The examples of the project's description that start nothing, as they are printed there.

#[test]
fn strength_scoring() {
    use kavach::{Backend, SandboxPolicy, scoring};

    // Base score per backend
    let process_score = scoring::base_score(Backend::Process); // 50
    let gvisor_score = scoring::base_score(Backend::GVisor); // 70
    let firecracker_score = scoring::base_score(Backend::Firecracker); // 90

    // Policy modifiers raise the score
    let strict = SandboxPolicy::strict();
    let score = scoring::score_backend(Backend::Process, &strict);
    println!("{}", score); // "63 (standard)" — seccomp + ro rootfs + limits

    assert_eq!(
        (process_score, gvisor_score, firecracker_score),
        (50, 70, 90)
    );
    assert_eq!(score.to_string(), "63 (standard)");
}

#[test]
fn credential_proxy() {
    use kavach::credential::{CredentialProxy, InjectionMethod, SecretRef};

    let mut proxy = CredentialProxy::new();
    proxy.register("API_KEY", "sk-secret-12345");

    let refs = vec![SecretRef {
        name: "API_KEY".into(),
        inject_via: InjectionMethod::EnvVar {
            var_name: "OPENAI_API_KEY".into(),
        },
    }];

    let env_vars = proxy.env_vars(&refs);
    // env_vars = [("OPENAI_API_KEY", "sk-secret-12345")]
    // The secret never touches the sandbox filesystem

    assert_eq!(
        env_vars,
        [("OPENAI_API_KEY".to_owned(), "sk-secret-12345".to_owned())]
    );
}

#[test]
fn policy_presets() {
    use kavach::SandboxPolicy;

    let minimal = SandboxPolicy::minimal(); // No restrictions
    let basic = SandboxPolicy::basic(); // Seccomp + no network
    let strict = SandboxPolicy::strict(); // Everything locked down

    assert_eq!(
        [minimal.name, basic.name, strict.name],
        ["minimal", "basic", "strict"]
    );
}

#[test]
fn the_quick_starts_config() {
    use kavach::{Backend, SandboxConfig};

    let config = SandboxConfig::builder()
        .backend(Backend::Process)
        .policy_seccomp("basic")
        .network(false)
        .timeout_ms(30_000)
        .agent_id("agent-123")
        .build();

    let spec = config.validate().unwrap();
    assert_eq!(
        (spec.timeout_ms(), spec.agent_id()),
        (Some(30_000), "agent-123")
    );
}

/// The quick start, verbatim.
#[rustfmt::skip]
mod quick_start {
use kavach::{Sandbox, SandboxConfig, Backend, SandboxState};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Build a sandboxed execution environment
    let config = SandboxConfig::builder()
        .backend(Backend::Process)
        .policy_seccomp("basic")
        .network(false)
        .timeout_ms(30_000)
        .agent_id("agent-123")
        .build();

    // Create and start
    let mut sandbox = Sandbox::create(config).await?;
    sandbox.transition(SandboxState::Running)?;

    // Execute
    let result = sandbox.exec("echo hello world").await?;
    println!("exit: {}, stdout: {}", result.exit_code, result.stdout);

    // Cleanup
    sandbox.destroy().await?;
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
}

#[test]
fn the_quick_start_prints_what_it_promises() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "quick_start::runs", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("exit: 0, stdout: hello world\n"), "{text}");
}
