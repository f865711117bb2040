//! The machine's disks and network interfaces, as sysfs shows them.

use std::fs;
use std::path::{Path, PathBuf};

use netboot_common::Mac;
use serde::Serialize;

/// A block device that is a whole disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskFound {
    /// As in `vda`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes of a logical block.
    pub block: u32,
    pub removable: bool,
    pub read_only: bool,
    pub serial: Option<String>,
    pub model: Option<String>,
    /// The name that no other disk in the world has, as the kernel writes it: `naa.5000c500a1b2c3d4`, `eui.0025388b91d3c1f2`.
    pub wwid: Option<String>,
    /// Where it hangs in the device tree, below `/sys`; for a look at the bus.
    #[serde(skip)]
    pub device: PathBuf,
}

/// An Ethernet interface with hardware behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nic {
    pub name: String,
    /// `aa:bb:cc:dd:ee:ff`
    #[serde(serialize_with = "as_text")]
    pub mac: Mac,
    /// A cable is plugged in; `false` also while the interface is down.
    pub carrier: bool,
}

/// All that the agent knows of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inventory {
    pub disks: Vec<DiskFound>,
    pub nics: Vec<Nic>,
}

impl DiskFound {
    pub fn path(&self) -> String {
        // sysfs writes `!` where the device's name has a slash.
        format!("/dev/{}", self.name.replace('!', "/"))
    }

    /// The lasting names that udev would link to it, without `/dev/disk/by-id/`.
    pub fn ids(&self) -> Vec<String> {
        let wwid = self.wwid.as_deref().unwrap_or_default();
        let of_wwid = if self.name.starts_with("nvme") {
            (!wwid.is_empty()).then(|| format!("nvme-{wwid}"))
        } else {
            wwid.strip_prefix("naa.").map(|wwn| format!("wwn-0x{wwn}"))
        };
        let virtio = self.serial.as_deref().filter(|_| self.name.starts_with("vd"));
        of_wwid
            .into_iter()
            .chain(virtio.map(|serial| format!("virtio-{}", serial.replace(' ', "_"))))
            .collect()
    }

    /// Both are paths to one disk: it has two names of the kernel's then, and may be written by either. Cheap USB bridges give
    /// themselves out as each other, and have one path.
    pub fn is_the_same_as(&self, other: &Self) -> bool {
        let unique =
            |wwid: &str| ["naa.", "eui.", "uuid.", "nvme."].iter().any(|kind| wwid.starts_with(kind));
        let on_usb = self.device.iter().any(|part| part.to_string_lossy().starts_with("usb"));
        self.wwid.as_deref().is_some_and(unique)
            && !on_usb
            && (&self.wwid, &self.serial, &self.model, self.size, self.block)
                == (&other.wwid, &other.serial, &other.model, other.size, other.block)
    }
}

impl std::fmt::Display for DiskFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}", self.path(), Bytes(self.size))?;
        if let Some(model) = &self.model {
            write!(f, ", {model}")?;
        }
        match &self.serial {
            Some(serial) => write!(f, ", serial {serial})"),
            None => f.write_str(")"),
        }
    }
}

/// A number of bytes, for a person.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0..0x400 => write!(f, "{} B", self.0),
            0x400..0x10_0000 => write!(f, "{} KiB", self.0 >> 10),
            0x10_0000..0x4000_0000 => write!(f, "{} MiB", self.0 >> 20),
            _ => write!(f, "{}.{} GiB", self.0 >> 30, (self.0 >> 20 & 0x3ff) * 10 / 1024),
        }
    }
}

/// What is under `sys` (`/sys`), each list by name. What can't be read is left out.
pub fn inventory(sys: &Path) -> Inventory {
    Inventory { disks: disks(sys), nics: nics(sys) }
}

/// The entries of `block/`, those that are no disks at all included: the plan says why it doesn't take them.
pub fn disks(sys: &Path) -> Vec<DiskFound> {
    let mut disks: Vec<DiskFound> =
        entries(&sys.join("block")).filter_map(|(name, at)| disk(name, &at)).collect();
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    disks
}

fn disk(name: String, at: &Path) -> Option<DiskFound> {
    let number = |file: &str| text(&at.join(file))?.parse::<u64>().ok();
    // One of several paths of an NVMe disk, `nvme0c0n1`: the kernel joins them in `nvme0n1`, and gives them no device node.
    if number("hidden") == Some(1) {
        return None;
    }
    Some(DiskFound {
        name,
        // Always in units of 512 bytes, whatever the logical block.
        size: number("size")? * 512,
        block: u32::try_from(number("queue/logical_block_size")?).ok()?,
        removable: number("removable") == Some(1),
        read_only: number("ro") == Some(1),
        // virtio-blk has its own; NVMe and SCSI have it at their device.
        serial: text(&at.join("serial")).or_else(|| text(&at.join("device/serial"))).or_else(|| page_80(at)),
        model: text(&at.join("device/model")),
        wwid: text(&at.join("wwid")).or_else(|| text(&at.join("device/wwid"))),
        device: fs::canonicalize(at).unwrap_or_default(),
    })
}

