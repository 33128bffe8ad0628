//! A project to work in: the program changes a copy, and what is wanted of it is written back.
//!
//! ```text
//! on the host: 1 file
//! changed      main.c
//! added        notes.txt
//! applied:     main.c
//! on the host: int main(void) { return 0; }
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::fs;

use kavach::{ApplyOptions, Command, Sandbox, SandboxConfig, SandboxState, Workspace};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let project = std::env::temp_dir().join(format!("kavach-example-{}", std::process::id()));
    fs::create_dir(&project)?;
    fs::write(project.join("main.c"), "int main(void) { return 1; }\n")?;

    let config = SandboxConfig::builder()
        .workspace(Workspace::new(&project))
        .build();
    let mut sandbox = Sandbox::create(config).await?;
    sandbox.transition(SandboxState::Running)?;

    // It starts in the workspace, and may write as it likes.
    let edit = "sed -i 's/return 1/return 0/' main.c; echo done > notes.txt";
    sandbox.exec(Command::shell(edit)).await?;
    println!("on the host: {} file", fs::read_dir(&project)?.count());

    let changes = sandbox.changes().await?;
    for change in changes.iter() {
        println!("{:<12} {}", change.kind, change.path);
    }

    // Exactly what was listed, and of that the sources alone.
    let options = ApplyOptions::new().changes(changes).only(["main.c"]);
    for done in sandbox.apply(options).await?.applied {
        println!("applied:     {}", done.path);
    }
    print!(
        "on the host: {}",
        fs::read_to_string(project.join("main.c"))?
    );

    sandbox.destroy().await?;
    fs::remove_dir_all(&project)?;
    Ok(())
}
