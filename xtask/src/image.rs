//! The disk image that test machines install: it boots from BIOS and from UEFI, says so on the serial port, and turns
//! the machine off. Made without root, loop devices or mounts.
//!
//! ```text
//!       0  MBR: syslinux' boot code, one active partition of type EF (ESP)
//!   1 MiB  FAT: ldlinux.sys, syslinux.cfg, vmlinuz, initrd.gz     BIOS: syslinux
//!               EFI/BOOT/BOOTX64.EFI                              UEFI: stub, kernel, initrd and command line in one
//! ```

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cpio::Archive;
use crate::guest_kernel::GuestKernel;
use crate::{initramfs, paths, shell};

/// What the installed machine prints when it started from its disk.
pub(crate) const MARKER: &str = "NETBOOT-DISK: started from disk";

/// Kernel arguments that every guest of the tests needs: the serial console, and what keeps emulated timers from
/// hanging the boot.
pub(crate) const KERNEL_ARGUMENTS: &str = "console=ttyS0 no_timer_check tsc=reliable panic=1 quiet";

const SIZE: u64 = 64 << 20;
const SECTOR: u64 = 512;
const PARTITION_AT: u64 = 1 << 20;
/// The MBR's boot code ends where its disk signature and partition table begin.
const BOOT_CODE: usize = 440;

const BUSYBOX: &str = "/bin/busybox";
const EFI_STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const MBR_CODE: &str = "/usr/lib/syslinux/mbr/mbr.bin";

/// A finished image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The disk's bytes.
    pub(crate) raw: PathBuf,
    /// The same, compressed by zstd.
    pub(crate) compressed: PathBuf,
    pub(crate) facts: Facts,
}

/// What an `install` section must say about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Of the raw bytes, 64 hex digits.
    pub(crate) sha256: String,
    /// Of the raw bytes.
    pub(crate) size: u64,
}

/// The image for this kernel, from the cache when one was made from the same inputs.
pub(crate) fn get(kernel: &GuestKernel) -> Result<Image> {
    let folder = paths::cache()?.join("disks");
    let name = inputs_digest(kernel)?;
    let home = folder.join(&name[..16]);
    if !home.exists() {
        let partial = folder.join(format!(".partial-{}", std::process::id()));
        fs::create_dir_all(&partial)?;
        let made = make(kernel, &partial);
        if made.is_ok() && !home.exists() {
            fs::rename(&partial, &home)?;
        } else {
            fs::remove_dir_all(&partial)?;
        }
        made.context("making the test disk")?;
    }
    let facts = fs::read(home.join("facts.json"))?;
    let (raw, compressed) = (home.join("disk.img"), home.join("disk.img.zst"));
    Ok(Image { raw, compressed, facts: serde_json::from_slice(&facts)? })
}

/// Of everything that goes into the image, this recipe included.
fn inputs_digest(kernel: &GuestKernel) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(include_bytes!("image.rs"));
    for path in [&kernel.image(), Path::new(BUSYBOX), Path::new(EFI_STUB), Path::new(MBR_CODE)] {
        hash.update(
            fs::read(path).with_context(|| format!("{}: run \"cargo xtask setup\"", path.display()))?,
        );
    }
    Ok(hex(&hash.finalize()))
}

fn make(kernel: &GuestKernel, folder: &Path) -> Result<()> {
    let raw = folder.join("disk.img");
    let initrd = folder.join("initrd.gz");
    fs::write(&initrd, initramfs::gzip(&disk_initramfs()?)?)?;
    partition(&raw)?;
    format(&raw)?;
    bios(&raw, folder)?;
    uefi(&raw, &kernel.image(), &initrd, folder)?;
    copy_in(&raw, &kernel.image(), "vmlinuz")?;
    copy_in(&raw, &initrd, "initrd.gz")?;
    shell::sh("zstd", &["-q", "-T0", "-9", &raw.to_string_lossy()])?;
    let facts = Facts { sha256: sha256(&raw)?, size: fs::metadata(&raw)?.len() };
    fs::write(folder.join("facts.json"), serde_json::to_vec_pretty(&facts)?)?;
    Ok(())
}

/// What the installed system is: a shell that says where it started from, and turns the machine off.
fn disk_initramfs() -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    initramfs::skeleton(&mut archive);
    archive.folder("bin");
    archive.file("bin/busybox", 0o755, &fs::read(BUSYBOX).context(BUSYBOX)?);
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox echo \"{MARKER} netboot-test\"\n/bin/busybox sync\n/bin/busybox poweroff -f\n"
    );
    archive.file("init", 0o755, init.as_bytes());
    Ok(archive.finish())
}

