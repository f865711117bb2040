//! How a datagram's frame becomes the packets that are sent for it: one frame, of which each packet but the last leaves as a copy.
#![allow(unsafe_code, reason = "the kernel's helpers take raw pointers")]

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, BPF_CSUM_LEVEL_QUERY};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_csum_diff, bpf_csum_level, bpf_loop, bpf_skb_change_tail, bpf_skb_load_bytes,
    bpf_skb_store_bytes,
};
use netboot_common::tftp::answer::{Work, place};
use netboot_common::tftp::datagram::{SUM_MOST, Summed};
use netboot_common::tftp::maps::{CHUNK, CHUNK_BYTES, Chunk};
use netboot_common::tftp::reply::{FIRST, HEAD, Oack};
use netboot_common::wire::{checksum, ipv4, udp};

use super::maps;
use crate::frame::{Skb, tied};

/// What the checksum helper takes at once before kernel 6.13.
const PART: usize = 512;
/// Of UDP, behind the start of the IPv4 header.
const CHECKSUM_AT: u32 = (ipv4::HEADER + udp::field::CHECKSUM) as u32;
/// A bound of a block's length that the verifier can use.
const BLOCK_BOUND: usize = CHUNK_BYTES - CHUNK;

/// Blocks to send, and how far it is with them.
struct Window<'a> {
    skb: *mut __sk_buff,
    work: &'a Work,
    block: u16,
    last: u16,
    /// The frame's length now.
    length: u32,
    is_begun: bool,
}

impl Summed for Skb {
    #[inline(always)]
    fn is_verified(&self) -> bool {
        // SAFETY: takes the context and a number; it only asks.
        unsafe { bpf_csum_level(self.skb(), u64::from(BPF_CSUM_LEVEL_QUERY)) >= 0 }
    }

    #[inline(always)]
    fn sum(&self, at: usize, length: u16, room: &mut [u8; SUM_MOST]) -> Option<u32> {
        // VERIFIER: as in `copy`.
        let length = tied(usize::from(length));
        if length == 0 {
            return Some(0);
        }
        if length > SUM_MOST {
            return None;
        }
        // SAFETY: `room` has so many bytes.
        if unsafe {
            bpf_skb_load_bytes(self.skb().cast(), at as u32, room.as_mut_ptr().cast(), length as u32)
        } != 0
        {
            return None;
        }
        let words = tied(length & !3 & (2 * SUM_MOST - 1));
        if words > SUM_MOST {
            return None;
        }
        // SAFETY: so many bytes are there, and the helper only reads them.
        let sum =
            unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, room.as_mut_ptr().cast(), words as u32, 0) };
        Some(u32::from(u16::from_be(checksum::fold(sum as u32))) + sum_of_rest(room, words, length & 3))
    }
}

impl Skb {
    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.ctx.as_ptr().cast()
    }

    /// Makes the frame the OACK; whether it is one. `None`: it is as it was.
    #[inline(always)]
    pub fn make_oack(&mut self, work: &Work) -> Option<bool> {
        let (skb, oack, l3) = (self.skb(), &work.oack, u32::from(work.datagram.l3));
        let rest = usize::from(oack.length()).wrapping_sub(FIRST) & (Oack::ROOM - 1);
        let is_begun = make_room(skb, l3, l3 + HEAD as u32 + rest as u32)?;
        // It has room for all of it: from here on nothing fails, and the checks are the verifier's.
        swap_macs(skb, work);
        let [a, b, c, d, ..] = oack.bytes;
        let head = work.ends.head([a, b, c, d], rest as u16, sum_of_oack(oack));
        let is_made = place_head(skb, work, &head, rest as u16, is_begun);
        // VERIFIER: as in `copy`.
        let rest = tied(rest);
        if rest > 0 && rest <= Oack::ROOM - FIRST {
            store(skb, l3 + HEAD as u32, oack.bytes.as_ptr().wrapping_add(FIRST), rest);
        }
        Some(is_made)
    }

    /// Sends the session's window, of which the last block is what the frame becomes; how many blocks were sent or are to be. `None`:
    /// the frame is as it was.
    #[inline(always)]
    pub fn send_window(&mut self, work: &Work) -> Option<u16> {
        let (skb, session) = (self.skb(), &work.session);
        let (block, last) = (session.acked().wrapping_add(1), session.sent());
        let length = length(work, block);
        let is_begun = make_room(skb, u32::from(work.datagram.l3), length)?;
        swap_macs(skb, work);
        let mut window = Window { skb, work, block, last, length, is_begun };
        // No more than the window has: see `Session::ack`.
        let count = u32::from(last.wrapping_sub(block)) + 1;
        // SAFETY: `step` has the signature that bpf_loop calls, and `window` is what it expects.
        unsafe { bpf_loop(count, step as *mut c_void, (&raw mut window).cast(), 0) };
        Some(window.block.wrapping_sub(block))
    }
}

