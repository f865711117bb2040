//! The bench for TFTP: the loaded program, and the same tables for its pure self.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};
use netboot_common::limit::Budget;
use netboot_common::maps::{InterfaceKey, InterfaceValue};
use netboot_common::packet::Slice;
use netboot_common::tftp::answer::{self, Tables, Work, place};
use netboot_common::tftp::event::Transfer;
use netboot_common::tftp::maps::{CHUNK, File, FileKey, FileRef, Serving, SessionKey};
use netboot_common::tftp::reply::HEAD;
use netboot_common::tftp::session::{Send, Session};
use netboot_common::tftp::stats::{Done, Leave, Outcome};
use netboot_common::wire::checksum;
use netboot_userspace::fastpath::files::{FileCounters, Files, Offered};
use netboot_userspace::fastpath::{Events, Kernel, Record};

use super::wire::Wire;
use crate::bpffs::{self, BPFFS};
use crate::lab::IFINDEX;
use crate::site::site;

/// The first of our ports.
pub(crate) const TIDS: u16 = 0xf000;
/// The port for requests.
pub(crate) const LISTEN: u16 = 69;

/// The most that is granted.
pub(crate) const SERVING: Serving = Serving::new(LISTEN, TIDS, 1468, 16, Budget::new(0, 0));

/// The files of the site: none, one byte, around a block, around a chunk, several chunks.
pub(crate) fn files() -> Vec<(String, Arc<[u8]>)> {
    let sizes =
        [0, 1, 511, 512, 513, 1431, 1432, 1433, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 700, 3 * CHUNK + 77];
    let named = |size: usize| (format!("file-{size}"), content(size));
    sizes.into_iter().map(named).collect()
}

fn content(size: usize) -> Arc<[u8]> {
    let mut state = size as u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(byte).collect()
}

/// What became of a frame: what was done and the frames that are sent for it, or why it was left.
pub(crate) type Made = Result<(Done, Vec<Vec<u8>>), Leave>;

/// The pure program, with maps of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pure {
    names: HashMap<FileKey, FileRef>,
    pub(crate) table: HashMap<u16, File>,
    contents: HashMap<u16, Arc<[u8]>>,
    pub(crate) sessions: HashMap<SessionKey, Session>,
    now: u64,
    port: u16,
}

impl Tables for Pure {
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue> {
        site().interfaces.get(&InterfaceKey::new(IFINDEX, vlan))
    }

    fn file_of(&self, key: &FileKey) -> Option<&FileRef> {
        self.names.get(key)
    }

    fn file(&self, slot: u16) -> Option<&File> {
        self.table.get(&slot)
    }

    fn session(&self, key: &SessionKey) -> Option<&Session> {
        self.sessions.get(key)
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn random(&self) -> u32 {
        self.port.into()
    }
}

impl Pure {
    pub(crate) fn new() -> Self {
        let mut pure = Self::default();
        for (slot, (name, content)) in files().into_iter().enumerate() {
            // As the maps are filled: one version after the other.
            let (slot, generation) = (slot as u16, slot as u32 + 1);
            let chunks = vec![0; File::chunks_of(content.len())];
            for name in [name.clone(), format!("/{name}")] {
                pure.names.insert(FileKey::new(&name).expect("short names"), FileRef::new(slot, generation));
            }
            pure.table.insert(slot, File::new(generation, content.len(), &chunks).expect("as many chunks"));
            pure.contents.insert(slot, content);
        }
        pure
    }

