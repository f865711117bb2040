//! The agent by hand.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use super::console::Console;
use super::hardware::{Bytes, inventory};
use super::report::{Reporter, name};
use super::{plan, run};
use crate::image::device::Disk;
use crate::image::digest::Digest;
use crate::image::fetch::Policy;
use crate::image::http::Url;
use crate::image::install::{Expected, Source, install};
use crate::image::protocol::Instructions;

/// Writes disk images, proved, head last.
///
/// As pid 1 of an initramfs it takes no arguments: it reads the kernel command line (netboot.server=, netboot.token=,
/// BOOTIF= or netboot.mac=, netboot.console=) and does what the server says.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write one image to one disk or file, and read it back.
    ///
    /// The disk's first MiB is zeroed before, and written after, everything else has been read back and found right:
    /// whatever goes wrong, a half-written disk does not boot.
    Write {
        /// http://ADDRESS[:PORT]/path, or a file: raw, gzip or zstd, told apart by the first bytes.
        #[arg(long, value_name = "URL|FILE")]
        image: String,
        /// The disk (not in use), or a file, which is made if it isn't there.
        #[arg(long, value_name = "DEV|FILE")]
        to: PathBuf,
        /// SHA-256 of the decompressed image: 64 hex digits.
        #[arg(long, value_name = "HEX")]
        sha256: Digest,
        /// Bytes of the decompressed image: checked against the disk before the first write.
        #[arg(long, value_name = "BYTES")]
        size: Option<u64>,
    },
    /// Show what instructions would do on this machine; nothing is changed.
    Plan {
        /// A JSON file, as the server answers to GET /agent/v1/instructions.
        #[arg(long, value_name = "FILE")]
        instructions: PathBuf,
    },
    /// List this machine's disks and network interfaces.
    Inventory {
        #[arg(long)]
        json: bool,
    },
}

/// Exit codes: 0 done, 1 failed, 2 usage.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Write { image, to, sha256, size } => write(&image, &to, Expected { sha256, size }),
        Command::Plan { instructions } => show_plan(&instructions),
        Command::Inventory { json } => show_inventory(json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("netboot-agent: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn write(image: &str, to: &Path, expected: Expected) -> Result<(), String> {
    let source = if image.contains("://") {
        let url: Url = image.parse().map_err(|e| format!("{e}"))?;
        Source::http(&url, Policy::default())
    } else {
        Source::file(Path::new(image))
    };
    let source = source.map_err(|e| e.to_string())?;
    let mut reporter = Reporter::new(Arc::new(Console::stderr()), None);
    let summary = install(source, expected, || Disk::open(to), &mut |event| run::tell(&mut reporter, event))
        .map_err(|failure| format!("{}: {failure}", name(failure.step)))?;
    println!("{}: {} bytes from a {} image, read back and right", to.display(), summary.size, summary.format);
    Ok(())
}

fn show_plan(instructions: &Path) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", instructions.display());
    let text = std::fs::read(instructions).map_err(|e| fail(&e))?;
    match serde_json::from_slice(&text).map_err(|e| fail(&e))? {
        Instructions::Wait { seconds } => println!("wait {seconds} s, then ask again"),
        Instructions::Reboot => println!("reboot"),
        Instructions::Install(wanted) => {
            let (expected, url) = run::checked(&wanted).map_err(|failed| failed.reason)?;
            let found = inventory(Path::new("/sys")).disks;
            let disk = plan::choose(&wanted.disk, &found, wanted.size).map_err(|e| e.to_string())?;
            println!("write {url}\n  to {disk}\n  sha256 {}", expected.sha256);
            println!("on failure: {:?}", wanted.on_failure);
        }
    }
    Ok(())
}

fn show_inventory(json: bool) -> Result<(), String> {
    let inventory = inventory(Path::new("/sys"));
    if json {
        println!("{}", serde_json::to_string_pretty(&inventory).map_err(|e| e.to_string())?);
        return Ok(());
    }
    for disk in &inventory.disks {
        let flags = [(disk.removable, " removable"), (disk.read_only, " read-only")];
        let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
        println!("disk {disk}, blocks of {}{flags}", Bytes(disk.block.into()));
    }
    for nic in &inventory.nics {
        println!("nic  {} {}{}", nic.name, nic.mac, if nic.carrier { "" } else { " no carrier" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
