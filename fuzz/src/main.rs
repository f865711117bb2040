//! One target under libFuzzer: which one, the environment says. `cargo xtask fuzz` builds and runs it.
#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

/// Names the target: one of [`targets::ALL`].
const VARIABLE: &str = "NETBOOT_FUZZ_TARGET";

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var(VARIABLE).unwrap_or_default();
    let found = targets::ALL.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{VARIABLE}={name}: no such target")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
