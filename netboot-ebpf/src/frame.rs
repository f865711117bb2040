//! Windows onto packet memory, and how each hook resizes and sends a frame. The only door: everything else asks here.
#![allow(unsafe_code, reason = "packet memory is raw pointers between `data` and `data_end`")]

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_loop, bpf_redirect, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_xdp_adjust_tail,
    bpf_xdp_load_bytes,
};
use aya_ebpf::programs::{TcContext, XdpContext};
use netboot_common::packet::{Packet, Step, Walker};
use netboot_common::reply::{self, HEAD, Reply, Scratch, TAIL_MAX};
use netboot_common::stats::Leave;
use netboot_common::wire::{ipv4, udp, vlan};

/// Where UDP has its checksum, behind the start of the IPv4 header.
const CHECKSUM_AT: usize = ipv4::HEADER + udp::field::CHECKSUM;
/// No frame that we look at is longer; a bound that the verifier can use.
const FRAME_MAX: usize = 4096;

/// A frame that can be answered in place.
pub trait Frame: Packet + Sized {
    fn data(&self) -> usize;
    fn data_end(&self) -> usize;

    /// Makes all bytes readable where the device left some in fragments.
    fn linearize(&mut self) -> Result<(), Leave>;

    /// Grows or shrinks the frame to `length` bytes; IPv4 begins at `l3`. The last step that may leave: nothing is written yet.
    fn resize(&mut self, l3: usize, length: usize) -> Result<(), Leave>;

    /// Turns the frame into `reply`. `resize` made room for all of it, so that what follows can't fail; the checks
    /// are the verifier's.
    #[inline(always)]
    fn commit(&mut self, l3: usize, reply: &Reply<'_>, scratch: &Scratch) -> Result<(), Leave> {
        write(self, l3, reply, scratch)
    }
}

#[inline(always)]
fn write<F: Frame>(frame: &mut F, l3: usize, reply: &Reply<'_>, scratch: &Scratch) -> Result<(), Leave> {
    place::<12, _>(frame, 0, scratch.macs.as_flattened())?;
    place::<HEAD, _>(frame, l3, scratch.head.as_flattened())?;
    // All of the body that counts, and more: the tail comes behind it.
    copy(frame, l3 + HEAD, reply.template.body(), reply.template.length());
    frame.forget();
    copy(frame, l3 + HEAD + reply.template.length(), &scratch.tail, TAIL_MAX);
    Ok(())
}

/// Copies `from` to the offset `at`: `length` or up to 63 more, as long as there is frame.
#[inline(always)]
#[allow(clippy::int_plus_one, reason = "one condition for blocks of every size")]
fn copy<F: Frame, const N: usize>(frame: &mut F, at: usize, from: &[u8; N], length: usize) {
    let mut to = tied(frame.data() + bounded(at));
    let end = frame.data_end();
    let mut done = 0;
    macro_rules! blocks {
        ($size:literal, at most $most:literal) => {
            let mut blocks = 0;
            while blocks < $most && done < length && done + $size <= N && to + $size <= end {
                let Some(block) = from.get(done..done + $size).and_then(|rest| rest.first_chunk::<$size>()) else {
                    return;
                };
                // SAFETY: so many bytes at `to` end before `data_end`, checked above; `frame` is borrowed mutably; no alignment.
                unsafe { (to as *mut [u8; $size]).write(*block) };
                to += $size;
                done += $size;
                blocks += 1;
            }
        };
    }
    blocks!(64, at most 8);
    // The frame ends within 64 bytes.
    blocks!(8, at most 8);
    blocks!(4, at most 1);
    blocks!(2, at most 1);
    blocks!(1, at most 1);
}

/// Writes `bytes` to the offset `at`.
#[inline(always)]
fn place<const N: usize, F: Frame>(frame: &mut F, at: usize, bytes: &[u8]) -> Result<(), Leave> {
    *window::<N, _>(frame, at).ok_or(Leave::NoRoom)? = *bytes.first_chunk().ok_or(Leave::NoRoom)?;
    Ok(())
}

/// `N` bytes at `at`, to be written; `None` past the end.
#[inline(always)]
fn window<const N: usize, F: Frame>(frame: &mut F, at: usize) -> Option<&mut [u8; N]> {
    let start = tied(frame.data() + bounded(at));
    if start + N > frame.data_end() {
        return None;
    }
    // SAFETY: within the packet, checked above; `frame` is borrowed mutably for as long, and bytes have no alignment.
    Some(unsafe { &mut *(start as *mut [u8; N]) })
}

#[inline(always)]
fn read<const N: usize, F: Frame>(frame: &F, at: usize) -> Option<[u8; N]> {
    let start = tied(frame.data() + bounded(at));
    if start + N > frame.data_end() {
        return None;
    }
    // SAFETY: within the packet, checked above; bytes have no alignment.
    Some(unsafe { *(start as *const [u8; N]) })
}

