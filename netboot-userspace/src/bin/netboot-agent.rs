//! The installing agent: pid 1 of the initramfs, or a command by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        netboot_userspace::agent::init::main();
    }
    netboot_userspace::agent::cli::main()
}
