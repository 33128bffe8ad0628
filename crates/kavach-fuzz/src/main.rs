//! The fuzzer: LLVM's libFuzzer around the target that `KAVACH_FUZZ_TARGET` names. One program for
//! all of them, because linking takes longer than a target does.
#![no_main]

use std::sync::OnceLock;

use kavach_fuzz::Target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var("KAVACH_FUZZ_TARGET").unwrap_or_default();
        kavach_fuzz::target(&name)
            .unwrap_or_else(|| panic!("no target {name:?}; scripts/fuzz.sh --list shows them"))
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| (target().run)(data));