    /// What it makes of `frame` at a time, in nanoseconds. `port`: of ours, for a new client.
    pub(crate) fn run(&mut self, frame: &[u8], now: u64, port: u16) -> Made {
        let packet = Slice { bytes: frame, offloaded_vlan: 0, ifindex: IFINDEX };
        (self.now, self.port) = (now, port);
        let mut work = Work::NEW;
        work.datagram = answer::read(&packet, self, &SERVING)?;
        answer::answer(&packet, self, &SERVING, &mut work)?;
        let (done, send) = (work.answer.step.done, work.answer.step.send);
        if done != Done::Ignored {
            self.sessions.insert(work.key, work.session);
        }
        let l3 = usize::from(work.datagram.l3);
        let macs = [work.datagram.source_mac, work.datagram.destination_mac].concat();
        let packet = |head: [u8; HEAD], rest: &[u8]| [&macs, &frame[12..l3], &head, rest].concat();
        let frames = match send {
            Send::Nothing => Vec::new(),
            Send::Oack => {
                let bytes = &work.oack.bytes[..work.oack.length().into()];
                let (first, rest) = bytes.split_first_chunk().expect("an OACK has a head");
                vec![packet(work.ends.head(*first, rest.len() as u16, checksum::add(0, rest)), rest)]
            }
            Send::Window => {
                let content = &self.contents[&work.session.file.slot()];
                let block = |block: u16| {
                    let (at, length) = place(block, work.session.block_size(), content.len() as u32);
                    let data = &content[(at as usize).min(content.len())..][..length.into()];
                    packet(work.ends.data(block, length, checksum::add(0, data)), data)
                };
                (work.session.acked() + 1..=work.session.sent()).map(block).collect()
            }
        };
        Ok((done, frames))
    }
}

/// The loaded program.
pub(crate) struct Bench {
    kernel: Kernel,
    files: Files,
    counters: FileCounters,
    events: Events,
    wire: Wire,
}

impl Bench {
    /// For the calling thread, which gets a network of its own.
    pub(crate) fn new() -> Self {
        static LOADED: AtomicU32 = AtomicU32::new(0);
        bpffs::mount();
        let number = LOADED.fetch_add(1, Ordering::Relaxed);
        let pins = Path::new(BPFFS).join(format!("netboot-tftp-test-{}-{number}", std::process::id()));
        let loaded = Kernel::load(&pins);
        // Nothing adopts these maps: the pins need not outlive the start.
        std::fs::remove_dir_all(&pins).expect("the pins are ours");
        let mut kernel = loaded.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        let interfaces: Vec<_> = site().interfaces.iter().map(|(k, v)| (*k, *v)).collect();
        let mut tables = kernel.take_tables().expect("the object has its tables");
        tables.replace_interfaces(&interfaces).expect("the table has room");
        let files = kernel.take_files().expect("the object has its files");
        let counters = kernel.file_counters().expect("the object has its counters");
        let events = kernel.take_events().expect("the object has its ring");
        let mut bench = Self { kernel, files, counters, events, wire: Wire::new() };
        let offered: Vec<Offered> = files_offered();
        let placed = bench.files.replace(&offered, Duration::ZERO).expect("the maps can be written");
        assert_eq!((placed.files, placed.left), (offered.len(), vec![]));
        bench.files.serve(SERVING).expect("the map can be written");
        bench
    }

    pub(crate) fn files(&mut self) -> &mut Files {
        &mut self.files
    }

    /// Runs `frame` through the program, and checks that what it did is what it counted.
    pub(crate) fn run(&self, frame: &[u8]) -> Made {
        let before = self.counts();
        let mut out = vec![0; 2048];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let result = self.kernel.tftp_program().expect("it is there").test_run(options);
        let result = result.unwrap_or_else(|error| panic!("test_run of {} bytes: {error:?}", frame.len()));
        out.truncate(result.data_size_out as usize);
        let after = self.counts();
        let changed: Vec<usize> = (0..after.len()).filter(|&i| after[i] != before[i]).collect();
        match (changed[..].first(), changed.len()) {
            (Some(index), 1) => self.judge(*index as u32, result.return_value, frame, out),
            _ => panic!("one counter must change, not {changed:?}"),
        }
    }

    fn judge(&self, index: u32, verdict: u32, frame: &[u8], out: Vec<u8>) -> Made {
        const REDIRECT: u32 = 7;
        const SHOT: u32 = 2;
        let done = Done::ALL.into_iter().find(|done| Outcome::Done(*done).index() == index);
        let left = Leave::ALL.into_iter().find(|leave| Outcome::Left(*leave).index() == index);
        let mut sent = self.wire.sent();
        if verdict == REDIRECT {
            // The run stops before it would be sent.
            sent.push(out);
            return Ok((done.expect("nothing that is left is sent"), sent));
        }
        assert_eq!(sent, Vec::<Vec<u8>>::new(), "sent, and then another verdict");
        match (done, left) {
            (Some(done), _) => {
                assert_eq!((verdict, &out[..]), (SHOT, frame), "{done:?}: nothing is sent");
                Ok((done, Vec::new()))
            }
            (_, Some(leave)) => {
                assert_eq!(verdict, u32::MAX, "{leave:?}");
                assert_eq!(out, frame, "{leave:?}: a frame that is passed on must be untouched");
                Err(leave)
            }
            _ => panic!("no counter of an outcome: {index}"),
        }
    }

    /// What the program told since the last time.
    pub(crate) fn transfers(&mut self) -> Vec<Transfer> {
        let transfer = |record| match record {
            Record::Transfer(transfer) => transfer,
            Record::Answer(answer) => panic!("of DHCP: {answer:?}"),
        };
        self.events.by_ref().map(transfer).collect()
    }

    pub(crate) fn count(&self, index: u32) -> u64 {
        self.counters.read(index).expect("counters can be read")
    }

    fn counts(&self) -> Vec<u64> {
        (0..48).map(|index| self.count(index)).collect()
    }
}

/// As the daemon offers them.
pub(crate) fn files_offered() -> Vec<Offered> {
    let names = |name: &str| vec![name.to_owned(), format!("/{name}")];
    files().into_iter().map(|(name, content)| Offered { names: names(&name), content }).collect()
}
