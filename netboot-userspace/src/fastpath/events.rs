//! What the programs tell: one record per answer, and per transfer that ended, and now and then one of a message that was dropped.

use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use netboot_common::event::Event;
use netboot_common::tftp::event::Transfer;

use super::Error;

/// The reading end of the programs' ring. Its descriptor is readable while records wait.
#[expect(missing_debug_implementations, reason = "aya's rings have none")]
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let map = ebpf.take_map("EVENTS").ok_or(Error::Object { what: "EVENTS" })?;
        Ok(Self { ring: RingBuf::try_from(map).map_err(|source| Error::Map { map: "EVENTS", source })? })
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Of DHCP.
    Answer(Event),
    /// Of TFTP.
    Transfer(Transfer),
}

/// Those that wait now; records that are neither are passed over.
impl Iterator for Events {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let record = self.ring.next()?;
            let answer = Event::from_bytes(&record).map(Record::Answer);
            if let Some(record) = answer.or_else(|| Transfer::from_bytes(&record).map(Record::Transfer)) {
                return Some(record);
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
