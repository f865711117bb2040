//! A machine whose kernel has TLS, as the one that we build on may not: the tests of HTTPS run in it, and want to be enciphered there.
//!
//! It has no disk, no network but its own loopback, and no firmware that matters: kernel and initramfs are given to QEMU.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::guest::QEMU;
use super::lab::PREFIX;
use super::process::Process;
use super::run::Outcome;
use crate::cpio::Archive;
use crate::guest_kernel::GuestKernel;
use crate::{initramfs, interrupt, shell};

/// As `vm-test` calls it.
pub(crate) const NAME: &str = "kernel-tls";
/// As `vm-test --list` tells it.
pub(crate) const ABOUT: &str = "Tests of HTTPS on a kernel that has TLS, where files are sent by sendfile";

const BUSYBOX: &str = "/bin/busybox";
/// Beside the tests themselves: their clients, and what looks at connections.
const PROGRAMS: &[&str] = &["/usr/bin/curl", "/usr/bin/openssl", "/usr/bin/ss", "/usr/bin/wget"];
/// What these read; one that is not there is not needed.
const FILES: &[&str] = &["/etc/ssl/certs/ca-certificates.crt", "/usr/lib/ssl/openssl.cnf"];
/// TLS, its ciphers, plain and in the instructions for them, and what `ss` asks.
const MODULES: &[&str] = &[
    "tls",
    "gcm",
    "ctr",
    "chacha20poly1305",
    "aesni_intel",
    "ghash_clmulni_intel",
    "chacha_x86_64",
    "poly1305_x86_64",
    "tcp_diag",
];

/// The tests' names begin so.
const TESTS: &str = "tls:: pace::who_stalls_by_https";

/// Whatever goes wrong, the machine turns itself off.
fn init() -> String {
    format!(
        r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/tmp NETBOOT_TEST_KERNEL_TLS=required
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
ip link set lo up
while read -r module; do insmod "$module"; done < /netboot/modules.load
cd /tmp
/netboot/tests --test-threads=4 {TESTS}
poweroff -f
"#
    )
}

/// What the tests say of a client that crashed, and was started once more.
const CRASHED: &str = "was ended by signal";
/// Emulated, it takes some minutes.
const DEADLINE: Duration = Duration::from_secs(1500);
const PAUSE: Duration = Duration::from_millis(500);
/// What is told of the console after a failure.
const LAST_LINES: usize = 60;

/// Runs this test binary there; the folder with the console's log is kept after a failure, or when `keep` says so.
pub(crate) fn play(tests: &Path, kernel: &GuestKernel, keep: bool) -> Outcome {
    let begin = Instant::now();
    let folder = std::env::temp_dir().join(format!("{PREFIX}{}-tls", std::process::id()));
    let played =
        fs::create_dir_all(&folder).map_err(Into::into).and_then(|()| played(tests, kernel, &folder));
    let initrd = fs::remove_file(initrd(&folder));
    let mut kept = None;
    if keep || played.is_err() && interrupt::check().is_ok() {
        let place = std::env::temp_dir().join(format!("netboot-vm-{}-tls", std::process::id()));
        kept = initrd.and_then(|()| fs::rename(&folder, &place)).ok().map(|()| place);
    }
    _ = fs::remove_dir_all(&folder);
    Outcome { took: begin.elapsed(), failure: played.err().map(|error| format!("{error:#}")), kept }
}

fn initrd(folder: &Path) -> PathBuf {
    folder.join("initrd.gz")
}

fn played(tests: &Path, kernel: &GuestKernel, folder: &Path) -> Result<()> {
    let (initrd, console) = (initrd(folder), folder.join("console.log"));
    fs::write(&initrd, initramfs::gzip(&archive(tests, kernel, folder)?)?)?;
    let words = format!(
        "-accel tcg,thread=multi -cpu max -smp 2 -m 1536 -nodefaults -display none -no-reboot -device virtio-rng-pci \
         -serial file:{} -kernel {} -initrd {}",
        console.display(),
        kernel.image().display(),
        initrd.display()
    );
    let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    words.extend(["-append".to_owned(), "console=ttyS0 quiet panic=-1".to_owned()]);
    let mut qemu = Process::start("QEMU", None, &folder.join("qemu.log"), Path::new(QEMU), &words)?;
    let begin = Instant::now();
    while qemu.ended()?.is_none() {
        interrupt::nap(PAUSE)?;
        if begin.elapsed() > DEADLINE {
            break;
        }
    }
    let said = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    said.lines()
        .filter(|line| line.contains(CRASHED))
        .for_each(|line| println!("     [{NAME}] {}", line.trim()));
    if is_passed(&said) {
        return Ok(());
    }
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    bail!("the tests did not pass there after {:.0} s:\n{last}", begin.elapsed().as_secs_f32());
}