fn partition(raw: &Path) -> Result<()> {
    fs::File::create(raw)?.set_len(SIZE)?;
    let layout = "label: dos\nlabel-id: 0x6e657462\nstart=2048, type=ef, bootable\n";
    let mut sfdisk = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(raw)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run sfdisk")?;
    sfdisk.stdin.take().context("sfdisk has no input")?.write_all(layout.as_bytes())?;
    let status = sfdisk.wait()?;
    if !status.success() {
        bail!("sfdisk: {status}");
    }
    Ok(())
}

fn format(raw: &Path) -> Result<()> {
    let offset = (PARTITION_AT / SECTOR).to_string();
    let kilobytes = ((SIZE - PARTITION_AT) / 1024).to_string();
    let mut mkfs = Command::new("mkfs.vfat");
    mkfs.args(["--invariant", "-F", "16", "-n", "NETBOOT", "--offset", &offset]).arg(raw).arg(kilobytes);
    shell::output(&mut mkfs).map(drop)
}

/// syslinux in the partition, its boot code in the MBR.
fn bios(raw: &Path, folder: &Path) -> Result<()> {
    let offset = PARTITION_AT.to_string();
    shell::output(Command::new("syslinux").args(["--install", "--offset", &offset]).arg(raw))?;
    let mut code = fs::read(MBR_CODE).context(MBR_CODE)?;
    code.truncate(BOOT_CODE);
    let mut disk = fs::OpenOptions::new().write(true).open(raw)?;
    disk.seek(SeekFrom::Start(0))?;
    disk.write_all(&code)?;
    let config = folder.join("syslinux.cfg");
    let text = format!(
        "DEFAULT netboot\nLABEL netboot\nKERNEL vmlinuz\nINITRD initrd.gz\nAPPEND {KERNEL_ARGUMENTS}\n"
    );
    fs::write(&config, text)?;
    copy_in(raw, &config, "syslinux.cfg")
}

/// One EFI binary of systemd's stub, the kernel, the initrd and the command line, where firmware looks by default.
fn uefi(raw: &Path, kernel: &Path, initrd: &Path, folder: &Path) -> Result<()> {
    let cmdline = folder.join("cmdline");
    fs::write(&cmdline, KERNEL_ARGUMENTS)?;
    let unified = folder.join("bootx64.efi");
    let mut objcopy = Command::new("objcopy");
    // Fixed places, far enough apart for each section's content.
    let sections = [
        (".cmdline", &*cmdline, "0x30000"),
        (".linux", kernel, "0x2000000"),
        (".initrd", initrd, "0x4000000"),
    ];
    for (name, content, address) in sections {
        objcopy.arg("--add-section").arg(format!("{name}={}", content.display()));
        objcopy.arg("--change-section-vma").arg(format!("{name}={address}"));
    }
    shell::output(objcopy.arg(EFI_STUB).arg(&unified))?;
    mtools(raw, "mmd", &["::EFI", "::EFI/BOOT"])?;
    copy_in(raw, &unified, "EFI/BOOT/BOOTX64.EFI")
}

fn copy_in(raw: &Path, file: &Path, to: &str) -> Result<()> {
    mtools(raw, "mcopy", &[&file.to_string_lossy(), &format!("::{to}")])
}

fn mtools(raw: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let image = format!("{}@@{PARTITION_AT}", raw.display());
    shell::output(Command::new(program).arg("-i").arg(image).args(arguments)).map(drop)
}

/// Of a file's bytes, 64 hex digits.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..count]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_that_everybody_computes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        fs::write(&file, "abc").unwrap();
        assert_eq!(
            sha256(&file).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn the_partition_is_active_and_begins_after_the_head_that_is_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("disk.img");
        partition(&raw).unwrap();
        let mut sector = [0; SECTOR as usize];
        fs::File::open(&raw).unwrap().read_exact(&mut sector).unwrap();
        assert_eq!(sector[510..], [0x55, 0xaa]);
        assert_eq!((sector[446], sector[450]), (0x80, 0xef), "active, ESP");
        assert_eq!(
            u64::from(u32::from_le_bytes(sector[454..458].try_into().unwrap())) * SECTOR,
            PARTITION_AT
        );
    }
}
