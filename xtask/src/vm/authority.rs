//! The site's own certificate authority, and how firmware comes to trust it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::lab::{Lab, SERVER};
use crate::shell;

/// Where OVMF takes the authorities from that it trusts, of what QEMU hands over (`TlsAuthConfigLib`).
pub(crate) const FIRMWARE_ENTRY: &str = "etc/edk2/https/cacerts";

/// `EFI_CERT_X509_GUID` (UEFI 2.10 section 32.4.1), as it lies in memory.
const X509: [u8; 16] =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
/// Whose entry it is: anybody's.
const OWNER: [u8; 16] = [0x77; 16];

/// The file for [`FIRMWARE_ENTRY`].
pub(crate) fn enrolled(folder: &Path) -> PathBuf {
    folder.join("cacerts.esl")
}

/// Has the operator's own command make authority and certificate for the site of this configuration.
pub(crate) fn make(lab: &Lab, netboot: &Path, config: &Path) -> Result<()> {
    let mut init = std::process::Command::new(netboot);
    init.args(["tls", "init", SERVER, "--config"]).arg(config);
    shell::output(&mut init)?;
    let der = config.with_file_name("tls").join("ca.der");
    let der = fs::read(&der).with_context(|| der.display().to_string())?;
    Ok(fs::write(enrolled(&lab.folder), list(&der))?)
}

/// An `EFI_SIGNATURE_LIST` of one certificate.
fn list(der: &[u8]) -> Vec<u8> {
    const HEADER: usize = 28;
    let one = OWNER.len() + der.len();
    let sizes = [HEADER + one, 0, one].map(|size| (size as u32).to_le_bytes());
    [&X509[..], &sizes.concat(), &OWNER, der].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_sizes_before_its_certificate() {
        let list = list(&[9; 5]);
        let number = |at: usize| {
            list.get(at..at + 4).map(|bytes| bytes.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)))
        };
        assert_eq!([16, 20, 24].map(number), [Some(28 + 16 + 5), Some(0), Some(16 + 5)]);
        assert_eq!((list.len(), list.get(44..)), (49, Some(&[9; 5][..])));
    }
}
