//! Compiles the agent for the target of the build, with the compiler of the build.
//!
//! The agent is not a cargo target: it has no std and no libc, needs its own linker arguments,
//! and its bytes must be there when the library is compiled, for whoever depends on the crate.
//! So this calls rustc directly, twice: the protocol crate's sources (found through its `links`
//! metadata), then the agent.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(agent_built)");
    if let Err(problem) = build() {
        println!("cargo::error={problem}");
    }
}

fn build() -> Result<(), String> {
    let var = |name: &str| std::env::var(name).map_err(|e| format!("{name}: {e}"));
    let out = PathBuf::from(var("OUT_DIR")?);
    // The agent makes system calls by number: a port is a new module, not a recompile. Elsewhere
    // the library says so when a sandbox is created.
    if var("CARGO_CFG_TARGET_ARCH")? != "x86_64" || var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let (rustc, target) = (var("RUSTC")?, var("TARGET")?);
    let proto = PathBuf::from(var("DEP_KAVACH_PROTO_SOURCES_SRC")?);
    println!(
        "cargo::rerun-if-changed={}",
        proto.parent().unwrap_or(&proto).display()
    );
    let linker = std::env::var("RUSTC_LINKER").ok();

    let common = |command: &mut Command| {
        command.args([
            "--edition=2024",
            "--target",
            &target,
            "-Cpanic=abort",
            "-Copt-level=s",
        ]);
        command.args(["-Ccodegen-units=1", "-Cdebuginfo=0", "-Coverflow-checks=on"]);
        command.args([
            "-Cembed-bitcode=yes",
            "-Crelocation-model=static",
            "--cap-lints=allow",
        ]);
    };
    let rlib = out.join("libkavach_proto.rlib");
    let mut command = Command::new(&rustc);
    common(&mut command);
    command
        .args(["--crate-type=rlib", "--crate-name=kavach_proto", "-o"])
        .arg(&rlib)
        .arg(&proto);
    run(&mut command)?;

    let manifest = PathBuf::from(var("CARGO_MANIFEST_DIR")?);
    let mut command = Command::new(&rustc);
    common(&mut command);
    command.args([
        "--crate-type=bin",
        "--crate-name=kavach_agent",
        "-Clto=fat",
        "-Cstrip=symbols",
    ]);
    for arg in [
        "-nostdlib",
        "-nostartfiles",
        "-static",
        "-Wl,--build-id=none,-z,noexecstack",
    ] {
        command.arg(format!("-Clink-arg={arg}"));
    }
    if let Some(linker) = linker {
        command.arg(format!("-Clinker={linker}"));
    }
    command
        .arg("--extern")
        .arg(format!("kavach_proto={}", rlib.display()));
    command
        .arg("-o")
        .arg(out.join("agent"))
        .arg(manifest.join("src/agent.rs"));
    run(&mut command)?;
    println!("cargo::rustc-cfg=agent_built");
    check_static(&out.join("agent"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).replace('\n', " | ");
    Err(format!(
        "building the sandbox agent failed ({}): {text}",
        output.status
    ))
}

/// An agent that needs an interpreter would not start in an empty root.
fn check_static(agent: &Path) -> Result<(), String> {
    let bytes = std::fs::read(agent).map_err(|e| format!("{}: {e}", agent.display()))?;
    let dynamic = bytes
        .windows(10)
        .any(|w| w == b"/ld-linux-" || w == b"ld-musl-x8");
    if dynamic {
        Err("the agent was not linked statically".into())
    } else {
        Ok(())
    }
}
