//! The real `xtask`, on machines that are not ours: a `PATH` of links and of scripts that only write down what they were
//! asked to do. Nothing of the real machine is changed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// A machine: what is in its `PATH`, and a cache of its own.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// With a shell, C compilers and a Rust, which builds for BPF, too: where Debian's isn't there, it is the nightly of a rustup.
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["bin", "cache/guest-kernel", "target"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        machine.has(&["sh", "cat", "mkdir", "touch", "sleep", "kill", "gcc", "cargo", "rustc"]);
        fs::create_dir_all(machine.rust_src()).unwrap();
        // What it is may be asked at any time, and is not written down.
        machine.script(
            "rustup",
            &format!(
                "case \"$*\" in *sysroot) echo {} ;; *-vV) echo LLVM version: 22.1.0 ;; *) echo \"rustup $*\" >> {} ;; esac",
                machine.path("sysroot").display(),
                machine.path("calls").display()
            ),
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The nightly's own source, of which it builds `core`.
    fn rust_src(&self) -> PathBuf {
        self.path("sysroot/lib/rustlib/src/rust/library/core")
    }

    /// Programs of the real machine.
    fn has(&self, programs: &[&str]) {
        let path = std::env::var_os("PATH").unwrap();
        for program in programs {
            let real =
                std::env::split_paths(&path).map(|folder| folder.join(program)).find(|real| real.exists());
            symlink(real.unwrap_or_else(|| panic!("no {program} here")), self.path("bin").join(program))
                .unwrap();
        }
    }

    /// A program that writes itself down and says so, then does `script`.
    fn fakes(&self, program: &str, script: &str) {
        let calls = self.path("calls");
        self.script(
            program,
            &format!("echo \"{program} $*\" >> {}\necho \"{program} $1 runs\"\n{script}", calls.display()),
        );
    }

    /// A program that does `script` and no more.
    fn script(&self, program: &str, script: &str) {
        let path = self.path("bin").join(program);
        _ = fs::remove_file(&path);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A Debian on which these packages are missing, or all of them (`None`).
    fn is_debian(&self, missing: Option<&[&str]>) {
        let installed = match missing {
            None => String::new(),
            Some(missing) => {
                let missing = missing.join("|");
                let missing = if missing.is_empty() { "-".to_owned() } else { missing };
                format!("case $package in {missing}|-*|*' '*) ;; *) echo \"$package installed\" ;; esac")
            }
        };
        let script = format!("for package; do\n{installed} :\ndone");
        self.fakes("dpkg-query", &script.replace(" :\n", "\n:\n"));
    }

    fn user(&self, id: u32) {
        self.script("id", &format!("echo {id}"));
    }

    /// What `setup` had to fetch once.
    fn has_linker_and_kernel(&self) {
        let linker = self.path("cache/bpf-linker-0.13.0/bin");
        fs::create_dir_all(&linker).unwrap();
        fs::write(linker.join("bpf-linker"), "").unwrap();
        fs::create_dir_all(self.path("cache/guest-kernel/6.1.0-1-cloud-amd64")).unwrap();
    }

    /// apt, dpkg-deb, depmod and `cargo install` that work.
    fn can_install(&self) {
        self.fakes("apt-get", "case \"$*\" in *' download '*) touch kernel.deb ;; esac");
        self.fakes("apt-cache", "echo '  Depends: linux-image-6.1.0-1-cloud-amd64'");
        self.fakes("dpkg-deb", "");
        self.fakes("depmod", "");
        let linker = self.path("cache/bpf-linker-0.13.0/bin");
        self.fakes("cargo", &format!("mkdir -p {0}\ntouch {0}/bpf-linker", linker.display()));
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(XTASK);
        command
            .args(words)
            .env("PATH", self.path("bin"))
            .env("NETBOOT_CACHE", self.path("cache"))
            .env("CARGO", self.path("bin/cargo"))
            .env("CARGO_TARGET_DIR", self.path("target"));
        command
    }

    fn xtask(&self, words: &[&str]) -> Said {
        Said::new(self.command(words).output().unwrap())
    }

    /// What was asked of the fakes since the last look.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        _ = fs::remove_file(self.path("calls"));
        calls.lines().map(str::to_owned).collect()
    }
}

#[derive(Debug)]
struct Said {
    success: bool,
    out: String,
    error: String,
}

impl Said {
    fn new(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { success: output.status.success(), out: text(&output.stdout), error: text(&output.stderr) }
    }
}

fn starts<'a>(calls: &'a [String], with: &str) -> Vec<&'a String> {
    calls.iter().filter(|call| call.starts_with(with)).collect()
}

