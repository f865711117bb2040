//! Every map: who writes it and who reads it is listed in `netboot-common/src/maps.rs`.
#![allow(unsafe_code, reason = "map look-ups hand out references into kernel memory")]

use core::ptr::NonNull;

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use netboot_common::event::{Answered, Event};
use netboot_common::limit::{Limits, RateKey};
use netboot_common::maps::{
    EVENTS_BYTES, HOSTS_MAX, HostEntry, HostKey, HostValue, INTERFACES_MAX, InterfaceKey, InterfaceValue,
    RATES_MAX, TEMPLATES_MAX, Template, TemplateKey,
};
use netboot_common::reply::{Scratch, Tables};
use netboot_common::request::Request;
use netboot_common::stats::{Lane, Leave, Note, Outcome};

#[map]
static INTERFACES: HashMap<InterfaceKey, InterfaceValue> = HashMap::pinned(INTERFACES_MAX, 0);

/// Not preallocated: an entry costs memory when a host is there, not when the map is made.
#[map]
static HOSTS: HashMap<HostKey, HostEntry> = HashMap::pinned(HOSTS_MAX, BPF_F_NO_PREALLOC);

#[map]
static TEMPLATES: HashMap<TemplateKey, Template> = HashMap::pinned(TEMPLATES_MAX, BPF_F_NO_PREALLOC);

#[map]
static LIMITS: Array<Limits> = Array::pinned(1, 0);

/// The kernel forgets those that were heard longest ago; no host is in here.
#[map]
static RATE: LruHashMap<RateKey, u64> = LruHashMap::pinned(RATES_MAX, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::pinned(Outcome::COUNT * Lane::KERNEL.len() as u32, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::pinned(EVENTS_BYTES, 0);

/// What does not fit on the stack of 512 bytes.
#[repr(C)]
pub struct Work {
    pub request: Request,
    pub scratch: Scratch,
}

/// One per CPU and lane, so that neither program can disturb the other.
#[map]
static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(Lane::KERNEL.len() as u32, 0);

/// The tables of one device.
pub struct Maps {
    pub ifindex: u32,
}

impl Tables for Maps {
    #[inline(always)]
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue> {
        // SAFETY: userspace replaces values whole; a reader that holds an old one reads memory of the same map at worst until the
        // program ends, never a torn pointer. It may be another entry's by then: the kernel uses an element again at once (6.1 and
        // later), whether preallocated or not. Userspace leaves entries alone that do not change, so that this takes an entry
        // that goes, and one that comes, within one packet's time.
        unsafe { INTERFACES.get(&InterfaceKey::new(self.ifindex, vlan)) }
    }

    #[inline(always)]
    fn host(&self, key: &HostKey) -> Option<&HostValue> {
        // SAFETY: as above.
        unsafe { HOSTS.get(key) }.map(|entry| &entry.promise)
    }

    #[inline(always)]
    fn template(&self, key: &TemplateKey) -> Option<&Template> {
        // SAFETY: as above.
        unsafe { TEMPLATES.get(key) }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        exact_now() / 1_000_000_000
    }
}

/// A host's entry in the map.
pub struct Host(NonNull<HostEntry>);

/// The entry of a host.
#[inline(always)]
pub fn host(key: &HostKey) -> Option<Host> {
    NonNull::new(HOSTS.get_ptr_mut(key)?).map(Host)
}

// An element of the map is mapped until the program ends (RCU). Other CPUs and userspace may write to it meanwhile: of each byte a
// reader sees the old or the new one.
impl Host {
    #[inline(always)]
    pub fn promise(&self) -> &HostValue {
        // SAFETY: as above, and as for `Tables`.
        unsafe { &(*self.0.as_ptr()).promise }
    }

    /// The client gives its lease back, or found its address in use. Userspace hears of it in its turn; what the client asks
    /// meanwhile must not be answered as if it had not, but wait behind it.
    #[inline(always)]
    pub fn end_lease(&mut self) {
        // SAFETY: as above. Whoever reads the time meanwhile sees never more than a second beyond the old one.
        unsafe { (*self.0.as_ptr()).promise.end() };
    }

    /// When it is even with its budget.
    #[inline(always)]
    pub fn even(&self) -> u64 {
        // SAFETY: as above.
        u64::from_ne_bytes(unsafe { (*self.0.as_ptr()).even })
    }

    /// Two CPUs at once lose one of their two updates at worst.
    #[inline(always)]
    pub fn set_even(&mut self, nanoseconds: u64) {
        // SAFETY: as above.
        unsafe { (*self.0.as_ptr()).even = nanoseconds.to_ne_bytes() };
    }
}

/// This CPU's working memory of `lane`.
#[inline(always)]
pub fn work(lane: Lane) -> Option<&'static mut Work> {
    let work = WORK.get_ptr_mut(lane as u32)?;
    // SAFETY: per CPU, and neither hook is re-entered on a CPU while it runs: nobody else holds this reference. Its first bytes
    // are the map's zeros, which every field of `Work` takes as a value.
    Some(unsafe { &mut *work })
}

/// `index`: [`Outcome::index`] or that of a note.
#[inline(always)]
pub fn count(lane: Lane, index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(lane.counter(index)) {
        // SAFETY: per CPU and per lane, as in `work`.
        unsafe { *counter += 1 };
    }
}

/// The site's budgets.
#[inline(always)]
pub fn limits() -> Option<&'static Limits> {
    LIMITS.get(0)
}

/// What is remembered of a sender.
#[inline(always)]
pub fn rate(key: &RateKey) -> Option<&'static mut u64> {
    let even = RATE.get_ptr_mut(key)?;
    // SAFETY: an element of the map, written by no one but `admit`; two CPUs at once lose one of their two updates at worst.
    Some(unsafe { &mut *even })
}

/// Remembers a sender that is new. A full map loses the record, not the reply.
#[inline(always)]
pub fn remember(key: &RateKey, even: u64) {
    let _ = RATE.insert(key, &even, 0);
}

/// Nanoseconds of the boot-time clock.
#[inline(always)]
pub fn exact_now() -> u64 {
    // SAFETY: takes nothing, touches nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Nanoseconds since the start of the machine, without those that it slept, to the kernel's tick: enough for budgets, and cheaper than
/// the clock itself.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing, touches nothing.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Tells userspace of a message that is dropped.
#[inline(always)]
pub fn tell_dropped(lane: Lane, ifindex: u32, request: &Request) {
    // In place, for the stack has no room.
    let Some(mut record) = EVENTS.reserve::<Event>(0) else { return count(lane, Note::Untold.index()) };
    let (vlan, mac) = (request.headers.vid(), request.chaddr);
    record.write(Event::dropped(lane, ifindex, vlan, mac, Leave::RateLimited));
    record.submit(0);
}

/// Tells userspace; a full ring loses the record, not the reply.
#[inline(always)]
pub fn tell(lane: Lane, answered: Answered) {
    if EVENTS.output::<Event>(Event::new(lane, answered), 0).is_err() {
        count(lane, Note::Untold.index());
    }
}
