//! Which disk: pure. Exactly one, or the reason, with every disk that was looked at.

use super::hardware::{Bytes, DiskFound};
use crate::image::protocol::Disk;

/// Why no disk was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("no disk: the kernel shows none (is its driver in the initramfs?)")]
    NoDisk,
    #[error("no disk can be written: {}", .0.join("; "))]
    NoneFit(Vec<String>),
    #[error("{} disks could be meant, name one by path or serial: {}", .0.len(), .0.join("; "))]
    Several(Vec<String>),
    #[error("the disks keep changing, so none of them is the only one; name one by path or serial, now there are: {}", .0.join("; "))]
    Unsettled(Vec<String>),
    #[error("no disk is {wanted}; there are: {}", if found.is_empty() { "none".to_owned() } else { found.join("; ") })]
    NoMatch { wanted: String, found: Vec<String> },
    #[error("{disk} {fault}")]
    Unfit { disk: String, fault: &'static str },
    #[error("{disk} is too small: the image has {} ({image} bytes), the disk {size} bytes", Bytes(*.image))]
    TooSmall { disk: String, size: u64, image: u64 },
}

impl PlanError {
    /// A disk may still turn up: drivers look for theirs in the background.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NoDisk | Self::NoneFit(_) | Self::NoMatch { .. })
    }
}

/// Names of what the kernel also shows as whole disks.
const NOT_DISKS: [(&str, &str); 9] = [
    ("loop", "is a loop device"),
    ("ram", "is a RAM disk"),
    ("zram", "is a RAM disk"),
    ("sr", "is an optical drive"),
    ("dm-", "is a mapped device"),
    ("md", "is a RAID array"),
    ("nbd", "is a network block device"),
    ("fd", "is a floppy drive"),
    ("mtdblock", "is flash memory"),
];

/// The disk that `wanted` means, which can be written and holds `image` bytes.
///
/// # Errors
/// [`PlanError`]. Never a guess: two that fit are an error.
pub fn choose<'a>(
    wanted: &Disk,
    found: &'a [DiskFound],
    image: Option<u64>,
) -> Result<&'a DiskFound, PlanError> {
    let disk = match wanted {
        Disk::Only => the_only(found)?,
        Disk::Path(path) => the_one(found, format!("at {path}"), |disk| is_at(disk, path))?,
        Disk::Serial(serial) => {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let wanted = words(serial);
            let is_it = |disk: &DiskFound| disk.serial.as_deref().is_some_and(|found| words(found) == wanted);
            the_one(found, format!("serial {serial}"), is_it)?
        }
    };
    match image {
        Some(image) if image > disk.size => {
            Err(PlanError::TooSmall { disk: disk.to_string(), size: disk.size, image })
        }
        _ => Ok(disk),
    }
}

/// The kernel's name, or one that udev would give: there is none in an initramfs.
fn is_at(disk: &DiskFound, path: &str) -> bool {
    disk.path() == path
        || path.strip_prefix("/dev/disk/by-id/").is_some_and(|id| disk.ids().iter().any(|i| i == id))
}

/// Of several paths to one disk, the first.
fn distinct<'a>(disks: impl Iterator<Item = &'a DiskFound>) -> Vec<&'a DiskFound> {
    let mut distinct: Vec<&DiskFound> = Vec::new();
    for disk in disks {
        if !distinct.iter().any(|known| known.is_the_same_as(disk)) {
            distinct.push(disk);
        }
    }
    distinct
}

fn the_only(found: &[DiskFound]) -> Result<&DiskFound, PlanError> {
    let fit = distinct(found.iter().filter(|disk| unfit(disk).is_none()));
    match fit[..] {
        [disk] => Ok(disk),
        [] if found.iter().all(|disk| not_a_disk(disk).is_some()) => Err(PlanError::NoDisk),
        [] => {
            // Loop devices and the like would only hide the reason.
            let real = found.iter().filter(|disk| not_a_disk(disk).is_none());
            let why = |disk: &DiskFound| format!("{disk} {}", unfit(disk).unwrap_or_default());
            Err(PlanError::NoneFit(real.map(why).collect()))
        }
        _ => Err(PlanError::Several(fit.iter().map(ToString::to_string).collect())),
    }
}

