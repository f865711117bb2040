//! The BPF file system. Some machines (containers above all) don't mount it; tests don't wait for somebody who does.

use std::sync::Once;

use rustix::mount::MountFlags;

/// Where the kernel's programs are pinned.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// Mounts it where it is missing. It stays: another test may be at work on it when this one ends.
pub(crate) fn mount() {
    static MOUNTED: Once = Once::new();
    MOUNTED.call_once(|| {
        if !is_mounted() {
            rustix::mount::mount("bpf", BPFFS, "bpf", MountFlags::empty(), None)
                .expect("mount -t bpf bpf /sys/fs/bpf needs root");
        }
    });
}

fn is_mounted() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("a Linux shows its mounts");
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(BPFFS))
}

/// Runs itself again in a mount namespace without one.
#[test]
fn it_is_mounted_where_nobody_has() {
    if std::env::var_os("NETBOOT_TEST_WITHOUT_BPFFS").is_some() {
        assert!(!is_mounted());
        mount();
        return assert!(is_mounted());
    }
    let bare = format!("while umount {BPFFS} 2>/dev/null; do :; done; exec \"$@\"");
    let mut again = std::process::Command::new("unshare");
    again.args(["--mount", "sh", "-c", &bare, "sh"]).arg(std::env::current_exe().expect("we run"));
    again.args(["--exact", "bpffs::it_is_mounted_where_nobody_has"]).env("NETBOOT_TEST_WITHOUT_BPFFS", "1");
    let output = again.output().expect("unshare is in util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
