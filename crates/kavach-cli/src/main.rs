//! The kavach command line.
fn main() {}