/// A disk that was named may be removable; it must be writable all the same.
fn the_one(
    found: &[DiskFound],
    wanted: String,
    is_it: impl Fn(&DiskFound) -> bool,
) -> Result<&DiskFound, PlanError> {
    let matching = distinct(found.iter().filter(|disk| is_it(disk)));
    match matching[..] {
        [disk] => match cannot_be_written(disk) {
            Some(fault) => Err(PlanError::Unfit { disk: disk.to_string(), fault }),
            None => Ok(disk),
        },
        [] => {
            let real = found.iter().filter(|disk| not_a_disk(disk).is_none());
            Err(PlanError::NoMatch { wanted, found: real.map(ToString::to_string).collect() })
        }
        _ => Err(PlanError::Several(matching.iter().map(ToString::to_string).collect())),
    }
}

fn unfit(disk: &DiskFound) -> Option<&'static str> {
    not_a_disk(disk).or_else(|| cannot_be_written(disk)).or(disk.removable.then_some("is removable"))
}

fn cannot_be_written(disk: &DiskFound) -> Option<&'static str> {
    match disk {
        DiskFound { size: 0, .. } => Some("has no medium"),
        DiskFound { read_only: true, .. } => Some("is write-protected"),
        _ => None,
    }
}

fn not_a_disk(disk: &DiskFound) -> Option<&'static str> {
    let is = |prefix: &str| {
        // `sr0`, `md127`, `dm-3`; but not a disk driver whose name only begins alike.
        let rest = disk.name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '_'))
    };
    NOT_DISKS.iter().find(|(prefix, _)| is(prefix)).map(|(_, what)| *what)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn disk(name: &str) -> DiskFound {
        DiskFound {
            name: name.to_owned(),
            size: 1 << 30,
            block: 512,
            removable: false,
            read_only: false,
            serial: Some(format!("S-{name}")),
            model: None,
            wwid: None,
            device: std::path::PathBuf::new(),
        }
    }

    fn removable(name: &str) -> DiskFound {
        DiskFound { removable: true, ..disk(name) }
    }

    #[test]
    fn chooses_exactly_one_disk_or_says_why_not() {
        let protected = DiskFound { read_only: true, ..disk("vdp") };
        let empty = DiskFound { size: 0, ..disk("sde") };
        let twin = DiskFound { serial: Some("S-vda".to_owned()), ..disk("vdb") };
        let path = |path: &str| Disk::Path(path.to_owned());
        let serial = |serial: &str| Disk::Serial(serial.to_owned());
        let noise = || {
            vec![
                disk("loop0"),
                disk("sr0"),
                disk("dm-0"),
                disk("md127"),
                disk("ram1"),
                disk("zram0"),
                disk("nbd3"),
                disk("fd0"),
            ]
        };
        let cases: Vec<(Disk, Vec<DiskFound>, Result<&str, &str>)> = vec![
            (Disk::Only, vec![disk("vda")], Ok("vda")),
            (Disk::Only, [noise(), vec![disk("nvme0n1")]].concat(), Ok("nvme0n1")),
            (Disk::Only, vec![removable("sdb"), disk("sda"), empty.clone(), protected.clone()], Ok("sda")),
            (Disk::Only, vec![], Err("the kernel shows none")),
            (Disk::Only, noise(), Err("the kernel shows none")),
            (
                Disk::Only,
                vec![disk("sr0"), removable("sdb")],
                Err("no disk can be written: /dev/sdb (1.0 GiB, serial S-sdb) is removable"),
            ),
            (Disk::Only, vec![protected.clone()], Err("is write-protected")),
            (Disk::Only, vec![empty.clone()], Err("has no medium")),
            (Disk::Only, vec![disk("vda"), disk("vdb")], Err("2 disks could be meant")),
            (path("/dev/vdb"), vec![disk("vda"), disk("vdb")], Ok("vdb")),
            (path("/dev/sdb"), vec![removable("sdb")], Ok("sdb")),
            (path("/dev/vdz"), vec![disk("vda")], Err("no disk is at /dev/vdz; there are: /dev/vda")),
            (path("/dev/vdz"), vec![], Err("there are: none")),
            (path("/dev/vdp"), vec![protected], Err("is write-protected")),
            (path("/dev/cciss/c0d0"), vec![disk("cciss!c0d0")], Ok("cciss!c0d0")),
            (serial("S-vda"), vec![disk("vda"), disk("vdb")], Ok("vda")),
            (serial("S-vda"), vec![disk("vda"), twin], Err("2 disks could be meant")),
            (serial("none"), vec![disk("vda")], Err("no disk is serial none")),
        ];
        for (wanted, found, expected) in cases {
            match (choose(&wanted, &found, None), expected) {
                (Ok(disk), Ok(name)) => assert_eq!(disk.name, name, "{wanted:?}"),
                (Err(error), Err(says)) => {
                    assert!(error.to_string().contains(says), "{wanted:?}: {error}");
                }
                (got, _) => panic!("{wanted:?} of {found:?}: {got:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn two_paths_to_one_disk_are_one_disk() {
        let path = |name: &str| DiskFound {
            wwid: Some("naa.5000c500a1b2c3d4".to_owned()),
            serial: Some("Z1".to_owned()),
            device: format!("/sys/devices/pci0000:00/host1/{name}").into(),
            ..disk(name)
        };
        let serial = Disk::Serial(" Z1".to_owned());
        for wanted in [Disk::Only, serial, Disk::Path("/dev/disk/by-id/wwn-0x5000c500a1b2c3d4".to_owned())] {
            let twins = [path("sda"), path("sdb")];
            assert_eq!(choose(&wanted, &twins, None).unwrap().name, "sda", "{wanted:?}");
            for other in [
                DiskFound { size: 5 << 30, ..path("sdb") },
                DiskFound { serial: Some("Z1 ".to_owned()), ..path("sdb") },
                DiskFound { model: Some("other".to_owned()), ..path("sdb") },
            ] {
                let error = choose(&wanted, &[path("sda"), other], None).unwrap_err();
                assert!(matches!(error, PlanError::Several(_)), "{wanted:?}: {error}");
            }
            // Bridges of one make may all say the same.
            let on_usb = DiskFound { device: "/sys/devices/usb1/1-1/host2/sda".into(), ..path("sda") };
            assert!(choose(&wanted, &[on_usb, path("sdb")], None).is_err(), "{wanted:?}");
        }
        // A made-up name is no name.
        let plain = |name: &str| DiskFound { wwid: Some("t10.ATA     DISK".to_owned()), ..path(name) };
        assert!(choose(&Disk::Only, &[plain("sda"), plain("sdb")], None).is_err());
    }

    #[test]
    fn a_serial_number_with_blanks_is_found_however_many_are_typed() {
        let found = [DiskFound { serial: Some("WD 10  X".to_owned()), ..disk("sda") }, disk("sdb")];
        for typed in ["WD 10 X", "  WD 10  X ", "WD  10   X"] {
            assert_eq!(
                choose(&Disk::Serial(typed.to_owned()), &found, None).unwrap().name,
                "sda",
                "{typed:?}"
            );
        }
        assert!(choose(&Disk::Serial("WD10X".to_owned()), &found, None).is_err());
    }

    #[test]
    fn a_disk_must_hold_the_image() {
        let found = [disk("vda")];
        assert!(choose(&Disk::Only, &found, Some(1 << 30)).is_ok());
        let error = choose(&Disk::Only, &found, Some((1 << 30) + 1)).unwrap_err();
        assert!(matches!(error, PlanError::TooSmall { .. }) && !error.may_pass(), "{error}");
    }
}