/// SCSI's "unit serial number" page (SPC-4 section 7.8.13): four bytes of header, the last two of them the length of the text.
fn page_80(at: &Path) -> Option<String> {
    let page = fs::read(at.join("device/vpd_pg80")).ok()?;
    let (&[_, _, high, low], serial) = page.split_first_chunk()?;
    let len = usize::from(u16::from_be_bytes([high, low])).min(serial.len());
    plain(&serial[..len])
}

/// The Ethernet interfaces (`type` 1) of `class/net` that have a device.
pub fn nics(sys: &Path) -> Vec<Nic> {
    let mut nics: Vec<Nic> =
        entries(&sys.join("class/net")).filter_map(|(name, at)| nic(name, &at)).collect();
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    nics
}

fn nic(name: String, at: &Path) -> Option<Nic> {
    // What has a master is a part of it, with the same MAC: a virtual function below Hyper-V's or virtio's own interface.
    if text(&at.join("type"))? != "1" || !at.join("device").exists() || at.join("master").exists() {
        return None;
    }
    let mac = text(&at.join("address"))?.parse().ok()?;
    Some(Nic { name, mac, carrier: text(&at.join("carrier")).as_deref() == Some("1") })
}

fn entries(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

fn text(file: &Path) -> Option<String> {
    plain(&fs::read(file).ok()?)
}

/// What a device says of itself, as one line: firmware pads with blanks or zeros, on either side.
fn plain(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn as_text<S: serde::Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(mac)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(sys: &Path, file: &str, content: impl AsRef<[u8]>) {
        let file = sys.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    #[test]
    fn reads_disks_and_their_serials_from_where_each_kind_has_them() {
        let sys = tempfile::tempdir().unwrap();
        for name in ["vda", "nvme0n1", "sda"] {
            write(sys.path(), &format!("block/{name}/size"), "2048\n");
            write(sys.path(), &format!("block/{name}/queue/logical_block_size"), "4096\n");
        }
        write(sys.path(), "block/vda/serial", "V1\n");
        write(sys.path(), "block/nvme0n1/device/serial", "N1   \n");
        write(sys.path(), "block/nvme0n1/ro", "1\n");
        write(sys.path(), "block/sda/device/vpd_pg80", b"\0\x80\0\x08 S1  2\0\0\x55");
        write(sys.path(), "block/sda/device/wwid", "naa.5000c500a1b2c3d4\n");
        write(sys.path(), "block/nvme0n1/wwid", "eui.0025388b91d3c1f2\n");
        // The kernel's own, one for each path to it.
        write(sys.path(), "block/nvme0c0n1/size", "2048\n");
        write(sys.path(), "block/nvme0c0n1/hidden", "1\n");
        write(sys.path(), "block/nvme0c0n1/queue/logical_block_size", "512\n");
        write(sys.path(), "block/sda/removable", "1\n");
        let found = disks(sys.path());
        let short: Vec<_> =
            found.iter().map(|d| (d.path(), d.size, d.serial.as_deref(), d.removable, d.read_only)).collect();
        assert_eq!(
            short,
            [
                ("/dev/nvme0n1".to_owned(), 1 << 20, Some("N1"), false, true),
                ("/dev/sda".to_owned(), 1 << 20, Some("S1 2"), true, false),
                ("/dev/vda".to_owned(), 1 << 20, Some("V1"), false, false),
            ]
        );
        let ids: Vec<_> = found.iter().map(DiskFound::ids).collect();
        assert_eq!(ids, [["nvme-eui.0025388b91d3c1f2"], ["wwn-0x5000c500a1b2c3d4"], ["virtio-V1"]]);
    }

    #[test]
    fn only_ethernet_with_hardware_and_of_its_own_is_a_nic() {
        let sys = tempfile::tempdir().unwrap();
        write(sys.path(), "class/net/eth1/master/x", "");
        for (name, kind, device) in
            [("lo", "772", false), ("eth0", "1", true), ("veth9", "1", false), ("eth1", "1", true)]
        {
            write(sys.path(), &format!("class/net/{name}/type"), kind);
            write(sys.path(), &format!("class/net/{name}/address"), "52:54:00:00:00:01\n");
            if device {
                write(sys.path(), &format!("class/net/{name}/device/x"), "");
            }
        }
        let nics = nics(sys.path());
        assert_eq!(nics.len(), 1);
        assert_eq!((nics[0].name.as_str(), nics[0].mac), ("eth0", Mac([0x52, 0x54, 0, 0, 0, 1])));
    }

    #[test]
    fn bytes_for_a_person() {
        for (bytes, shown) in [(5, "5 B"), (2048, "2 KiB"), (5 << 20, "5 MiB"), (3 << 29, "1.5 GiB")] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }
}
