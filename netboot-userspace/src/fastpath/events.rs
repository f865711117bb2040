//! What the programs tell: one record per answer.

use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use netboot_common::event::Event;

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

/// Those that wait now; records that are no events are passed over.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let record = self.ring.next()?;
            if let Some(event) = Event::from_bytes(&record) {
                return Some(event);
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
