//! `cargo xtask initramfs`: the agent as pid 1, the kernel modules it loads, and nothing else.
//!
//! | path | what |
//! |---|---|
//! | `/init` | the static `netboot-agent` |
//! | `/netboot/modules.load` | absolute paths of the modules, one a line, in the order in which they load |
//! | `/lib/modules/…` | the modules, uncompressed |
//! | `/dev/console` | what pid 1 writes to before it has mounted anything |
//! | `/dev/null` | what pid 1 gets in its place where the kernel has no console |
//! | `/proc` `/sys` `/dev` `/run` `/tmp` | empty folders to mount on |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cpio::Archive;
use crate::guest_kernel::{self, GuestKernel};
use crate::modules::Dependencies;
use crate::setup::{self, Need};
use crate::{build, paths, shell};

/// What a guest's agent needs beyond Debian's cloud kernel, which has nvme, ext4 and af_packet built in.
const AGENT_MODULES: &[&str] =
    &["virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi", "sd_mod", "nvme", "ext4", "af_packet"];

/// The command line of `initramfs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to write it; its kernel goes beside it, as `vmlinuz` [default: target/initramfs/agent.cpio.gz].
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Builds the agent and its initramfs, and puts the kernel that it is for beside it.
pub(crate) fn main(options: &Options) -> Result<()> {
    setup::ensure(Need::Initramfs)?;
    let agent = build::agent()?;
    let output = options.output.clone().unwrap_or_else(|| paths::target().join("initramfs/agent.cpio.gz"));
    let kernel = guest_kernel::get()?;
    write(&agent, &kernel, &output)?;
    // Its modules load into this kernel only.
    let vmlinuz = output.with_file_name("vmlinuz");
    fs::copy(kernel.image(), &vmlinuz).with_context(|| vmlinuz.display().to_string())?;
    for path in [output, vmlinuz] {
        println!("{} ({} KiB)", path.display(), fs::metadata(&path)?.len() / 1024);
    }
    Ok(())
}

/// Writes the compressed archive for this agent and kernel.
pub(crate) fn write(agent: &Path, kernel: &GuestKernel, output: &Path) -> Result<()> {
    let archive = archive(agent, kernel)?;
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut compressed = gzip(&archive)?;
    // Under EFI the kernel joins several initrds without a gap, and a cpio must begin at a multiple of four. The kernel
    // skips the zeros.
    compressed.resize(compressed.len().next_multiple_of(4), 0);
    fs::write(output, compressed).with_context(|| format!("writing {}", output.display()))
}

fn archive(agent: &Path, kernel: &GuestKernel) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    skeleton(&mut archive);
    archive.file("init", 0o755, &fs::read(agent).with_context(|| agent.display().to_string())?);
    archive.folder("netboot");
    let load = add_modules(&mut archive, kernel, AGENT_MODULES)?;
    archive.file("netboot/modules.load", 0o644, load.as_bytes());
    Ok(archive.finish())
}

/// The folders to mount on, and the console that the kernel opens for pid 1. Where it can't (`console=` names none that is
/// there), the runtime of Rust opens `/dev/null`, and aborts, which is a kernel panic, if it can't either.
pub(crate) fn skeleton(archive: &mut Archive) {
    for folder in ["dev", "proc", "run", "sys", "tmp"] {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
}

/// Adds the modules with all that they need; their absolute paths, one a line, in load order.
pub(crate) fn add_modules(archive: &mut Archive, kernel: &GuestKernel, modules: &[&str]) -> Result<String> {
    let folder = kernel.modules();
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let (dep, builtin) = (read("modules.dep")?, read("modules.builtin")?);
    let order = Dependencies::parse(&dep, &builtin)?.order(modules)?;
    let inside = format!("lib/modules/{}", kernel.release);
    let mut folders: Vec<String> =
        order.iter().flat_map(|path| ancestors(&format!("{inside}/{path}"))).collect();
    folders.sort();
    folders.dedup();
    for folder in &folders {
        archive.folder(folder);
    }
    let mut load = String::new();
    for path in order {
        let module = plain(&folder.join(path))?;
        let target = format!("{inside}/{}", path.split(".ko").next().unwrap_or(path).to_owned() + ".ko");
        archive.file(&target, 0o644, &module);
        load.push_str(&format!("/{target}\n"));
    }
    Ok(load)
}

/// Every folder above `path`, outermost first.
fn ancestors(path: &str) -> Vec<String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
}

/// The module's bytes, decompressed: pid 1 then needs no decoder, and the archive compresses better.
fn plain(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::read(path).with_context(|| path.display().to_string()),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{}: not a kernel module that we can read", path.display()),
    };
    let mut command = Command::new(program);
    command.arg("-dcq").arg(path);
    let output = command.output().with_context(|| shell::line(&command))?;
    if !output.status.success() {
        bail!("{}: {}", output.status, shell::line(&command));
    }
    Ok(output.stdout)
}

/// Compressed by the `gzip` program, without a time stamp or a name.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut child = Command::new("gzip")
        .args(["-9", "-n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run gzip")?;
    let mut input = child.stdin.take().context("gzip has no input")?;
    // gzip writes while it reads: feed it from a thread, or both wait for ever.
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(bytes));
        let output = child.wait_with_output();
        match writer.join() {
            Ok(written) => written.and(output),
            Err(_) => Err(std::io::Error::other("the thread that feeds gzip panicked")),
        }
    })?;
    if !output.status.success() {
        bail!("gzip: {}", output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without one of them a machine whose `console=` is not there panics before the agent's first line.
    #[test]
    fn pid_1_finds_a_console_and_null() {
        let mut archive = Archive::default();
        skeleton(&mut archive);
        let bytes = archive.finish();
        let device = |path: &str| {
            let named =
                |window: &[u8]| window.strip_prefix(path.as_bytes()).is_some_and(|rest| rest == b"\0");
            let at = bytes.windows(path.len() + 1).position(named).unwrap_or_else(|| panic!("no {path}"));
            // Major and minor are the last but two and one of the header's numbers, of eight digits each.
            String::from_utf8_lossy(&bytes[at - 110..at][78..94]).into_owned()
        };
        assert_eq!(device("dev/console"), "0000000500000001");
        assert_eq!(device("dev/null"), "0000000100000003");
    }

    #[test]
    fn folders_come_outermost_first() {
        assert_eq!(ancestors("lib/modules/6.1/a.ko"), ["lib", "lib/modules", "lib/modules/6.1"]);
        assert!(ancestors("init").is_empty());
    }
}
