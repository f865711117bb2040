//! The TFTP program's maps: who writes them and who reads them is listed in `netboot-common/src/tftp/maps.rs`.
#![allow(unsafe_code, reason = "map look-ups hand out references into kernel memory")]

use core::arch::asm;

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use netboot_common::maps::InterfaceValue;
use netboot_common::tftp::answer::{Tables, Work};
use netboot_common::tftp::event::Transfer;
use netboot_common::tftp::maps::{
    CHUNKS, Chunk, File, FileKey, FileRef, NAMES_MAX, SESSIONS_MAX, SLOTS, Serving, SessionKey,
};
use netboot_common::tftp::session::Session;
use netboot_common::tftp::stats::{Leave, Outcome, Sum};

use crate::maps::{self, EVENTS, Maps};

#[map]
static TFTP: Array<Serving> = Array::pinned(1, 0);

#[map]
static FILES: HashMap<FileKey, FileRef> = HashMap::pinned(NAMES_MAX, BPF_F_NO_PREALLOC);

#[map]
static FILE_TABLE: Array<File> = Array::pinned(SLOTS, 0);

#[map]
static FILE_DATA: Array<Chunk> = Array::pinned(CHUNKS, 0);

/// The kernel forgets those that were heard longest ago.
#[map]
static TFTP_SESSIONS: LruHashMap<SessionKey, Session> = LruHashMap::pinned(SESSIONS_MAX, 0);

#[map]
static TFTP_COUNTERS: PerCpuArray<u64> = PerCpuArray::pinned(Outcome::COUNT, 0);

#[map]
static TFTP_WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

impl Tables for Maps {
    #[inline(always)]
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue> {
        netboot_common::reply::Tables::interface(self, vlan)
    }

    #[inline(always)]
    fn file_of(&self, key: &FileKey) -> Option<&FileRef> {
        // SAFETY: as for `INTERFACES` (crate::maps). An entry that becomes another one's within one packet's time names another version
        // of a file, whole: its slot has been filled before.
        unsafe { FILES.get(key) }
    }

    #[inline(always)]
    fn file(&self, slot: u16) -> Option<&File> {
        FILE_TABLE.get(u32::from(slot))
    }

    #[inline(always)]
    fn session(&self, key: &SessionKey) -> Option<&Session> {
        // SAFETY: as above; written by this program alone. Two CPUs that hear one client at once may both send a window.
        unsafe { TFTP_SESSIONS.get(key) }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        maps::exact_now()
    }

    /// The generator alone could be worked out by who sees many of its numbers.
    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: takes nothing, touches nothing.
        let number = unsafe { bpf_get_prandom_u32() };
        (number ^ maps::exact_now() as u32).wrapping_mul(0x9e37_79b1) >> 16
    }
}

#[inline(always)]
pub fn serving() -> Option<&'static Serving> {
    TFTP.get(0)
}

#[inline(always)]
pub fn chunk(number: u16) -> Option<&'static Chunk> {
    FILE_DATA.get(u32::from(number))
}

/// This CPU's working memory.
#[inline(always)]
pub fn work() -> Option<&'static mut Work> {
    let work = TFTP_WORK.get_ptr_mut(0)?;
    // SAFETY: per CPU, and the hook is not re-entered on a CPU while it runs, for what it sends leaves by devices that have it at
    // their entrance alone: nobody else holds this reference. The map's zeros are a value of every field.
    Some(unsafe { &mut *work })
}

/// Remembers the transfer of a request; a full map forgets another one, which its client asks for anew.
#[inline(always)]
pub fn begin(work: &Work) -> Result<(), Leave> {
    TFTP_SESSIONS.insert(&work.key, &work.session, 0).map_err(|_| Leave::NoRoom)
}

/// Forgets it: it has not begun. One that is gone already is.
#[inline(always)]
pub fn forget(work: &Work) {
    let _ = TFTP_SESSIONS.remove(&work.key);
}

/// Remembers what became of a transfer; false: another CPU has gone on with it, or ended it, meanwhile, its client has asked anew there, or
/// it is forgotten.
#[inline(always)]
pub fn go_on(work: &Work) -> bool {
    let Some(there) = TFTP_SESSIONS.get_ptr_mut(&work.key) else { return false };
    // SAFETY: an element of the map, mapped until the program ends (RCU).
    if !unsafe { &*there }.may_become(&work.session) {
        return false;
    }
    // SAFETY: in the element. Values of the map are aligned by eight, and so is the word in them (asserted where it is).
    let progress = unsafe { there.cast::<u8>().byte_add(Session::PROGRESS).cast() };
    let [was, is] = [work.answer.was, work.session.progress()].map(u64::from_ne_bytes);
    // SAFETY: as above.
    if unsafe { exchange(progress, was, is) } != was {
        return false;
    }
    // What is behind it: of times, tries and blocks that were sent again. The next step may be another CPU's already, which writes what it
    // found here: the last one to write is believed.
    let from = (&raw const work.session).cast::<u8>();
    // SAFETY: both have so many bytes, and one is the element, the other working memory.
    unsafe {
        let to = there.cast::<u8>().byte_add(Session::BEHIND);
        from.byte_add(Session::BEHIND).copy_to_nonoverlapping(to, size_of::<Session>() - Session::BEHIND);
    }
    true
}

/// Writes `new` in place of `old`; what was there. Linux 5.12. The compiler has no atomics of this kind for BPF.
///
/// # Safety
/// `word` is one of the map's, aligned by eight.
#[inline(always)]
unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    let mut found = old;
    // SAFETY: touches `word` alone, which is there.
    unsafe { asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) word, in(reg) new, inout("r0") found) };
    found
}

/// `by` more of the counter with this index.
#[inline(always)]
pub fn count(index: u32, by: u64) {
    if let Some(counter) = TFTP_COUNTERS.get_ptr_mut(index) {
        // SAFETY: per CPU, as in `work`.
        unsafe { *counter += by };
    }
}

/// Tells userspace; a full ring loses the record.
#[inline(always)]
pub fn tell(transfer: Transfer) {
    if EVENTS.output::<Transfer>(transfer, 0).is_err() {
        count(Sum::Untold.index(), 1);
    }
}
