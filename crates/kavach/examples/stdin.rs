//! What a program reads: nothing, bytes that are there from the start, or what is written later.
//!
//! ```text
//! nothing: 0 bytes
//! bytes:   3 lines
//! piped:   first, then second
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Command, Sandbox, SandboxConfig, SandboxState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(SandboxConfig::builder().build()).await?;
    sandbox.transition(SandboxState::Running)?;

    // Standard input is empty unless it is given.
    let result = sandbox.exec("wc -c").await?;
    println!("nothing: {} bytes", result.stdout.trim());

    // Bytes, as a whole.
    let sort = Command::new("wc").arg("-l").stdin_bytes("c\na\nb\n");
    let result = sandbox.exec(sort).await?;
    println!("bytes:   {} lines", result.stdout.trim());

    // A pipe: the program runs while its input is still being made.
    let script = "read a; read b; echo $a, then $b";
    let mut child = sandbox.spawn(Command::shell(script).stdin_piped()).await?;
    if let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) {
        input.write_all(b"first\n").await?;
        input.write_all(b"second\n").await?;
        drop(input); // the end of its input
        let mut said = String::new();
        output.read_to_string(&mut said).await?;
        print!("piped:   {said}");
    }
    child.wait().await?;

    sandbox.destroy().await?;
    Ok(())
}
