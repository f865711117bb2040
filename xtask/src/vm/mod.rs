//! A laboratory in network namespaces: one site server, one QEMU machine with real firmware, one story. Where that has a stranger, a
//! second machine is on the same bridge.
//!
//! ```text
//!   namespace LAN                              namespace SRV
//!   QEMU ── tap0 ── br0 ── near ══ veth ══ eth0  netboot serve, XDP here; router advertisements
//!                    └──── far0 ══ veth ══ eth0  namespace OTHER: a foreign DHCP server (only with `dhcp: proxy`)
//! ```
//!
//! With `place: tap` there is only SRV: the server's interface is the machine's tap itself.

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod grub;
pub(crate) mod guest;
pub(crate) mod kernel_tls;
pub(crate) mod lab;
pub(crate) mod live;
pub(crate) mod livebootp;
pub(crate) mod process;
pub(crate) mod run;
pub(crate) mod scenario;
pub(crate) mod site;

use std::path::PathBuf;

use anyhow::Result;

use crate::build::Binaries;
use crate::guest_kernel::{self, GuestKernel};
use crate::image::{self, Image};
use crate::{initramfs, paths};

/// What every lab of one run shares.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) binaries: Binaries,
    pub(crate) kernel: GuestKernel,
    pub(crate) initramfs: PathBuf,
    pub(crate) image: Image,
}

impl Parts {
    /// Builds the initramfs and the disk image around these binaries.
    pub(crate) fn new(binaries: Binaries) -> Result<Self> {
        let kernel = guest_kernel::get()?;
        let initramfs = paths::target().join(format!("initramfs/vm-{}.cpio.gz", std::process::id()));
        initramfs::write(&binaries.agent, &kernel, &initramfs)?;
        let image = image::get(&kernel)?;
        Ok(Self { binaries, kernel, initramfs, image })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Each lab has its own copy; nothing else knows this file.
        _ = std::fs::remove_file(&self.initramfs);
    }
}
