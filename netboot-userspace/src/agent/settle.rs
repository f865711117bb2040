//! [`Settling`]: since when the machine shows the disks that it shows. Pure: time is an argument.
//!
//! Drivers find their disks in the background, one controller after the other: the first disk to show up is not the
//! only one until no other has followed it for a while.

use std::time::{Duration, Instant};

use super::hardware::DiskFound;

/// What makes it another list: a name, a size, or a serial number.
type Identity = (String, u64, Option<String>);

/// The disks as last seen.
#[derive(Clone, Debug)]
pub struct Settling {
    disks: Vec<Identity>,
    since: Instant,
}

impl Settling {
    /// The first look: when the drivers have just been loaded.
    pub fn new(now: Instant, found: &[DiskFound]) -> Self {
        Self { disks: identities(found), since: now }
    }

    /// Another look. How long the list has been as it is now.
    pub fn look(&mut self, now: Instant, found: &[DiskFound]) -> Duration {
        let disks = identities(found);
        if disks != self.disks {
            *self = Self { disks, since: now };
        }
        now.saturating_duration_since(self.since)
    }
}

fn identities(found: &[DiskFound]) -> Vec<Identity> {
    found.iter().map(|disk| (disk.name.clone(), disk.size, disk.serial.clone())).collect()
}
