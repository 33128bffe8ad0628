//! Tells dependent build scripts where the protocol's sources are.
fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::metadata=src={root}/src/lib.rs");
    println!("cargo::rerun-if-changed=src");
}