/// Copies up to 32 bytes by the word, and some of those that follow: what most clients' identities are made of. False: they are more,
/// or too close to the end of the frame.
#[inline(always)]
fn copy_few<F: Frame>(frame: &F, at: usize, length: u8, scratch: &mut Scratch, to: usize) -> bool {
    let mut done = 0;
    while done < 32 {
        if done >= length as usize {
            return true;
        }
        let (Some(word), Some(room)) =
            (read::<8, _>(frame, at + done), scratch.tail.get_mut(to + done..to + done + 8))
        else {
            return false;
        };
        room.copy_from_slice(&word);
        done += 8;
    }
    done >= length as usize
}

/// Makes the compiler read again what was written to memory.
#[inline(always)]
fn forget() {
    // SAFETY: sets a register of its own. It is the compiler that takes it for a write to any memory.
    unsafe { asm!("{0} = 0", out(reg) _) };
}

/// Keeps an offset in the range that may be added to a packet pointer.
#[inline(always)]
fn bounded(at: usize) -> usize {
    // VERIFIER (6.18, 2026-11): "math between pkt pointer and register with unbounded min value is not allowed". A mask, unlike
    // an `if`, can't be moved to another copy of the register. Offsets beyond it would end outside any frame.
    at & (FRAME_MAX - 1)
}

/// Ties a packet pointer, or a length, to one register.
#[inline(always)]
pub fn tied(mut pointer: usize) -> usize {
    // VERIFIER (6.18, 2026-11): LLVM computes `data + at` a second time behind the bounds check, in another register that the
    // check does not cover: "invalid access to packet, R7 offset is outside of the packet". An instruction that changes
    // nothing makes the sum opaque; an empty one breaks line info.
    // SAFETY: adds zero.
    unsafe { asm!("{0} += 0", inout(reg) pointer) };
    pointer
}

/// The kernel's loop, calling [`Walker::step`].
#[inline(always)]
fn walk_apart<P: Packet, W: Walker<P>>(packet: &P, walker: &mut W, max: u32) -> bool {
    struct Context<'a, P, W> {
        packet: &'a P,
        walker: &'a mut W,
        done: u64,
    }

    extern "C" fn step<P: Packet, W: Walker<P>>(_index: u32, context: *mut c_void) -> i64 {
        // SAFETY: `bpf_loop` hands back the pointer to the caller's `context`, which outlives the loop and is used by nobody else
        // meanwhile.
        let context = unsafe { &mut *context.cast::<Context<'_, P, W>>() };
        match context.walker.step(context.packet) {
            Step::Next => 0,
            Step::Done => {
                context.done = 1;
                1
            }
        }
    }

    let mut context = Context { packet, walker, done: 0 };
    // SAFETY: `step` has the signature that bpf_loop calls, and `context` is what it expects.
    unsafe { bpf_loop(max, step::<P, W> as *mut c_void, (&raw mut context).cast(), 0) };
    context.done != 0
}

/// A frame at the XDP hook.
pub struct Xdp {
    pub ctx: XdpContext,
}

impl Xdp {
    #[inline(always)]
    pub fn new(ctx: XdpContext) -> Self {
        Self { ctx }
    }

    #[inline(always)]
    fn raw(&self) -> *mut xdp_md {
        self.ctx.as_ptr().cast()
    }
}

impl Packet for Xdp {
    #[inline(always)]
    fn length(&self) -> usize {
        self.data_end() - self.data()
    }

    /// XDP can't see a tag that the device took out: such devices must keep tags in the frame (docs/operations.md).
    #[inline(always)]
    fn offloaded_vlan(&self) -> u16 {
        0
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ctx.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        read(self, at)
    }

    #[inline(always)]
    fn walk_apart<W: Walker<Self>>(&self, walker: &mut W, max: u32) -> bool {
        walk_apart(self, walker, max)
    }

    #[inline(always)]
    fn forget(&self) {
        forget();
    }

    #[inline(always)]
    fn copy_to_tail(&self, at: usize, length: u8, scratch: &mut Scratch, to: usize) -> bool {
        if length == 0 || to > TAIL_MAX {
            return false;
        }
        if copy_few(self, at, length, scratch, to) {
            return true;
        }
        let room = scratch.tail.as_mut_ptr().wrapping_add(to);
        // SAFETY: `to` is at most TAIL_MAX, `length` at most 255, and the tail 1024 bytes long.
        unsafe { bpf_xdp_load_bytes(self.raw(), at as u32, room.cast(), u32::from(length)) == 0 }
    }
}

impl Frame for Xdp {
    #[inline(always)]
    fn data(&self) -> usize {
        self.ctx.data()
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        self.ctx.data_end()
    }

    #[inline(always)]
    fn linearize(&mut self) -> Result<(), Leave> {
        Ok(())
    }

