//! The kernel's lanes: load, pin, attach, fill and read the maps. The only user of aya.
//!
//! Maps and links are pinned, so that the programs go on answering while no `netboot serve` runs, and the next one adopts
//! them without a gap:
//!
//! ```text
//! PINS/v6/HOSTS …              the maps of ABI version 6
//! PINS/links/3-eth1-native …   the attachments, by the device's number and name
//! ```
//!
//! Before Linux 6.6 there are no links of tc programs: they are filters then, which the kernel keeps as well, and whose handle is
//! made of the path of the pins. A folder of pins has one owner at a time, who holds a lock on it.

mod attach;
mod events;
pub mod files;
mod tables;

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::programs::ProgramError;
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;
use netboot_common::maps::ABI_VERSION;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub use attach::{Attached, Attachment, Mode, XdpWish, take_off};
pub use events::{Events, Record};
pub use tables::{Change, Counters, KernelTables, NumbersInUse, Room, name as counter_name};

/// The programs, as build.rs built them.
static OBJECT: &[u8] = include_bytes_aligned!(env!("NETBOOT_EBPF_OBJECT"));

/// Names of the programs in the object.
const XDP: &str = "netboot_xdp";
const TCX: &str = "netboot_tcx";
const TFTP: &str = "netboot_tftp";

/// The folder of the attachments among the pins.
const LINKS: &str = "links";