/// The length of the frame that has this block.
#[inline(always)]
fn length(work: &Work, block: u16) -> u32 {
    let (_, length) = place(block, work.session.block_size(), work.file.size());
    u32::from(work.datagram.l3) + (HEAD as u32) + u32::from(length)
}

/// Back to whom it came from.
#[inline(always)]
fn swap_macs(skb: *mut __sk_buff, work: &Work) {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (work.datagram.source_mac, work.datagram.destination_mac);
    let macs = [a, b, c, d, e, f, g, h, i, j, k, l];
    store(skb, 0, macs.as_ptr(), macs.len());
}

/// One block of a window.
extern "C" fn step(_index: u32, window: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands back the pointer to the caller's `window`, which outlives the loop and is used by nobody else
    // meanwhile.
    let window = unsafe { &mut *window.cast::<Window<'_>>() };
    if !window.make() {
        return 1;
    }
    let is_last = window.block == window.last;
    // SAFETY: takes the context and two numbers.
    if !is_last && unsafe { bpf_clone_redirect(window.skb, (*window.skb).ifindex, 0) } != 0 {
        return 1;
    }
    window.block = window.block.wrapping_add(1);
    i64::from(is_last)
}

impl Window<'_> {
    /// Makes the frame the block.
    #[inline(always)]
    fn make(&mut self) -> bool {
        let Self { skb, work, block, is_begun, .. } = *self;
        let (offset, length) = place(block, work.session.block_size(), work.file.size());
        let Some(chunk) = maps::chunk(work.file.chunk(offset)) else { return false };
        let at = offset as usize & (CHUNK - 1);
        let l3 = u32::from(work.datagram.l3);
        let wanted = l3 + HEAD as u32 + u32::from(length);
        if wanted != self.length {
            if !resize(skb, wanted) {
                return false;
            }
            self.length = wanted;
        }
        // A device sums what is begun.
        let sum = if is_begun { 0 } else { sum(chunk, at, length as usize) };
        let head = work.ends.data(block, length, sum);
        place_head(skb, work, &head, length, is_begun)
            && copy(skb, l3 + HEAD as u32, chunk, at, length as usize)
    }
}

/// Makes the frame so long, and says whether its checksum is only begun, and a device is to go on from there (CHECKSUM_PARTIAL): so it
/// is with what a client of this machine, or a guest of it, has sent, and stays with what we make of that. `None`: it is as it was.
#[inline(always)]
fn make_room(skb: *mut __sk_buff, l3: u32, length: u32) -> Option<bool> {
    if !resize(skb, length) {
        return None;
    }
    // The kernel cuts nothing off that a device is to fill in; nothing else tells a tc program. What was long enough a moment ago has its
    // memory still.
    let is_begun = !resize(skb, l3 + CHECKSUM_AT + 1);
    resize(skb, length);
    Some(is_begun)
}