    #[inline(always)]
    fn resize(&mut self, _: usize, length: usize) -> Result<(), Leave> {
        let by = length as i32 - self.length() as i32;
        // SAFETY: all windows are taken anew after this.
        if by == 0 || unsafe { bpf_xdp_adjust_tail(self.raw(), by) } == 0 {
            Ok(())
        } else {
            Err(Leave::NoRoom)
        }
    }
}

/// A frame at the tc hook.
pub struct Skb {
    pub ctx: TcContext,
    /// A device is to go on from the checksum that the sender began: known since the frame was made as long as its reply.
    is_begun: bool,
}

impl Skb {
    #[inline(always)]
    pub fn new(ctx: TcContext) -> Self {
        Self { ctx, is_begun: false }
    }

    #[inline(always)]
    fn change_tail(&mut self, length: usize) -> bool {
        // SAFETY: all windows are taken anew after this.
        unsafe { bpf_skb_change_tail(self.raw(), length as u32, 0) == 0 }
    }

    #[inline(always)]
    fn raw(&self) -> *mut __sk_buff {
        self.ctx.as_ptr().cast()
    }

    #[inline(always)]
    fn context(&self) -> &__sk_buff {
        // SAFETY: the hook's own context, valid while the program runs.
        unsafe { &*self.raw() }
    }

    /// Writes a tag that the device took out, TPID and TCI, to the mark: behind this hook the kernel clears it, and a socket sees
    /// the frame as if it had come without (netboot-userspace/src/sys/packet.rs reads it).
    #[inline(always)]
    pub fn keep_tag(&self) {
        let context = self.context();
        if context.vlan_present != 0 {
            let tpid = u16::from_be(context.vlan_proto as u16);
            self.ctx.set_mark(u32::from(tpid) << 16 | context.vlan_tci & 0xffff);
        }
    }

    /// Out through the device that it came in by.
    #[inline(always)]
    pub fn send_back(&self) -> i32 {
        // SAFETY: takes two numbers.
        match unsafe { bpf_redirect(self.ifindex(), 0) } {
            verdict if verdict >= 0 => verdict as i32,
            _ => TC_ACT_SHOT,
        }
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn length(&self) -> usize {
        self.ctx.len() as usize
    }

    #[inline(always)]
    fn offloaded_vlan(&self) -> u16 {
        let context = self.context();
        if context.vlan_present == 0 { 0 } else { vlan::vid(context.vlan_tci as u16) }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.context().ifindex
    }

    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        read(self, at)
    }

    #[inline(always)]
    fn walk_apart<W: Walker<Self>>(&self, walker: &mut W, max: u32) -> bool {
        walk_apart(self, walker, max)
    }

    #[inline(always)]
    fn forget(&self) {
        forget();
    }

    #[inline(always)]
    fn copy_to_tail(&self, at: usize, length: u8, scratch: &mut Scratch, to: usize) -> bool {
        if length == 0 || to > TAIL_MAX {
            return false;
        }
        if copy_few(self, at, length, scratch, to) {
            return true;
        }
        let room = scratch.tail.as_mut_ptr().wrapping_add(to);
        // SAFETY: `to` is at most TAIL_MAX, `length` at most 255, and the tail 1024 bytes long.
        unsafe { bpf_skb_load_bytes(self.raw().cast(), at as u32, room.cast(), u32::from(length)) == 0 }
    }
}

impl Frame for Skb {
    #[inline(always)]
    fn data(&self) -> usize {
        self.ctx.data()
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        self.ctx.data_end()
    }

    #[inline(always)]
    fn linearize(&mut self) -> Result<(), Leave> {
        // SAFETY: all windows are taken anew after this.
        match unsafe { bpf_skb_pull_data(self.raw(), self.ctx.len()) } {
            0 => Ok(()),
            _ => Err(Leave::Truncated),
        }
    }

    #[inline(always)]
    fn resize(&mut self, l3: usize, length: usize) -> Result<(), Leave> {
        // Also when the length stays: it makes all of the frame ours to write.
        if !self.change_tail(length) {
            return Err(Leave::NoRoom);
        }
        // The kernel cuts nothing off that a device is to fill in; nothing else tells a tc program. What was long enough a moment ago
        // has its memory still.
        self.is_begun = !self.change_tail(l3 + CHECKSUM_AT + 1);
        self.change_tail(length);
        Ok(())
    }

    /// With a checksum that a device goes on from (CHECKSUM_PARTIAL), where one is to do so with the request: the reply is the same
    /// skb, and the kernel, or a device, fills it in as it leaves.
    #[inline(always)]
    fn commit(&mut self, l3: usize, reply: &Reply<'_>, scratch: &Scratch) -> Result<(), Leave> {
        write(self, l3, reply, scratch)?;
        if self.is_begun {
            place::<2, _>(self, l3 + CHECKSUM_AT, &reply::begun(&scratch.head))?;
        }
        Ok(())
    }
}

const _: () = assert!(size_of::<Scratch>() >= HEAD + TAIL_MAX + 255 + 12);
