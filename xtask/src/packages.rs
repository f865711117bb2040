//! The Debian packages that building and testing use, each with its reason.

/// C compilers: zstd's own code. What every build needs beside Rust.
pub(crate) const BUILD: &[&str] = &["gcc", "libc6-dev"];

/// Debian's Rust with a `core` for BPF: not needed beside a rustup nightly with `rust-src`.
pub(crate) const EBPF_RUST: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// Its clippy, which tests need.
pub(crate) const EBPF_CLIPPY: &[&str] = &["rust-web-clippy"];

/// What bpf-linker is built with, and linked against.
pub(crate) const LINKER: &[&str] = &["g++", "llvm-22-dev"];

/// libFuzzer's own code is C++.
pub(crate) const FUZZ: &[&str] = &["g++"];

/// The guest kernel's module dependencies.
pub(crate) const INITRAMFS: &[&str] = &["kmod"];

/// Machines in QEMU, and the networks that they are in.
pub(crate) const GUESTS: &[&str] = &[
    // Guests: the machine, its UEFI, its boot ROMs, the loaders that we serve.
    "qemu-system-x86",
    "ovmf",
    "ipxe",
    "ipxe-qemu",
    "grub-common",
    "grub-pc-bin",
    // The test disk: one that boots from BIOS and from UEFI, made without root, loop devices or mounts.
    "fdisk",
    "dosfstools",
    "mtools",
    "syslinux",
    "syslinux-common",
    "systemd-boot-efi",
    "binutils",
    "busybox-static",
    "zstd",
    // A live system's root.
    "squashfs-tools",
    // What asks by HTTPS in one whose kernel has TLS.
    "curl",
    "openssl",
    "wget",
    // Their networks, and the other servers in them.
    "iproute2",
    "util-linux",
    "ethtool",
    "dnsmasq-base",
    "radvd",
    // Its `http.server` is an API that says what machines boot.
    "python3",
    "procps",
    // Its `llc` makes the XDP_PASS program that native XDP on a veth needs at the other end.
    "llvm-22",
];

/// Clients, and those who look on, in the networks of the other tests; disks for the agent (losetup is in mount). Not
/// network-manager and dbus, though a test takes them where they are: installed, it takes charge of the interfaces of the machine
/// that we build on.
pub(crate) const CLIENTS: &[&str] = &[
    "mount",
    "gnupg",
    "e2fsprogs",
    "bpftool",
    "udhcpc",
    "isc-dhcp-client",
    "dhcpcd-base",
    "systemd",
    "tftp-hpa",
    "atftp",
    "libnet-tftp-perl",
    "wrk",
    "tcpdump",
    // Has the kernel refuse what we tell its tables.
    "strace",
];

/// What shows, where there is no dpkg, that the contents of a package are there: a program, or a file by its path.
pub(crate) fn sign(package: &'static str) -> &'static str {
    match package {
        "libc6-dev" => "/usr/include/stdio.h",
        "rustc-web" => "rustc",
        "cargo-web" => "cargo",
        "libstd-rust-web-dev-bpf" => "/usr/lib/rustlib/bpfel-unknown-none/lib",
        "rust-web-clippy" => "cargo-clippy",
        "llvm-22-dev" => "/usr/lib/llvm-22/bin/llvm-config",
        "llvm-22" => "/usr/lib/llvm-22/bin/llc",
        "kmod" => "depmod",
        "qemu-system-x86" => "qemu-system-x86_64",
        "ovmf" => "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "grub-common" => "grub-mkimage",
        "grub-pc-bin" => "/usr/lib/grub/i386-pc/pxe.mod",
        "ipxe" => "/usr/lib/ipxe/undionly.kpxe",
        "ipxe-qemu" => "/usr/lib/ipxe/qemu/pxe-virtio.rom",
        "fdisk" => "sfdisk",
        "dosfstools" => "mkfs.vfat",
        "e2fsprogs" => "mkfs.ext4",
        "mtools" => "mcopy",
        "syslinux-common" => "/usr/lib/syslinux/mbr/mbr.bin",
        "systemd-boot-efi" => "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
        "binutils" => "objcopy",
        "busybox-static" => "/bin/busybox",
        "squashfs-tools" => "mksquashfs",
        "iproute2" => "ip",
        "util-linux" => "nsenter",
        "dnsmasq-base" => "dnsmasq",
        "procps" => "sysctl",
        "mount" => "losetup",
        "gnupg" => "gpg",
        "isc-dhcp-client" => "dhclient",
        "dhcpcd-base" => "dhcpcd",
        "systemd" => "/lib/systemd/systemd-networkd",
        "tftp-hpa" => "tftp",
        "libnet-tftp-perl" => "/usr/share/perl5/Net/TFTP.pm",
        program => program,
    }
}

/// Who `bench dhcp` measures us beside, which installs them itself: nobody else needs them.
pub(crate) const DHCP_PEERS: &[&str] = &["dnsmasq-base", "kea-dhcp4-server", "kea-admin"];

/// The same of `bench tftp`: a server, and what those that it unpacks are linked against.
pub(crate) const TFTP_PEERS: &[&str] = &["dnsmasq-base", "libwrap0", "libpcre2-8-0"];

/// Servers that can't be installed together, and that would serve this machine if they were.
pub(crate) const TFTP_UNPACKED: &[&str] = &["atftpd", "tftpd-hpa"];

/// Who gives `bench http` a second opinion, and what the server that it unpacks is linked against.
pub(crate) const HTTP_PEERS: &[&str] = &["wrk", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"];

/// Who `bench http` measures us beside. Installed, it would serve this machine.
pub(crate) const HTTP_UNPACKED: &[&str] = &["nginx"];

/// Depends on the cloud kernel's current version: the smallest kernel with what a guest needs.
pub(crate) const KERNEL_METAPACKAGE: &str = "linux-image-cloud-amd64";