/// Why the kernel's lanes are not to be had. Userspace serves alone then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "making the folder {path} for pins (is a BPF file system mounted there? mount -t bpf bpf /sys/fs/bpf)"
    )]
    Pins { path: PathBuf, source: io::Error },
    #[error("{path} is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf")]
    NotBpffs { path: PathBuf },
    #[error("{path} belongs to another server that runs: give this one pins of its own (paths: pins)")]
    Taken { path: PathBuf },
    #[error("interface {interface}")]
    Interface { interface: String, source: io::Error },
    #[error("loading the programs needs CAP_BPF and CAP_NET_ADMIN")]
    Permission { source: EbpfError },
    #[error("loading the programs")]
    Load { source: EbpfError },
    #[error("the verifier refused {program}")]
    Refused { program: &'static str, source: ProgramError },
    #[error("the object has no {what}")]
    Object { what: &'static str },
    #[error("the kernel's table of hosts is full: it holds {max}")]
    Full { max: u64 },
    #[error("map {map}")]
    Map { map: &'static str, source: aya::maps::MapError },
}

/// The loaded programs and their maps.
#[derive(Debug)]
pub struct Kernel {
    ebpf: Ebpf,
    pins: PathBuf,
    /// Held while this lives: the maps and attachments of a folder are one server's.
    _lock: File,
    without_tcx: bool,
    /// Why there is no program for TFTP.
    without_tftp: Option<String>,
}

impl Kernel {
    /// Loads the programs, with the maps that are pinned below `pins`, or new ones.
    pub fn load(pins: &Path) -> Result<Self, Error> {
        let maps = maps_folder(pins);
        for folder in [&maps, &pins.join(LINKS)] {
            std::fs::create_dir_all(folder).map_err(|source| Error::Pins { path: folder.clone(), source })?;
        }
        if !is_bpffs(&maps) {
            return Err(Error::NotBpffs { path: pins.to_path_buf() });
        }
        let lock = lock(pins)?;
        let mut loader = EbpfLoader::new();
        let ebpf =
            loader.default_map_pin_directory(&maps).load(OBJECT).map_err(|source| {
                match not_permitted(&source) {
                    true => Error::Permission { source },
                    false => Error::Load { source },
                }
            })?;
        let mut kernel =
            Self { ebpf, pins: pins.to_path_buf(), _lock: lock, without_tcx: false, without_tftp: None };
        kernel.load_programs()?;
        Ok(kernel)
    }

    fn load_programs(&mut self) -> Result<(), Error> {
        self.xdp()?.load().map_err(|source| Error::Refused { program: XDP, source })?;
        self.tcx()?.load().map_err(|source| Error::Refused { program: TCX, source })?;
        // The lanes of DHCP are worth having without it.
        self.without_tftp = self.classifier(TFTP)?.load().err().map(|error| refusal(&error));
        Ok(())
    }

    fn xdp(&mut self) -> Result<&mut aya::programs::Xdp, Error> {
        let program = self.ebpf.program_mut(XDP).ok_or(Error::Object { what: XDP })?;
        program.try_into().map_err(|_| Error::Object { what: XDP })
    }

    fn tcx(&mut self) -> Result<&mut aya::programs::SchedClassifier, Error> {
        self.classifier(TCX)
    }

    fn classifier(&mut self, what: &'static str) -> Result<&mut aya::programs::SchedClassifier, Error> {
        let program = self.ebpf.program_mut(what).ok_or(Error::Object { what })?;
        program.try_into().map_err(|_| Error::Object { what })
    }

    /// The tables that the programs read. Once: the maps move out.
    pub fn take_tables(&mut self) -> Result<KernelTables, Error> {
        KernelTables::take(&mut self.ebpf)
    }

    /// The files that the TFTP program serves. Once, as above.
    pub fn take_files(&mut self) -> Result<files::Files, Error> {
        files::Files::take(&mut self.ebpf)
    }

    /// What the TFTP program counted.
    pub fn file_counters(&self) -> Result<files::FileCounters, Error> {
        files::FileCounters::of(&self.ebpf)
    }

    /// The programs' counters. Once, as above.
    pub fn take_counters(&mut self) -> Result<Counters, Error> {
        Counters::take(&mut self.ebpf)
    }

    /// The ring that the programs write to. Once, as above.
    pub fn take_events(&mut self) -> Result<Events, Error> {
        Events::take(&mut self.ebpf)
    }

    /// Takes the programs off all interfaces: the pins go, and with the links the attachments.
    pub fn detach_all(self) {
        if let Err(left) = take_off(&self.pins) {
            tracing::warn!("still attached: {}", left.join(", "));
        }
        let _ = std::fs::remove_dir_all(maps_folder(&self.pins));
        let _ = std::fs::remove_dir(self.pins.join(LINKS));
        let _ = std::fs::remove_dir(&self.pins);
    }

    /// Passes on what programs built for development say (CONTRIBUTING.md), for as long as this process runs. Others say
    /// nothing.
    pub fn follow_log(&mut self) {
        let Ok(mut log) = EbpfLogger::init(&mut self.ebpf) else { return };
        std::thread::spawn(move || {
            loop {
                log.flush();
                let mut ready = [PollFd::from_borrowed_fd(log.as_fd(), PollFlags::IN)];
                if poll(&mut ready, None).is_err_and(|error| error != Errno::INTR) {
                    return;
                }
            }
        });
    }

    /// For the kernel tests: the programs themselves, for `BPF_PROG_TEST_RUN`.
    pub fn programs(&self) -> Result<(&aya::programs::Xdp, &aya::programs::SchedClassifier), Error> {
        let xdp = self.ebpf.program(XDP).and_then(|program| program.try_into().ok());
        let tcx = self.ebpf.program(TCX).and_then(|program| program.try_into().ok());
        Ok((xdp.ok_or(Error::Object { what: XDP })?, tcx.ok_or(Error::Object { what: TCX })?))
    }

    /// The same, of TFTP.
    pub fn tftp_program(&self) -> Result<&aya::programs::SchedClassifier, Error> {
        let tftp = self.ebpf.program(TFTP).and_then(|program| program.try_into().ok());
        tftp.ok_or(Error::Object { what: TFTP })
    }
}

/// What the verifier said at last, for a line in the log.
fn refusal(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return error.to_string() };
    let said = verifier_log.to_string();
    let is_sum = |line: &str| line.starts_with("processed") || line.starts_with("stack depth");
    let last = said.lines().rev().find(|line| !line.is_empty() && !is_sum(line));
    format!("the kernel refused the program: {io_error}: {}", last.unwrap_or_default())
}

/// The folder of this version's maps.
fn maps_folder(pins: &Path) -> PathBuf {
    pins.join(format!("v{ABI_VERSION}"))
}

/// Makes the folder ours for as long as the file lives.
fn lock(pins: &Path) -> Result<File, Error> {
    let failed = |source| Error::Pins { path: pins.to_path_buf(), source };
    let folder = File::open(pins).map_err(failed)?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(folder),
        Err(Errno::WOULDBLOCK) => Err(Error::Taken { path: pins.to_path_buf() }),
        Err(error) => Err(failed(error.into())),
    }
}

fn is_bpffs(path: &Path) -> bool {
    const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == BPF_FS_MAGIC)
}

fn not_permitted(error: &EbpfError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}
