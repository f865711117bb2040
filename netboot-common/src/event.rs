//! What the programs tell userspace: one record per answer, and of what they drop now and then one.

use crate::class::Class;
use crate::maps::Kind;
use crate::stats::{Lane, Leave};

/// `kind` of a message that was dropped.
const DROPPED: u8 = u8::MAX;

/// An answer that left the kernel, or a message that was dropped there.
// VERIFIER (6.18, 2026-11): aligned, because it is put together on the stack: "misaligned stack access".
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Event {
    pub mac: [u8; 6],
    vlan: [u8; 2],
    ifindex: [u8; 4],
    pub yiaddr: [u8; 4],
    lane: u8,
    kind: u8,
    class: u8,
    /// Why it was dropped.
    leave: u8,
    reserved: [u8; 4],
}

const _: () = assert!(size_of::<Event>() == 24);

impl Event {
    #[inline(always)]
    pub const fn new(lane: Lane, answer: Answered) -> Self {
        Self {
            mac: answer.mac,
            vlan: answer.vlan.to_be_bytes(),
            ifindex: answer.ifindex.to_be_bytes(),
            yiaddr: answer.yiaddr,
            lane: lane as u8,
            kind: answer.kind as u8,
            class: answer.class as u8,
            leave: 0,
            reserved: [0; 4],
        }
    }

    /// A message that nobody is to answer.
    #[inline(always)]
    pub const fn dropped(lane: Lane, ifindex: u32, vlan: u16, mac: [u8; 6], leave: Leave) -> Self {
        Self {
            mac,
            vlan: vlan.to_be_bytes(),
            ifindex: ifindex.to_be_bytes(),
            yiaddr: [0; 4],
            lane: lane as u8,
            kind: DROPPED,
            class: 0,
            leave: leave as u8,
            reserved: [0; 4],
        }
    }

    /// From the ring's bytes; `None` when it is not 24 bytes long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; size_of::<Self>()] = bytes.try_into().ok()?;
        let (mac, rest) = bytes.split_first_chunk()?;
        let (vlan, rest) = rest.split_first_chunk()?;
        let (ifindex, rest) = rest.split_first_chunk()?;
        let (yiaddr, rest) = rest.split_first_chunk()?;
        let [lane, kind, class, leave, ..] = *rest else { return None };
        let (mac, vlan, ifindex, yiaddr) = (*mac, *vlan, *ifindex, *yiaddr);
        Some(Self { mac, vlan, ifindex, yiaddr, lane, kind, class, leave, reserved: [0; 4] })
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
        let mut bytes = [0; 24];
        bytes[..6].copy_from_slice(&mac);
        bytes[6..8].copy_from_slice(&[0, 77]);
        bytes[8..12].copy_from_slice(&7_u32.to_be_bytes());
        bytes[12..16].copy_from_slice(&[10, 0, 0, 9]);
        bytes[16..19].copy_from_slice(&[1, 1, 3]);
        assert_eq!(Event::from_bytes(&bytes), Some(Event::new(Lane::Tcx, answered)));
        assert_eq!(Event::from_bytes(&bytes[..23]), None);
        assert_eq!(Event::from_bytes(&bytes).and_then(|event| event.leave()), None);
        bytes[17..20].copy_from_slice(&[255, 0, Leave::RateLimited as u8]);
        bytes[12..16].fill(0);
        let dropped = Event::dropped(Lane::Tcx, 7, 77, mac, Leave::RateLimited);
        assert_eq!(Event::from_bytes(&bytes), Some(dropped));
        assert_eq!((dropped.leave(), dropped.kind()), (Some(Leave::RateLimited), None));
    }
}
