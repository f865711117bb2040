//! The maps of the bench's programs, and their licence: the only door to them here.
#![allow(unsafe_code, reason = "map look-ups hand out references into kernel memory")]

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, ProgramArray};
use aya_ebpf::programs::XdpContext;

use crate::layout::{BARE_HOSTS_MAX, BareHost, BareReply, Restore};

/// Not preallocated, as ours.
#[map]
static BARE_HOSTS: HashMap<[u16; 4], BareHost> = HashMap::with_max_entries(BARE_HOSTS_MAX, BPF_F_NO_PREALLOC);

/// The OFFER and the ACK.
#[map]
static BARE_REPLIES: Array<BareReply> = Array::with_max_entries(2, 0);

#[map]
static REQUEST: Array<Restore> = Array::with_max_entries(1, 0);

/// The state of the random numbers that choose clients.
#[map]
static RANDOM: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The program that is measured.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The host of the bare program with this MAC, filled up with zeros.
#[inline(always)]
pub(crate) fn host(key: &[u16; 4]) -> Option<&'static BareHost> {
    // SAFETY: userspace replaces values whole.
    unsafe { BARE_HOSTS.get(key) }
}

/// The OFFER (0) or the ACK (1) of the bare program.
#[inline(always)]
pub(crate) fn reply(kind: u32) -> Option<&'static BareReply> {
    BARE_REPLIES.get(kind)
}

/// What is put in place before each run.
#[inline(always)]
pub(crate) fn request() -> Option<&'static Restore> {
    REQUEST.get(0)
}

/// This CPU's random numbers; nothing else may hold them.
#[inline(always)]
pub(crate) fn random() -> Option<&'static mut u64> {
    let state = RANDOM.get_ptr_mut(0)?;
    // SAFETY: per CPU, this program is not re-entered on a CPU while it runs, and takes it once.
    Some(unsafe { &mut *state })
}

/// Goes on in the program that is measured; returns only if there is none.
#[inline(always)]
pub(crate) fn go_on_in_target(ctx: &XdpContext) {
    // SAFETY: nothing here has a destructor.
    unsafe { TARGET.tail_call(ctx, 0) };
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