#[test]
fn setup_says_each_command_before_it_runs_and_does_nothing_when_all_is_there() {
    let machine = Machine::new();
    machine.is_debian(None);
    machine.user(0);
    machine.can_install();
    let said = machine.xtask(&["setup"]);
    assert!(said.success, "{said:?}");
    let calls = machine.calls();
    for want in
        ["apt-get -q update", "apt-get -q install -y", "cargo install bpf-linker", "dpkg-deb -x", "depmod -b"]
    {
        assert_eq!(starts(&calls, want).len(), 1, "{want}: {calls:?}");
    }
    // Each fake says that it runs; the line before that is the command.
    let lines: Vec<_> = said.out.lines().collect();
    let mut seen = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((program, _)) = line.split_once(' ').filter(|_| line.ends_with(" runs")) else { continue };
        assert!(lines[at - 1].starts_with("$ ") && lines[at - 1].contains(program), "{line}: {:?}", said.out);
        seen += 1;
    }
    assert_eq!(seen, 6, "{:?}", said.out);

    machine.is_debian(Some(&[]));
    let again = machine.xtask(&["setup"]);
    assert!(again.success && again.out.is_empty() && again.error.is_empty(), "{again:?}");
    let calls = machine.calls();
    // The one call: a newline is in its words.
    assert!(
        calls.len() == 2 && calls[0].starts_with("dpkg-query") && calls[1].starts_with(" gcc"),
        "{calls:?}"
    );
    let check = machine.xtask(&["setup", "--check"]);
    assert!(check.success && check.out.starts_with("all there"), "{check:?}");
}

#[test]
fn who_is_not_root_is_told_what_root_must_do() {
    let machine = Machine::new();
    machine.is_debian(Some(&["atftp", "tcpdump"]));
    machine.user(1000);
    machine.can_install();
    machine.has_linker_and_kernel();
    let said = machine.xtask(&["setup"]);
    let want = "installing packages needs root. Run as root: apt-get update && apt-get install -y --no-install-recommends atftp tcpdump";
    assert!(!said.success && said.error.contains(want), "{said:?}");
    assert_eq!(starts(&machine.calls(), "apt-get"), [""; 0]);
}

#[test]
fn without_a_network_setup_says_what_to_do() {
    let machine = Machine::new();
    machine.user(0);
    machine.can_install();
    machine.fakes("apt-get", "case \"$*\" in *update) ;; *) exit 100 ;; esac");
    machine.is_debian(Some(&["atftp"]));
    let packages = machine.xtask(&["setup"]);
    assert!(!packages.success && packages.error.contains("Is there a network"), "{packages:?}");
    machine.calls();

    machine.is_debian(Some(&[]));
    machine.has_linker_and_kernel();
    fs::remove_dir(machine.path("cache/guest-kernel/6.1.0-1-cloud-amd64")).unwrap();
    let kernel = machine.xtask(&["setup"]);
    assert!(!kernel.success, "{kernel:?}");
    for want in ["Is there a network", "apt-get update", "linux-image-cloud-amd64", "dpkg-deb -x"] {
        assert!(kernel.error.contains(want), "{want}: {kernel:?}");
    }
    // Old lists are the likelier reason, and the cheaper one to rule out.
    let calls = machine.calls();
    let apt: Vec<_> = starts(&calls, "apt-get").iter().map(|call| call.contains("update")).collect();
    assert_eq!(apt, [true, false], "{calls:?}");
}

