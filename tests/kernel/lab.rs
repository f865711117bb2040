//! The bench: programs loaded beside each other's, tables filled, frames run through.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use aya::programs::{TestRun, TestRunOptions};
use netboot_common::limit::Limits;
use netboot_common::maps::{HostKey, HostValue, InterfaceKey, InterfaceValue, Template, TemplateKey};
use netboot_common::packet::{Packet, Slice};
use netboot_common::reply::{self, Scratch, Tables};
use netboot_common::request::{Headers, OPTIONS_FAST, Request};
use netboot_common::stats::{Lane, Leave, Note, Outcome};
use netboot_userspace::fastpath::{Change, Counters, Kernel, KernelTables};

use crate::site::site;

use crate::bpffs::{self, BPFFS};

/// `BPF_PROG_TEST_RUN` gives frames that came in by the loopback device.
pub(crate) const IFINDEX: u32 = 1;

/// Seconds of the boot-time clock at which the pure builder and userspace answer; the kernel's own is between those that
/// [`crate::site`] tells apart.
pub(crate) const NOW: u64 = 1_000_000;

/// Instructions that the verifier may walk of each program. When this was written it walked 155,295 and 185,800 on 6.18. The kernel
/// allows a million.
const VERIFIED_MOST: u32 = 210_000;

/// The same, of the program for TFTP: 73,158.
const TFTP_VERIFIED_MOST: u32 = 77_000;

/// The same tables for both sides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site {
    pub(crate) interfaces: HashMap<InterfaceKey, InterfaceValue>,
    pub(crate) hosts: HashMap<HostKey, HostValue>,
    pub(crate) templates: HashMap<TemplateKey, Template>,
}

impl Tables for Site {
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue> {
        self.interfaces.get(&InterfaceKey::new(IFINDEX, vlan))
    }

    fn host(&self, key: &HostKey) -> Option<&HostValue> {
        self.hosts.get(key)
    }

    fn template(&self, key: &TemplateKey) -> Option<&Template> {
        self.templates.get(key)
    }

    fn now(&self) -> u64 {
        NOW
    }
}

/// What a lane made of a frame: the frame that it sends, or why it left.
pub(crate) type Made = Result<Vec<u8>, Leave>;

/// The pure builder's answer.
pub(crate) fn pure(frame: &[u8]) -> Made {
    let site = site();
    let packet = Slice { bytes: frame, offloaded_vlan: 0, ifindex: IFINDEX };
    let headers = Headers::read(&packet)?;
    site.interface(headers.vlan).ok_or(Leave::NoInterface)?;
    let request = Request::read(&packet, OPTIONS_FAST)?;
    let mut scratch = Scratch::new();
    let reply = reply::answer(&packet, &request, site, &mut scratch)?;
    let mut out = vec![0xa5; 2048];
    let l3 = usize::from(headers.l3);
    let length = reply.write(frame, l3, &scratch, &mut out).expect("2048 bytes are enough for every reply");
    assert_eq!(length, l3 + reply.length());
    assert!(packet.length() == frame.len());
    out.truncate(length);
    Ok(out)
}

/// The loaded programs.
pub(crate) struct Bench {
    kernel: Kernel,
    tables: Mutex<KernelTables>,
    counters: Counters,
}

impl Bench {
    /// The one bench of this process, filled with [`site`]: tests take turns, for what a frame is counted as shows only when no
    /// other one runs.
    pub(crate) fn get() -> MutexGuard<'static, Self> {
        static BENCH: OnceLock<Mutex<Bench>> = OnceLock::new();
        let bench = BENCH.get_or_init(|| Mutex::new(Self::new()));
        bench.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One of the caller's own: programs and maps that nobody else runs.
    pub(crate) fn new() -> Self {
        let mut bench = Self::load();
        bench.fill(site());
        bench
    }

    fn load() -> Self {
        static LOADED: AtomicU32 = AtomicU32::new(0);
        bpffs::mount();
        let number = LOADED.fetch_add(1, Ordering::Relaxed);
        let pins = Path::new(BPFFS).join(format!("netboot-kernel-test-{}-{number}", std::process::id()));
        let mut kernel = Kernel::load(&pins).unwrap_or_else(|error| {
            let _ = std::fs::remove_dir_all(&pins);
            panic!("{error}: {error:?}")
        });
        let tables = kernel.take_tables().expect("the object has its tables");
        let counters = kernel.take_counters().expect("the object has its counters");
        // Nothing adopts these maps: the pins need not outlive the start.
        std::fs::remove_dir_all(&pins).expect("the pins are ours");
        Self { kernel, tables: Mutex::new(tables), counters }
    }

    fn fill(&mut self, site: &Site) {
        let interfaces: Vec<_> = site.interfaces.iter().map(|(k, v)| (*k, *v)).collect();
        let hosts: Vec<_> = site.hosts.iter().map(|(k, v)| (*k, *v)).collect();
        let templates: Vec<_> = site.templates.iter().map(|(k, v)| (*k, *v)).collect();
        let tables = self.tables.get_mut().expect("nobody panicked with it");
        tables.replace(&interfaces, &hosts, &templates).expect("the tables have room");
    }

