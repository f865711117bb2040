//! The BPF file system. Some machines (containers above all) don't mount it; tests don't wait for somebody who does.

use std::sync::Once;

use rustix::mount::MountFlags;

/// Where the kernel's programs are pinned.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// Mounts it where it is missing. It stays: another test may be at work on it when this one ends.
pub(crate) fn mount() {
    static MOUNTED: Once = Once::new();
    MOUNTED.call_once(|| {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("a Linux shows its mounts");
        if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(BPFFS)) {
            rustix::mount::mount("bpf", BPFFS, "bpf", MountFlags::empty(), None)
                .expect("mount -t bpf bpf /sys/fs/bpf needs root");
        }
    });
}
