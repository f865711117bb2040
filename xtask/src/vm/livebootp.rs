//! A site of LiveBOOTP: a registry with one machine and its image, as that project builds images. The initrd does what live-boot does with
//! what it is told by `fetch=`; the squashfs's init, what a start-up script of LiveBOOTP does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::lab::MACHINE;
use super::site::MAC;
use crate::cpio::Archive;
use crate::guest_kernel::GuestKernel;
use crate::image::KERNEL_ARGUMENTS;
use crate::{initramfs, shell};

/// The keys of the configuration, whose folder the registry is in.
pub(crate) const CONFIGURATION: &str = "\
livebootp: { config: ../registry/config, images: ../registry/images, ssh_authorized_keys: ../registry/ssh-authorized-keys }\n";

/// LB-22, with all its keys; the second is another's.
fn config() -> String {
    format!(
        "domain-name-servers: [10.77.0.53]
hosts:
  my-live-server:
    hardware-ethernet: \"{MAC}\"
    fixed-address: {MACHINE}
    image-name: live-server/test
    ssh-authorized-keys: default
    cmdline-append: {KERNEL_ARGUMENTS}
  another:
    hardware-ethernet: \"52:54:00:77:00:02\"
    fixed-address: 10.77.0.52
    image-name: live-server/test
    ssh-authorized-keys: another
"
    )
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q";

const BUSYBOX: &str = "/bin/busybox";

/// What Debian's cloud kernel has not built in, and both need.
const MODULES: &[&str] = &["virtio_pci", "virtio_net", "squashfs", "loop", "overlay", "af_packet"];

/// Network, the squashfs of `fetch=` in memory, an overlay over it, its init.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev && mount -t tmpfs run /run
for module in $(cat /netboot/modules.load); do insmod "$module"; done
ip link set eth0 up
udhcpc -q -n -f -t 10 -T 2 -i eth0 -s /udhcpc || echo "NETBOOT-LIVE: no lease"
fetch=$(sed -n 's/.* fetch=\([^ ]*\).*/\1/p' /proc/cmdline)
case "$fetch" in *.squashfs) ;; *) echo "NETBOOT-LIVE: live-boot does not know $fetch" ;; esac
wget -q -O /run/root.squashfs "$fetch" || echo "NETBOOT-LIVE: nothing at $fetch"
mkdir -p /run/lower /run/upper /run/root
mount -t squashfs -o loop,ro /run/root.squashfs /run/lower
mkdir /run/upper/files /run/upper/work
mount -t overlay -o lowerdir=/run/lower,upperdir=/run/upper/files,workdir=/run/upper/work live /run/root
mount --move /dev /run/root/dev
umount /sys && umount /proc
exec switch_root /run/root /sbin/init
"#;

/// As udhcpc tells it.
const LEASE: &str = r#"#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip address add "$ip/$mask" dev "$interface"
echo "NETBOOT-LEASE: $ip for $hostname, name server $dns"
"#;

/// The system: it fetches its own keys and asks for another's, and turns the machine off.
const SYSTEM: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mkdir -p /root/.ssh
word() { /bin/busybox sed -n "s|.* $1=\([^ ]*\).*|\1|p" /proc/cmdline; }
/bin/busybox hostname "$(word hostname)"
/bin/busybox wget -q -O /root/.ssh/authorized_keys "$(word netboot.authorized_keys)"
another=$(word netboot.authorized_keys | /bin/busybox sed 's/01$/02/')
/bin/busybox wget -O /tmp/another "$another" 2>&1 | /bin/busybox sed 's/^/NETBOOT-ANOTHER: /'
/bin/busybox echo "NETBOOT-LIVE: $(/bin/busybox hostname) runs $(/bin/busybox cat /etc/issue)"
/bin/busybox echo "NETBOOT-KEYS: $(/bin/busybox cat /root/.ssh/authorized_keys)"
/bin/busybox echo "NETBOOT-CMDLINE: $(/bin/busybox cat /proc/cmdline)"
/bin/busybox poweroff -f
"#;

/// Puts the registry into the lab's folder.
pub(crate) fn write(folder: &Path, kernel: &GuestKernel) -> Result<()> {
    let registry = folder.join("registry");
    let image = registry.join("images/live-server/test");
    for name in [&registry.join("config"), &registry.join("ssh-authorized-keys"), &image] {
        fs::create_dir_all(name)?;
    }
    fs::write(registry.join("config/config.yml"), config())?;
    for name in ["default", "another"] {
        fs::write(registry.join("ssh-authorized-keys").join(name), format!("# theirs\n{KEY} {name}@desk\n"))?;
    }
    fs::copy(kernel.image(), image.join("vmlinuz"))?;
    fs::write(image.join("initrd.img"), initramfs::gzip(&initrd(kernel)?)?)?;
    squashfs(&folder.join("live"), &image.join("filesystem.squashfs"))
}

fn initrd(kernel: &GuestKernel) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    initramfs::skeleton(&mut archive);
    archive.folder("bin");
    archive.file("bin/busybox", 0o755, &fs::read(BUSYBOX).context(BUSYBOX)?);
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("udhcpc", 0o755, LEASE.as_bytes());
    archive.folder("netboot");
    let load = initramfs::add_modules(&mut archive, kernel, MODULES)?;
    archive.file("netboot/modules.load", 0o644, load.as_bytes());
    Ok(archive.finish())
}

/// `tree`: where it is put together.
fn squashfs(tree: &Path, file: &Path) -> Result<()> {
    for name in ["bin", "sbin", "etc", "proc", "dev", "root", "tmp"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::copy(BUSYBOX, tree.join("bin/busybox")).context(BUSYBOX)?;
    fs::write(tree.join("etc/issue"), "live-server/test\n")?;
    let init = tree.join("sbin/init");
    fs::write(&init, SYSTEM)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let mut mksquashfs = Command::new("mksquashfs");
    mksquashfs.arg(tree).arg(file).args(["-quiet", "-no-progress", "-all-root", "-comp", "gzip"]);
    shell::output(&mut mksquashfs).map(drop)
}
