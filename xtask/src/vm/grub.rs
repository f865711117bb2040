//! GRUB, whose PXE image has clients of its own for TFTP and HTTP: what it is started from, and what it is told to compare.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{image, shell};

/// Its image, below the TFTP root: what the machine's ROM is told to load.
pub(crate) const CORE: &str = "grub/core.0";

/// Its network, its serial console, its words. They are in the image: it loads nothing more than it is told to.
const MODULES: &[&str] =
    &["pxe", "tftp", "http", "normal", "echo", "serial", "terminal", "hashsum", "gcry_sha256", "test"];

/// The only port that its HTTP client knows, up to GRUB 2.06.
pub(crate) const HTTP_PORT: u16 = 80;

/// Digests are compared by GRUB itself, of bytes that its own client fetched. What is not right is named on the console, too.
const CONFIGURATION: &str = "serial --unit=0 --speed=115200
terminal_output serial
if hashsum --hash sha256 --check ($root)/grub/SHA256SUMS --prefix ($root)/grub; then
  echo NETBOOT-GRUB: what TFTP brought is whole
fi
if hashsum --hash sha256 --check (http,$net_default_server)/assets/grub/SHA256SUMS --prefix (http,$net_default_server)/assets/grub; then
  echo NETBOOT-GRUB: what HTTP brought is whole
fi
";

/// Puts image, configuration and files to fetch below `root`, and the latter below `assets`, too: one of a few blocks, and one that no kernel
/// lane holds (above 4 MiB).
pub(crate) fn write(root: &Path, assets: &Path, large: &Path) -> Result<()> {
    let (folder, by_http) = (root.join("grub"), assets.join("grub"));
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(&by_http)?;
    fs::write(folder.join("grub.cfg"), CONFIGURATION)?;
    fs::copy(large, folder.join("large")).with_context(|| large.display().to_string())?;
    let mut image = Command::new("grub-mkimage");
    image
        .args(["--format", "i386-pc-pxe", "--prefix", "/grub", "--output"])
        .arg(root.join(CORE))
        .args(MODULES);
    shell::run(&mut image)?;
    let line = |name: &str| Ok(format!("{}  {name}\n", image::sha256(&folder.join(name))?));
    let sums: Result<String> = ["core.0", "large"].into_iter().map(line).collect();
    fs::write(folder.join("SHA256SUMS"), sums?)?;
    for name in ["core.0", "large", "SHA256SUMS"] {
        fs::copy(folder.join(name), by_http.join(name))?;
    }
    Ok(())
}
