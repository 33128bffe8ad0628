//! Secrets reach a program in the way that was chosen, and nothing else of the host's does.
//!
//! ```text
//! variable: sk-secret-12345
//! file:     sk-secret-12345
//! unknown:  no secret is registered as `OTHER`
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::credential::{CredentialProxy, InjectionMethod, SecretRef};
use kavach::{Command, Sandbox, SandboxConfig, SandboxState};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut proxy = CredentialProxy::new();
    proxy.register("API_KEY", "sk-secret-12345");

    let by = |inject_via| SecretRef {
        name: "API_KEY".into(),
        inject_via,
    };
    let variable = by(InjectionMethod::EnvVar {
        var_name: "OPENAI_API_KEY".into(),
    });
    let file = by(InjectionMethod::File {
        path: "/tmp/key".into(),
        mode: None,
    });
    let config = SandboxConfig::builder()
        .credentials(proxy.clone(), vec![variable, file])
        .build();
    let mut sandbox = Sandbox::create(config).await?;
    sandbox.transition(SandboxState::Running)?;

    // Every process of the program inherits a variable.
    let result = sandbox.exec(Command::shell("echo $OPENAI_API_KEY")).await?;
    print!("variable: {}", result.stdout);

    // A file lies in sealed memory, never on a disk.
    let result = sandbox.exec("cat /tmp/key").await?;
    println!("file:     {}", result.stdout);
    sandbox.destroy().await?;

    // A secret that was never registered is an error before anything runs.
    let unknown = SecretRef {
        name: "OTHER".into(),
        inject_via: InjectionMethod::Stdin,
    };
    let config = SandboxConfig::builder()
        .credentials(proxy, vec![unknown])
        .build();
    if let Err(error) = Sandbox::create(config).await {
        println!("unknown:  {error}");
    }
    Ok(())
}
