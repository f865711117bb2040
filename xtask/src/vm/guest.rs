//! The machine: QEMU with real firmware, an empty disk and one network card.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result};

use super::authority;
use super::lab::Lab;
use super::process::Process;
use super::scenario::{Disk, Firmware, Scenario};
use super::site::{MAC, UUID};

pub(crate) const QEMU: &str = "/usr/bin/qemu-system-x86_64";
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const IPXE_KERNEL: &str = "/boot/ipxe.lkrn";

/// Larger than the image, as real disks are.
const DISK_SIZE: u64 = 96 << 20;

/// What a vendor's PXE ROM does, in iPXE's words. Its user class must be gone before the loader takes over this
/// lease, or the loader would be taken for this ROM for ever.
const VENDOR_ROM: &str = "set user-class PXEROM && dhcp net0 && clear user-class && \
                          chain tftp://${net0/next-server}/${net0/filename}";

/// Which of a lab's machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The one that the story is about.
    Node,
    /// One beside it, which no host's entry is for.
    Stranger,
}

impl Who {
    const fn mac(self) -> &'static str {
        match self {
            Self::Node => MAC,
            Self::Stranger => "52:54:00:77:00:02",
        }
    }

    const fn uuid(self) -> &'static str {
        match self {
            Self::Node => UUID,
            Self::Stranger => "77000000-0000-4000-8000-000000000002",
        }
    }

    /// Its end of the network.
    pub(crate) const fn tap(self) -> &'static str {
        match self {
            Self::Node => "tap0",
            Self::Stranger => "tap1",
        }
    }

    /// What its files' names begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Node => "",
            Self::Stranger => "stranger-",
        }
    }
}

/// A machine that may be on or off. Its disk and its UEFI variables stay.
#[derive(Debug)]
pub(crate) struct Guest {
    who: Who,
    firmware: Firmware,
    disk_first: bool,
    folder: PathBuf,
    namespace: String,
    qemu: Option<Process>,
    power_ons: u32,
    /// Bytes of the console that [`Self::new_lines`] has given.
    told: usize,
}

impl Guest {
    /// `image`: what an installed disk has.
    pub(crate) fn new(who: Who, scenario: &Scenario, lab: &Lab, image: &Path) -> Result<Self> {
        let (folder, namespace) = (lab.folder.clone(), lab.guest_namespace());
        let Scenario { firmware, disk_first, .. } = *scenario;
        let guest = Self { who, firmware, disk_first, folder, namespace, qemu: None, power_ons: 0, told: 0 };
        if scenario.disk == Disk::Installed {
            fs::copy(image, guest.disk()).with_context(|| image.display().to_string())?;
        }
        let disk = fs::File::options().create(true).append(true).open(guest.disk())?;
        disk.set_len(DISK_SIZE)?;
        if firmware.is_uefi() {
            fs::copy(OVMF_VARIABLES, guest.variables()).context(OVMF_VARIABLES)?;
        }
        Ok(guest)
    }

    pub(crate) fn who(&self) -> Who {
        self.who
    }

    pub(crate) fn power_on(&mut self) -> Result<()> {
        self.power_off();
        self.power_ons += 1;
        self.told = 0;
        let log = self.folder.join("qemu.log");
        let arguments = self.arguments();
        self.qemu = Some(Process::start("QEMU", Some(&self.namespace), &log, Path::new(QEMU), &arguments)?);
        Ok(())
    }

    pub(crate) fn power_off(&mut self) {
        self.qemu = None;
    }