#[test]
fn what_only_tests_need_stops_no_build() {
    let machine = Machine::new();
    machine.user(1000);
    machine.fakes("cargo", "");
    machine.has_linker_and_kernel();
    machine.is_debian(Some(&["atftp", "qemu-system-x86"]));
    builds(&machine);
    let demo = machine.xtask(&["demo"]);
    assert!(
        !demo.success && demo.error.contains("qemu-system-x86") && !demo.error.contains("atftp"),
        "{demo:?}"
    );
}

#[test]
fn elsewhere_than_on_debian_only_what_is_missing_is_named() {
    let machine = Machine::new();
    machine.user(1000);
    machine.fakes("cargo", "");
    machine.has_linker_and_kernel();
    builds(&machine);
    let said = machine.xtask(&["setup"]);
    assert!(!said.success && said.error.contains("this is not Debian"), "{said:?}");
    assert!(said.error.contains("\n  atftp (Debian has it in atftp)"), "{said:?}");
    assert!(!said.error.contains("  gcc ") && !said.error.contains("bpf-linker"), "{said:?}");

    fs::remove_dir_all(machine.path("cache/bpf-linker-0.13.0")).unwrap();
    let said = machine.xtask(&["build"]);
    assert!(!said.success && said.error.contains("cargo install bpf-linker --version 0.13.0"), "{said:?}");
    assert!(!said.error.contains("atftp"), "{said:?}");
}

/// `build` comes to its end on this machine, and cargo was asked for both binaries.
fn builds(machine: &Machine) {
    let agent = machine.path("target/agent/x86_64-unknown-linux-gnu/release");
    fs::create_dir_all(&agent).unwrap();
    fs::write(agent.join("netboot-agent"), "").unwrap();
    machine.calls();
    let said = machine.xtask(&["build"]);
    assert!(said.success, "{said:?}");
    let calls = machine.calls();
    assert_eq!(starts(&calls, "cargo build --release --package netboot-userspace").len(), 2, "{calls:?}");
}

/// The server's build script, as cargo would run it; what it says.
fn build_script(machine: &Machine, wrapper: &[&str]) -> Said {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../netboot-userspace");
    let program = machine.path("build-script");
    if !program.exists() {
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-o"]).arg(&program).arg(package.join("build.rs"));
        assert!(rustc.status().unwrap().success());
    }
    let (first, rest) =
        wrapper.split_first().map_or((program.to_str().unwrap(), &[][..]), |(first, rest)| (*first, rest));
    let mut command = Command::new(first);
    command.args(rest).args((!wrapper.is_empty()).then_some(&program));
    command.env("PATH", machine.path("bin")).env("NETBOOT_CACHE", machine.path("cache"));
    command.env("CARGO_FEATURE_SERVER", "1").env("CARGO_CFG_TARGET_ARCH", "x86_64");
    command
        .env("CARGO_MANIFEST_DIR", package)
        .env("OUT_DIR", machine.path("target/debug/build/netboot-userspace-0/out"));
    Said::new(command.output().unwrap())
}

#[test]
fn a_build_before_setup_fails_with_one_line_that_names_it() {
    let machine = Machine::new();
    let said = build_script(&machine, &[]);
    let errors: Vec<_> = said.out.lines().filter(|line| line.starts_with("cargo::error=")).collect();
    assert_eq!(
        errors,
        ["cargo::error=netboot: the eBPF toolchain is missing: run \"cargo xtask setup\""],
        "{said:?}"
    );
    // Cargo fails on that line, and shows what a script that failed said besides.
    assert!(said.success && said.error.is_empty(), "{said:?}");
}

