//! What the programs tell userspace: one record per answer, and of what they drop now and then one.

use crate::class::Class;
use crate::maps::Kind;
use crate::stats::{Lane, Leave};

/// `kind` of a message that was dropped.
const DROPPED: u8 = u8::MAX;

/// An answer that left the kernel, or a message that was dropped there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    time: [u8; 8],
    ifindex: [u8; 4],
    pub yiaddr: [u8; 4],
    pub mac: [u8; 6],
    vlan: [u8; 2],
    lane: u8,
    kind: u8,
    class: u8,
    /// Why it was dropped.
    leave: u8,
    reserved: [u8; 4],
}

const _: () = assert!(size_of::<Event>() == 32 && align_of::<Event>() == 1);

impl Event {
    #[inline(always)]
    pub const fn new(time: u64, lane: Lane, answer: Answered) -> Self {
        Self {
            time: time.to_be_bytes(),
            ifindex: answer.ifindex.to_be_bytes(),
            yiaddr: answer.yiaddr,
            mac: answer.mac,
            vlan: answer.vlan.to_be_bytes(),
            lane: lane as u8,
            kind: answer.kind as u8,
            class: answer.class as u8,
            leave: 0,
            reserved: [0; 4],
        }
    }

    /// A message that nobody is to answer.
    #[inline(always)]
    pub const fn dropped(time: u64, lane: Lane, ifindex: u32, vlan: u16, mac: [u8; 6], leave: Leave) -> Self {
        Self {
            time: time.to_be_bytes(),
            ifindex: ifindex.to_be_bytes(),
            yiaddr: [0; 4],
            mac,
            vlan: vlan.to_be_bytes(),
            lane: lane as u8,
            kind: DROPPED,
            class: 0,
            leave: leave as u8,
            reserved: [0; 4],
        }
    }

    /// From the ring's bytes; `None` when it is not 32 bytes long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let (time, rest) = bytes.split_first_chunk()?;
        let (ifindex, rest) = rest.split_first_chunk()?;
        let (yiaddr, rest) = rest.split_first_chunk()?;
        let (mac, rest) = rest.split_first_chunk()?;
        let (vlan, rest) = rest.split_first_chunk()?;
        let [lane, kind, class, leave, ..] = *rest else { return None };
        let reserved = [0; 4];
        let (time, ifindex, yiaddr, mac, vlan) = (*time, *ifindex, *yiaddr, *mac, *vlan);
        Some(Self { time, ifindex, yiaddr, mac, vlan, lane, kind, class, leave, reserved })
    }

    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub const fn time(&self) -> u64 {
        u64::from_be_bytes(self.time)
    }

    pub const fn ifindex(&self) -> u32 {
        u32::from_be_bytes(self.ifindex)
    }

    pub const fn vlan(&self) -> u16 {
        u16::from_be_bytes(self.vlan)
    }

    pub const fn lane(&self) -> Option<Lane> {
        Lane::from_byte(self.lane)
    }

    pub fn kind(&self) -> Option<Kind> {
        Kind::from_byte(self.kind)
    }

    /// Why the message was dropped; `None`: it was answered.
    pub fn leave(&self) -> Option<Leave> {
        if self.kind == DROPPED { Leave::ALL.get(self.leave as usize).copied() } else { None }
    }

    pub fn class(&self) -> Option<Class> {
        Class::from_byte(self.class)
    }
}

/// Who was answered what.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub ifindex: u32,
    /// Innermost VID; 0: untagged.
    pub vlan: u16,
    pub mac: [u8; 6],
    pub yiaddr: [u8; 4],
    pub kind: Kind,
    pub class: Class,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_the_ring_carries() {
        let mac = [1, 2, 3, 4, 5, 6];
        let answered = Answered {
            ifindex: 7,
            vlan: 77,
            mac,
            yiaddr: [10, 0, 0, 9],
            kind: Kind::Ack,
            class: Class::EfiX64,
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&5_u64.to_be_bytes());
        bytes[8..12].copy_from_slice(&7_u32.to_be_bytes());
        bytes[12..16].copy_from_slice(&[10, 0, 0, 9]);
        bytes[16..22].copy_from_slice(&mac);
        bytes[22..27].copy_from_slice(&[0, 77, 1, 1, 3]);
        assert_eq!(Event::from_bytes(&bytes), Some(Event::new(5, Lane::Tcx, answered)));
        assert_eq!(Event::from_bytes(&bytes[..31]), None);
        assert_eq!(Event::from_bytes(&bytes).and_then(|event| event.leave()), None);
        bytes[25..28].copy_from_slice(&[255, 0, Leave::RateLimited as u8]);
        bytes[8 + 4..16].fill(0);
        let dropped = Event::dropped(5, Lane::Tcx, 7, 77, mac, Leave::RateLimited);
        assert_eq!(Event::from_bytes(&bytes), Some(dropped));
        assert_eq!((dropped.leave(), dropped.kind()), (Some(Leave::RateLimited), None));
    }
}