    /// Runs `frame` through the program of `lane`, and checks that what it did is what it counted: one outcome (CONFORMANCE,
    /// section 3, rule 2).
    pub(crate) fn run(&self, lane: Lane, frame: &[u8]) -> Made {
        self.run_noted(lane, frame).0
    }

    /// As [`Bench::run`], with what the answer was noted to lack.
    pub(crate) fn run_noted(&self, lane: Lane, frame: &[u8]) -> (Made, Vec<Note>) {
        let before = self.counts(lane);
        let (verdict, out) = self.run_uncounted(lane, frame);
        let after = self.counts(lane);
        let changed: Vec<u32> =
            (0..Outcome::COUNT).filter(|&i| after[i as usize] != before[i as usize]).collect();
        let outcomes: Vec<Outcome> = changed.iter().filter_map(|&i| Outcome::from_index(i)).collect();
        // Nobody reads this ring of events.
        let notes = Note::ALL.into_iter().filter(|note| *note != Note::Untold);
        let notes = notes.filter(|note| changed.contains(&note.index())).collect();
        let [outcome] = outcomes[..] else { panic!("one counter must change, not {outcomes:?}") };
        (judge(lane, frame, outcome, verdict, out), notes)
    }

    /// As [`Bench::run`], without the look at the counters.
    pub(crate) fn run_uncounted(&self, lane: Lane, frame: &[u8]) -> (u32, Vec<u8>) {
        let made = self.run_for_good(lane, frame);
        // A DECLINE or a RELEASE.
        if frame.windows(3).any(|bytes| matches!(bytes, [53, 1, 4 | 7])) {
            self.restore(frame);
        }
        made
    }

    /// A lease that `frame` ended in the kernel's table is there again: frames are judged one by one.
    pub(crate) fn restore(&self, frame: &[u8]) {
        let packet = Slice { bytes: frame, offloaded_vlan: 0, ifindex: IFINDEX };
        let Ok(request) = Request::read(&packet, OPTIONS_FAST) else { return };
        let key = HostKey::new(request.chaddr, request.headers.vid());
        if let Some(host) = site().hosts.get(&key) {
            let mut tables = self.tables.lock().expect("nobody panicked with it");
            tables.change(Change::Put(key, *host)).expect("it is there");
        }
    }

    /// Sets the site's budgets.
    pub(crate) fn limit(&self, limits: Limits) {
        self.tables.lock().expect("nobody panicked with it").limit(limits).expect("it is there");
    }

    /// As [`Bench::run_uncounted`], and what it ended stays so.
    pub(crate) fn run_for_good(&self, lane: Lane, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; 2048];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let (xdp, tcx) = self.kernel.programs().expect("both programs are there");
        let result = match lane {
            Lane::Xdp => xdp.test_run(options),
            _ => tcx.test_run(options),
        };
        let result = result.unwrap_or_else(|error| panic!("test_run of {} bytes: {error:?}", frame.len()));
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }

    /// Each program, the instructions that the verifier walked, and how many there may be.
    pub(crate) fn verified(&self) -> [(&'static str, u32, u32); 3] {
        let (xdp, tcx) = self.kernel.programs().expect("both programs are there");
        let tftp = self.kernel.tftp_program().expect("the program is there");
        let walked = |info: Result<aya::programs::ProgramInfo, _>| {
            info.ok().and_then(|info| info.verified_instruction_count()).expect("kernel 5.16")
        };
        [
            ("netboot_xdp", walked(xdp.info()), VERIFIED_MOST),
            ("netboot_tcx", walked(tcx.info()), VERIFIED_MOST),
            ("netboot_tftp", walked(tftp.info()), TFTP_VERIFIED_MOST),
        ]
    }

    fn counts(&self, lane: Lane) -> Vec<u64> {
        (0..Outcome::COUNT).map(|i| self.counters.read(lane, i).expect("counters can be read")).collect()
    }
}

/// That a lane did what it counted.
fn judge(lane: Lane, frame: &[u8], outcome: Outcome, verdict: u32, out: Vec<u8>) -> Made {
    match outcome {
        Outcome::Answered(_) => {
            assert_eq!(verdict, sent(lane), "{outcome:?}");
            Ok(out)
        }
        Outcome::Left(leave) => {
            assert_eq!(verdict, passed(lane), "{leave:?}");
            assert_eq!(out, frame, "{leave:?}: a frame that is passed on must be untouched");
            Err(leave)
        }
    }
}

/// The verdict that sends a frame: XDP_TX, TC_ACT_REDIRECT.
pub(crate) fn sent(lane: Lane) -> u32 {
    if lane == Lane::Xdp { 3 } else { 7 }
}

/// The verdict that hands it on: XDP_PASS, TC_ACT_UNSPEC.
pub(crate) fn passed(lane: Lane) -> u32 {
    if lane == Lane::Xdp { 2 } else { u32::MAX }
}