    /// How QEMU ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.qemu.as_mut().map_or(Ok(None), Process::ended)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.qemu.is_some()
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.file("disk.raw")
    }

    /// The serial console's log since the last power-on.
    pub(crate) fn console_log(&self) -> PathBuf {
        self.file(&format!("console-{}.log", self.power_ons))
    }

    /// [`Self::console_log`] as text.
    pub(crate) fn console(&self) -> String {
        let bytes = fs::read(self.console_log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines of [`Self::console`] that have come since this was last asked.
    pub(crate) fn new_lines(&mut self) -> Vec<String> {
        let console = self.console();
        let complete = console.rfind('\n').map_or(0, |end| end + 1);
        let Some(new) = console.get(self.told..complete) else { return Vec::new() };
        self.told = complete;
        new.lines().map(str::to_owned).collect()
    }

    fn variables(&self) -> PathBuf {
        self.file("uefi-variables.fd")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}{name}", self.who.prefix()))
    }

    fn arguments(&self) -> Vec<String> {
        let mut words = Words::default();
        // KVM may exist and not work; emulation is fast enough, and the same everywhere.
        words.add("-accel tcg -cpu max -smp 1 -m 256 -nodefaults -display none -vga none -monitor none");
        words.add("-uuid").one(self.who.uuid());
        words.add("-serial").one(format!("file:{}", self.console_log().display()));
        let tap = self.who.tap();
        words.add("-netdev").one(format!("tap,id=net0,ifname={tap},script=no,downscript=no,vhost=off"));
        words.add("-drive").one(format!("file={},format=raw,if=none,id=disk0", self.disk().display()));
        // BIOS: the network first, as a site sets it that wants to reinstall at will; the server sends an installed
        // machine to its disk. UEFI: OVMF does not come back from a loader that exits, so its disk is first, and a
        // blank one falls through.
        let (network, disk) = if self.firmware.is_uefi() || self.disk_first { (2, 1) } else { (1, 2) };
        words.add("-device").one(format!("virtio-blk-pci,drive=disk0,serial=netboot-test,bootindex={disk}"));
        let card = format!("virtio-net-pci,netdev=net0,mac={}", self.who.mac());
        match self.firmware {
            Firmware::BiosRom => {
                words.add("-M pc,graphics=off -device").one(format!("{card},bootindex={network}"));
            }
            Firmware::BiosUndionly | Firmware::BiosGrub => {
                words.add("-M pc,graphics=off -device").one(format!("{card},romfile="));
                words.add("-kernel").one(IPXE_KERNEL).add("-append").one(VENDOR_ROM);
            }
            // Without its ROM file, or QEMU's iPXE driver would take the place of OVMF's own network stack.
            Firmware::UefiPxe
            | Firmware::UefiHttp
            | Firmware::UefiHttps
            | Firmware::UefiPxe6
            | Firmware::UefiHttp6 => {
                words.add("-M q35 -device").one(format!("{card},romfile=,bootindex={network}"));
                words.add("-drive").one(format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"));
                let variables = self.variables();
                words.add("-drive").one(format!("if=pflash,format=raw,unit=1,file={}", variables.display()));
            }
        }
        if !self.firmware.is_uefi() {
            // As servers do: what fails to boot tries again. (`graphics=off`, above, puts SeaBIOS and iPXE on the
            // serial console.)
            words.add("-boot reboot-timeout=2000");
        }
        if self.firmware == Firmware::UefiHttps {
            let (entry, file) = (authority::FIRMWARE_ENTRY, authority::enrolled(&self.folder));
            words.add("-fw_cfg").one(format!("name={entry},file={}", file.display()));
            // Without random numbers it shakes no hands.
            words.add("-device virtio-rng-pci");
        }
        for knob in self.firmware.without() {
            words.add("-fw_cfg").one(format!("name=opt/org.tianocore/{knob},string=n"));
        }
        words.0
    }
}

/// A command line in the making.
#[derive(Debug, Default)]
struct Words(Vec<String>);

impl Words {
    /// Several words.
    fn add(&mut self, words: &str) -> &mut Self {
        self.0.extend(words.split(' ').map(str::to_owned));
        self
    }

    /// One word, as it is.
    fn one(&mut self, word: impl Into<String>) -> &mut Self {
        self.0.push(word.into());
        self
    }
}

/// Whether `disk` begins with all the bytes of `image`; where it first differs otherwise.
pub(crate) fn first_difference(disk: &Path, image: &Path) -> Result<Option<u64>> {
    let open = |path: &Path| fs::File::open(path).with_context(|| path.display().to_string());
    let (mut disk, mut image) = (open(disk)?, open(image)?);
    let mut buffers = [vec![0; 1 << 20], vec![0; 1 << 20]];
    let mut at = 0;
    loop {
        let [expected, found] = &mut buffers;
        let count = image.read(expected)?;
        if count == 0 {
            return Ok(None);
        }
        // A disk that ends early differs where it ends.
        let got = read_up_to(&mut disk, &mut found[..count])?;
        let differs = expected[..count].iter().zip(&found[..got]).position(|(left, right)| left != right);
        if let Some(offset) = differs.or((got < count).then_some(got)) {
            return Ok(Some(at + offset as u64));
        }
        at += count as u64;
    }
}

/// Whether the first `length` bytes are all zero.
pub(crate) fn is_blank(disk: &Path, length: usize) -> Result<bool> {
    let mut head = vec![0; length];
    let mut file = fs::File::open(disk).with_context(|| disk.display().to_string())?;
    let count = read_up_to(&mut file, &mut head)?;
    Ok(head[..count].iter().all(|&byte| byte == 0))
}

fn read_up_to(file: &mut fs::File, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let image = path("image", &vec![7; (1 << 20) + 10]);
        let mut bytes = vec![7; 2 << 20];
        assert_eq!(first_difference(&path("same", &bytes), &image).unwrap(), None);
        bytes[(1 << 20) + 3] = 8;
        assert_eq!(first_difference(&path("other", &bytes), &image).unwrap(), Some((1 << 20) + 3));
        assert_eq!(first_difference(&path("short", &bytes[..99]), &image).unwrap(), Some(99));
    }

    #[test]
    fn one_byte_makes_a_head_not_blank() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        fs::write(&disk, [0; 64]).unwrap();
        assert!(is_blank(&disk, 64).unwrap());
        fs::write(&disk, [vec![0; 63], vec![1]].concat()).unwrap();
        assert!(!is_blank(&disk, 64).unwrap());
        assert!(is_blank(&disk, 63).unwrap());
    }
}
