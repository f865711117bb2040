//! The Debian packages that building and testing use, each with its reason.

/// Debian's Rust with a `core` for BPF: not needed beside a rustup nightly with `rust-src`.
pub(crate) const EBPF_RUST: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// bpf-linker is linked against it; its `llc` makes the tests' XDP_PASS program.
pub(crate) const LLVM: &[&str] = &["llvm-22-dev"];

/// Everything else.
pub(crate) const COMMON: &[&str] = &[
    // C compilers: zstd's own code, bpf-linker's link with LLVM.
    "gcc",
    "g++",
    "libc6-dev",
    // Guests: the machine, its UEFI, its boot ROMs, the loaders that we serve.
    "qemu-system-x86",
    "ovmf",
    "ipxe",
    "ipxe-qemu",
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
    // The guest kernel's module dependencies.
    "kmod",
    // Networks of the tests, and the other servers and clients in them. Not network-manager and dbus, though a test takes them
    // where they are: installed, it takes charge of the interfaces of the machine that we build on.
    "iproute2",
    "util-linux",
    "ethtool",
    "bpftool",
    "dnsmasq-base",
    "radvd",
    "udhcpc",
    "isc-dhcp-client",
    "dhcpcd-base",
    "systemd",
    "tftp-hpa",
    "atftp",
    "curl",
    "tcpdump",
    "procps",
];

/// Who `bench` measures us beside, which installs them itself: nobody else needs them.
pub(crate) const PEERS: &[&str] = &["dnsmasq-base", "kea-dhcp4-server", "kea-admin"];

/// Depends on the cloud kernel's current version: the smallest kernel with what a guest needs.
pub(crate) const KERNEL_METAPACKAGE: &str = "linux-image-cloud-amd64";
