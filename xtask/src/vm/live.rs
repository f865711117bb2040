//! A live system as data folders boot it, in the place of CoreOS: it says how it was started, asks for its configuration by the URL on its
//! command line, and does what that says. Installers and what they install are the same system, told different things.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cpio::Archive;
use crate::guest_kernel::GuestKernel;
use crate::initramfs;

const BUSYBOX: &str = "/bin/busybox";

/// Its network, its disk, and the file system of the image's partition.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_net", "virtio_blk", "af_packet", "vfat", "nls_cp437", "nls_ascii"];

/// A script is run, everything else is shown. Whatever goes wrong, the machine turns itself off: nobody waits for it in vain.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
while read -r module; do insmod "$module"; done < /live/modules.load
echo "NETBOOT-LIVE: started with $(cat /proc/cmdline)"
url=$(sed -n 's/.*cloud-config-url=\([^ ]*\).*/\1/p' /proc/cmdline)
if udhcpc -q -n -i eth0 -s /live/lease && timeout 20 wget -q -O /live/told "$url"; then
    case $(head -n 1 /live/told) in
    '#!'*) sh /live/told || echo "NETBOOT-LIVE: failed" ;;
    *) sed 's/^/NETBOOT-LIVE: told: /' /live/told ;;
    esac
else
    echo "NETBOOT-LIVE: no configuration by $url"
fi
sync
poweroff -f
"#;

/// What `udhcpc` runs.
const LEASE: &str = r#"#!/bin/busybox sh
case $1 in
deconfig) ip link set "$interface" up ;;
bound) ip address add "$ip/$mask" dev "$interface" ;;
esac
"#;

/// Writes it, compressed.
pub(crate) fn write(kernel: &GuestKernel, output: &Path) -> Result<()> {
    let mut archive = Archive::default();
    initramfs::skeleton(&mut archive);
    for folder in ["bin", "live", "mnt"] {
        archive.folder(folder);
    }
    archive.file("bin/busybox", 0o755, &fs::read(BUSYBOX).context(BUSYBOX)?);
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("live/lease", 0o755, LEASE.as_bytes());
    let load = initramfs::add_modules(&mut archive, kernel, MODULES)?;
    archive.file("live/modules.load", 0o644, load.as_bytes());
    fs::write(output, initramfs::gzip(&archive.finish())?).with_context(|| output.display().to_string())
}
