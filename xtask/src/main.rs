//! Netboot's workbench: a file per command. `cargo xtask setup|build|test|differential|vm-test|demo|bench|fuzz|initramfs`.

mod bench;
mod build;
mod cpio;
mod deb;
mod demo;
mod differential;
mod features;
mod fuzz;
mod guest_kernel;
mod image;
mod initramfs;
mod interrupt;
mod modules;
mod packages;
mod paths;
mod published;
mod rooms;
mod setup;
mod shell;
mod test;
mod toolchain;
mod vm;
mod vm_test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Netboot's workbench.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing for building and testing; does nothing when all is there.
    Setup(setup::Options),
    /// Release builds of `netboot` and of the static `netboot-agent`.
    Build,
    /// Every test: formatting, clippy, rooms, unit, integration and doc tests, the static agent, `vm-test`.
    Test(test::Options),
    /// Millions of generated frames through the kernel's programs and the pure builder.
    Differential(differential::Options),
    /// Boot QEMU machines with real firmware against the real `netboot serve`.
    VmTest(vm_test::Options),
    /// Watch one machine install itself over the network.
    Demo(demo::Options),
    /// Measure, beside our peers and beside the limit.
    Bench(bench::Options),
    /// Fuzz the readers and the machines, guided by coverage.
    Fuzz(fuzz::Options),
    /// Build the agent's initramfs.
    Initramfs(initramfs::Options),
}

fn main() -> ExitCode {
    interrupt::listen();
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::main(&options),
        Command::Build => setup::ensure(setup::Need::Build).and_then(|()| build::all().map(drop)),
        Command::Test(options) => test::main(&options),
        Command::Differential(options) => differential::main(&options),
        Command::VmTest(options) => vm_test::main(&options),
        Command::Demo(options) => demo::main(&options),
        Command::Bench(options) => bench::main(&options),
        Command::Fuzz(options) => fuzz::main(&options),
        Command::Initramfs(options) => initramfs::main(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
