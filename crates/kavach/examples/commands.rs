//! The ways to say what runs: words, a program with its arguments, a script of the shell.
//!
//! ```text
//! words:    one|two words|$HOME
//! argv:     one|two words|$HOME
//! shell:    6
//! env, cwd: hi from /tmp
//! missing:  command not found: no-such-program
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Command, Sandbox, SandboxConfig, SandboxState};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(SandboxConfig::builder().build()).await?;
    sandbox.transition(SandboxState::Running)?;

    // Text is split into words as a shell would; nothing else of a shell happens to it.
    let result = sandbox
        .exec("printf '%s|%s|%s' one 'two words' '$HOME'")
        .await?;
    println!("words:    {}", result.stdout);

    // The same without any splitting: right for arguments that others wrote.
    let words = ["%s|%s|%s", "one", "two words", "$HOME"];
    let result = sandbox.exec(Command::new("printf").args(words)).await?;
    println!("argv:     {}", result.stdout);

    // A shell runs only where one is asked for.
    let result = sandbox.exec(Command::shell("echo $((2 * 3))")).await?;
    print!("shell:    {}", result.stdout);

    // The environment inside is clean but for what is set.
    let command = Command::shell("echo $GREETING from $PWD")
        .env("GREETING", "hi")
        .cwd("/tmp");
    print!("env, cwd: {}", sandbox.exec(command).await?.stdout);

    // A program that cannot be started is an error; one that fails is a result.
    match sandbox.exec("no-such-program").await {
        Err(error) => println!("missing:  {error}"),
        Ok(result) => println!("it ran: {result:?}"),
    }

    sandbox.destroy().await?;
    Ok(())
}