/// By what the test binary says at its end. That it ran nothing is no success.
fn is_passed(console: &str) -> bool {
    let mut results = console.lines().filter_map(|line| line.trim().strip_prefix("test result: "));
    results.next().is_some_and(|result| result.starts_with("ok. ") && !result.starts_with("ok. 0 passed"))
}

fn archive(tests: &Path, kernel: &GuestKernel, folder: &Path) -> Result<Vec<u8>> {
    // Most of it is what debuggers read.
    let stripped = folder.join("tests");
    let [from, to] = [tests, &stripped].map(|path| path.to_string_lossy().into_owned());
    shell::sh("strip", &["-o", &to, &from])?;
    let mut files = BTreeSet::new();
    files.extend(PROGRAMS.iter().chain(FILES).map(PathBuf::from).filter(|path| path.exists()));
    for program in PROGRAMS.iter().map(Path::new).chain([tests]).filter(|program| program.exists()) {
        files.extend(libraries(&shell::output(Command::new("ldd").arg(program))?));
    }
    let mut archive = Archive::default();
    initramfs::skeleton(&mut archive);
    for folder in folders(&files) {
        archive.folder(&folder);
    }
    for path in files {
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        archive.file(inside(&path), 0o755, &bytes);
    }
    archive.file("bin/busybox", 0o755, &fs::read(BUSYBOX).context(BUSYBOX)?);
    archive.file("init", 0o755, init().as_bytes());
    archive.file("netboot/tests", 0o755, &fs::read(&stripped)?);
    let load = initramfs::add_modules(&mut archive, kernel, MODULES)?;
    archive.file("netboot/modules.load", 0o644, load.as_bytes());
    fs::remove_file(stripped)?;
    Ok(archive.finish())
}

/// Without the leading slash.
fn inside(path: &Path) -> &str {
    path.to_str().unwrap_or_default().trim_start_matches('/')
}

/// Those of these files and of our own, outermost first, without what has one already.
fn folders(files: &BTreeSet<PathBuf>) -> BTreeSet<String> {
    let above = files.iter().flat_map(|path| path.ancestors().skip(1)).map(|path| inside(path).to_owned());
    let own = ["bin", "netboot"].map(str::to_owned);
    above.chain(own).filter(|folder| !folder.is_empty()).collect()
}

/// The files that `ldd` names.
fn libraries(said: &str) -> impl Iterator<Item = PathBuf> {
    said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tests_said_at_their_end_counts() {
        for (console, passed) in [
            ("running 2 tests\r\ntest result: ok. 2 passed; 0 failed; 0 ignored\r\n", true),
            ("test result: ok. 0 passed; 0 failed; 0 ignored\r\n", false),
            ("test result: FAILED. 2 passed; 1 failed; 0 ignored\r\n", false),
            ("test tls::one ... ok\r\nKernel panic - not syncing\r\n", false),
            ("", false),
        ] {
            assert_eq!(is_passed(console), passed, "{console}");
        }
    }

    #[test]
    fn libraries_are_where_ldd_says_in_folders_that_are_made_before() {
        let said = "\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let files: BTreeSet<PathBuf> = libraries(said).collect();
        let names: Vec<_> = files.iter().map(|path| inside(path)).collect();
        assert_eq!(names, ["lib/x86_64-linux-gnu/libz.so.1", "lib64/ld-linux-x86-64.so.2"]);
        let folders: Vec<_> = folders(&files).into_iter().collect();
        assert_eq!(folders, ["bin", "lib", "lib/x86_64-linux-gnu", "lib64", "netboot"]);
    }
}
