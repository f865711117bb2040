//! Packet memory, as every lane can offer it: a slice in userspace, an XDP frame or an skb in the kernel.

use crate::reply::Scratch;

/// A received frame, from its Ethernet header on.
pub trait Packet {
    /// Bytes in all.
    fn length(&self) -> usize;

    /// The VID of a tag that the device took out of the frame, 0 for none.
    fn offloaded_vlan(&self) -> u16;

    /// The device that the frame came in by.
    fn ifindex(&self) -> u32;

    /// `N` bytes from offset `at`; `None` past the end.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Copies `length` bytes from offset `at` to `to` in the scratch's tail; false past either end.
    fn copy_to_tail(&self, at: usize, length: u8, scratch: &mut Scratch, to: usize) -> bool;

    /// As [`walk`]; in the kernel a call for each step, and verified once: for walks that are long, or seldom.
    #[inline(always)]
    fn walk_apart<W: Walker<Self>>(&self, walker: &mut W, max: u32) -> bool
    where
        Self: Sized,
    {
        walk(self, walker, max)
    }

    /// What was written to memory is read from there again. It means nothing but to the kernel's verifier: of what comes from a map
    /// it knows no value, so that all ways here look alike to it, and what follows is walked once.
    #[inline(always)]
    fn forget(&self) {}
}

/// Runs `walker`'s steps until one says [`Step::Done`], or `max` times; then false.
// VERIFIER (6.18, 2026-11): every iteration is walked; that is affordable as long as what a step remembers is in the caller's memory,
// which is a map's, so that all its ways out look alike.
#[inline(always)]
pub fn walk<P: Packet, W: Walker<P>>(packet: &P, walker: &mut W, max: u32) -> bool {
    let mut steps = 0;
    while steps < max {
        if matches!(walker.step(packet), Step::Done) {
            return true;
        }
        steps += 1;
    }
    false
}

/// One step of a walk over a packet, and what it gathers.
pub trait Walker<P: Packet> {
    fn step(&mut self, packet: &P) -> Step;
}

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Next,
    Done,
}

/// A frame in ordinary memory.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    pub bytes: &'a [u8],
    pub offloaded_vlan: u16,
    pub ifindex: u32,
}

impl Packet for Slice<'_> {
    fn length(&self) -> usize {
        self.bytes.len()
    }

    fn offloaded_vlan(&self) -> u16 {
        self.offloaded_vlan
    }

    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    fn copy_to_tail(&self, at: usize, length: u8, scratch: &mut Scratch, to: usize) -> bool {
        let from = self.bytes.get(at..at + usize::from(length));
        match (from, scratch.tail.get_mut(to..to + usize::from(length))) {
            (Some(from), Some(to)) => {
                to.copy_from_slice(from);
                true
            }
            _ => false,
        }
    }
}