/// A machine without Debian's Rust for BPF, in a mount namespace where it can't be seen: needs root.
#[test]
fn a_rustup_nightly_with_its_source_is_the_other_way() {
    let machine = Machine::new();
    machine.has_linker_and_kernel();
    machine.has(&["unshare", "mount"]);
    let hide = "if test -d /usr/lib/rustlib; then mount -t tmpfs none /usr/lib/rustlib; fi && exec \"$@\"";
    let hidden = ["unshare", "--mount", "sh", "-c", hide, "sh"];
    fs::remove_dir(machine.rust_src()).unwrap();
    // Without rust-src it is none.
    let said = build_script(&machine, &hidden);
    assert!(said.out.contains("the eBPF toolchain is missing"), "{said:?}");
    fs::create_dir(machine.rust_src()).unwrap();
    let said = build_script(&machine, &hidden);
    assert!(said.success && said.out.contains("cargo::rustc-env=NETBOOT_EBPF_OBJECT="), "{said:?}");
    let calls = machine.calls();
    let want = "rustup run nightly cargo -Zbuild-std=core build --release --target bpfel-unknown-none";
    assert_eq!(starts(&calls, want).len(), 1, "{calls:?}");

    machine.is_debian(Some(&["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"]));
    let mut setup = Command::new(hidden[0]);
    setup.args(&hidden[1..]).args([XTASK, "setup", "--check"]);
    setup.env("PATH", machine.path("bin")).env("NETBOOT_CACHE", machine.path("cache"));
    let said = Said::new(setup.output().unwrap());
    assert!(said.success && said.out.contains("built by the rustup nightly"), "{said:?}");
}

#[test]
fn scenarios_are_listed_without_any_set_up() {
    let machine = Machine::new();
    let said = machine.xtask(&["vm-test", "--list"]);
    assert!(said.success, "{said:?}");
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vm")).unwrap();
    let scenarios = files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "yaml"));
    // And the machine that runs tests, which has no story.
    assert_eq!(said.out.lines().count(), scenarios.count() + 1, "{said:?}");
    for name in ["bios-rom ", "kernel-tls "] {
        assert!(said.out.lines().any(|line| line.starts_with(name)), "{said:?}");
    }
    let unknown = machine.xtask(&["vm-test", "no-such-story"]);
    assert!(!unknown.success && unknown.error.contains("no-such-story"), "{unknown:?}");
    let none = machine.xtask(&["vm-test", "--jobs", "0"]);
    assert!(!none.success && none.error.contains("--jobs"), "{none:?}");
}

#[test]
fn a_run_that_is_stopped_leaves_nothing_running_and_begins_nothing_more() {
    let machine = Machine::new();
    // No namespaces: we are nobody.
    machine.user(1000);
    machine.is_debian(Some(&[]));
    machine.has_linker_and_kernel();
    // As cargo does it: what takes long is its child.
    let child = machine.path("child");
    machine.fakes("cargo", &format!("sleep 600 &\necho $! > {}\necho it sleeps\nwait", child.display()));
    let mut xtask = machine.command(&["test", "--no-vm"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(xtask.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "it sleeps"));
    let sleeper = fs::read_to_string(&child).unwrap();
    let stopped = Command::new("kill").args(["-TERM", &xtask.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    // The end of the output: nobody is left who could write to it.
    assert_eq!(lines.last().as_deref(), Some("0 passed, 1 failed"));
    assert!(!xtask.wait().unwrap().success());
    // What was killed has closed its output a moment before it is gone.
    let deadline = Instant::now() + Duration::from_secs(10);
    while running(sleeper.trim()) {
        assert!(Instant::now() < deadline, "{sleeper} still runs");
        std::thread::yield_now();
    }
    assert_eq!(starts(&machine.calls(), "cargo").len(), 1);
}

/// A process that is neither gone nor only waits to be reaped.
fn running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