/// Writes the headers of what is followed by `length` bytes.
#[inline(always)]
fn place_head(skb: *mut __sk_buff, work: &Work, head: &[u8; HEAD], length: u16, is_begun: bool) -> bool {
    let l3 = u32::from(work.datagram.l3);
    let is_placed = store(skb, l3, head.as_ptr(), HEAD);
    if is_begun {
        let begun = work.ends.begun(length);
        return store(skb, l3 + CHECKSUM_AT, begun.as_ptr(), begun.len());
    }
    is_placed
}

/// Also when the length stays: it makes all of the frame ours to write.
#[inline(always)]
fn resize(skb: *mut __sk_buff, length: u32) -> bool {
    // SAFETY: no window onto the frame is held.
    unsafe { bpf_skb_change_tail(skb, length, 0) == 0 }
}

#[inline(always)]
fn store(skb: *mut __sk_buff, at: u32, from: *const u8, length: usize) -> bool {
    // SAFETY: every caller has so many bytes there, and the helper only reads them.
    unsafe { bpf_skb_store_bytes(skb, at, from.cast(), length as u32, 0) == 0 }
}

/// Copies `length` bytes at `at` of the chunk into the frame.
#[inline(always)]
fn copy(skb: *mut __sk_buff, to: u32, chunk: &Chunk, at: usize, length: usize) -> bool {
    // VERIFIER (6.18, 2026-11): "R4 invalid zero-sized read: u64=[0,65535]": LLVM checks one copy of the length and hands over
    // another. Tied to one register, what is checked is what is handed over. Without it the program does not load.
    let length = tied(length);
    if length == 0 {
        return true;
    }
    if length > BLOCK_BOUND {
        return false;
    }
    store(skb, to, chunk.as_ptr().wrapping_add(at & (CHUNK - 1)), length)
}

/// The sum of `length` bytes at `at` of the chunk, as [`checksum::add`] has it.
#[inline(always)]
fn sum(chunk: &Chunk, at: usize, length: usize) -> u32 {
    let from = chunk.as_ptr().wrapping_add(at & (CHUNK - 1));
    let words = length & !3;
    let (mut sum, mut done) = (0, 0);
    while done < BLOCK_BOUND {
        if done >= words {
            break;
        }
        let rest = words - done;
        let part = if rest > PART { PART } else { rest };
        // SAFETY: `part` bytes are there: `at` is less than CHUNK, and `done + part` at most BLOCK_BOUND.
        sum = unsafe {
            bpf_csum_diff(
                core::ptr::null_mut(),
                0,
                from.wrapping_add(done).cast_mut().cast(),
                part as u32,
                sum,
            )
        } as u32;
        done += PART;
    }
    // RFC 1071, section 2(B): a sum of words in the other byte order is the sum with its bytes swapped.
    let sum = u32::from(u16::from_be(checksum::fold(sum)));
    sum + sum_of_rest(chunk, (at & (CHUNK - 1)) + words, length & 3)
}

/// Of the up to three bytes behind the last whole word.
#[inline(always)]
fn sum_of_rest<const N: usize>(bytes: &[u8; N], at: usize, length: usize) -> u32 {
    let byte = |i: usize| -> u32 {
        match bytes.get(at + i) {
            Some(byte) if i < length => u32::from(*byte),
            _ => 0,
        }
    };
    (byte(0) << 8 | byte(1)) + (byte(2) << 8)
}

/// Of what an OACK says behind its first bytes; zeros follow, so that all of its room may be summed.
#[inline(always)]
fn sum_of_oack(oack: &Oack) -> u32 {
    let from = oack.bytes.as_ptr().wrapping_add(FIRST).cast_mut().cast();
    // SAFETY: so many bytes are there, and the helper only reads them.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, from, (Oack::ROOM - FIRST) as u32, 0) };
    u32::from(u16::from_be(checksum::fold(sum as u32)))
}
