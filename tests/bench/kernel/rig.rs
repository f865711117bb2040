//! The programs side by side, and one packet after the other through them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use netboot_common::maps::Kind;
use netboot_common::stats::{Lane, Leave, Outcome};
use netboot_userspace::fastpath::{Counters, Events, Kernel, KernelTables};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::site::{self, OUR_MAC};
use crate::clients::Network;
use crate::layout::{REQUEST_MAX, Restore};
use crate::peers::Programs;
use crate::replies;

/// Packets in one call: fewer than the ring has room for events of.
const REPEAT: u32 = 10_000;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Pass,
    Swap,
    Bare,
    Ours,
}

pub(super) struct Rig {
    kernel: Kernel,
    tables: KernelTables,
    counters: Counters,
    events: Events,
    programs: Programs,
    request: Array<MapData, RestoreWords>,
    target: ProgramArray<MapData>,
    network: Network,
    /// What the harness puts back.
    frame: Vec<u8>,
}

/// As [`Restore`]: aya takes arrays of numbers without more ado.
type RestoreWords = [u32; size_of::<Restore>() / 4];
const _: () = assert!(size_of::<Restore>() == REQUEST_MAX + 16);

impl Rig {
    pub(super) fn load(programs: &Path, network: Network) -> anyhow::Result<Self> {
        let pins = PathBuf::from(format!("/sys/fs/bpf/nbt-{}-bench", std::process::id()));
        let loaded = Kernel::load(&pins);
        // Nothing adopts these maps: the pins need not outlive the start.
        _ = std::fs::remove_dir_all(&pins);
        let mut kernel = loaded?;
        let (tables, counters, events) =
            (kernel.take_tables()?, kernel.take_counters()?, kernel.take_events()?);
        let mut programs = Programs::load(programs)?;
        let request = Array::try_from(programs.ebpf.take_map("REQUEST").context("REQUEST")?)?;
        let target = ProgramArray::try_from(programs.ebpf.take_map("TARGET").context("TARGET")?)?;
        Ok(Self { kernel, tables, counters, events, programs, request, target, network, frame: Vec::new() })
    }

    /// Makes both sides know these hosts.
    pub(super) fn fill(&mut self, hosts: u32) -> anyhow::Result<()> {
        let site = site::site(&self.network, hosts)?;
        self.tables.limit(site::LIMITS)?;
        self.tables.replace(&site.interfaces, &site.hosts, &site.templates)?;
        self.programs.teach(&self.network, OUR_MAC, hosts)
    }

    /// Has the harness put back this request; `random`: of one of so many clients.
    pub(super) fn restore(&mut self, frame: &[u8], random: Option<u32>, relayed: bool) -> anyhow::Result<()> {
        let mut words: RestoreWords = [0; _];
        let mut bytes = frame.to_vec();
        site::become_first(&mut bytes, &self.network, relayed);
        self.frame.clone_from(&bytes);
        bytes.resize(REQUEST_MAX, 0);
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        let first = if site::names_address(frame) { self.network.first.into() } else { 0 };
        let more = [frame.len() as u32, random.unwrap_or(0), first, u32::from(relayed)];
        words[REQUEST_MAX / 4..].copy_from_slice(&more);
        Ok(self.request.set(0, words, 0)?)
    }

    /// One packet: the target must send the right reply.
    pub(super) fn verify(&mut self, target: Target, kind: Kind) -> anyhow::Result<()> {
        self.aim(target)?;
        let mut out = vec![0; 2048];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.data_out = Some(&mut out);
        let result = self.programs.xdp("restore")?.test_run(options)?;
        ensure!(result.return_value == XDP_TX, "it returned {}, not XDP_TX", result.return_value);
        out.truncate(result.data_size_out as usize);
        let reply = replies::read(&out).context("it sent no reply")?;
        let expected = if kind == Kind::Offer { replies::Kind::Offer } else { replies::Kind::Ack };
        ensure!(
            reply.kind == expected && replies::sound(&out),
            "it sent a wrong reply: {reply:?}, {out:02x?}"
        );
        let client = u32::from_be_bytes([reply.chaddr[2], reply.chaddr[3], reply.chaddr[4], reply.chaddr[5]]);
        ensure!(reply.yiaddr == self.network.address(client), "it gave client {client} {}", reply.yiaddr);
        Ok(())
    }

    /// Nanoseconds per packet in the harness.
    pub(super) fn restored(&mut self, target: Target, calls: u32) -> anyhow::Result<f64> {
        self.aim(target)?;
        let expected = if target == Target::Pass { XDP_PASS } else { XDP_TX };
        let mut nanoseconds = 0.0;
        for _ in 0..calls {
            self.drain();
            nanoseconds += repeat(self.programs.xdp("restore")?, &self.frame, expected)?;
        }
        Ok(nanoseconds / f64::from(calls))
    }

    /// The same of ours, every packet of which must have been answered.
    pub(super) fn counted(&mut self, kind: Kind, calls: u32) -> anyhow::Result<f64> {
        let outcome = Outcome::Answered(kind);
        let before = self.counters.read(Lane::Xdp, outcome.index())?;
        let nanoseconds = self.restored(Target::Ours, calls)?;
        let (answered, asked) =
            (self.counters.read(Lane::Xdp, outcome.index())? - before, u64::from(calls * REPEAT));
        ensure!(answered == asked, "{answered} of {asked} requests were answered");
        Ok(nanoseconds)
    }

    /// Nanoseconds per packet without the harness, of a program that leaves the packet as useful as it was.
    pub(super) fn direct(&mut self, target: Target, frame: &[u8], calls: u32) -> anyhow::Result<f64> {
        let expected = if target == Target::Swap { XDP_TX } else { XDP_PASS };
        let outcome = Outcome::Left(Leave::NotDhcp);
        let before = self.counters.read(Lane::Xdp, outcome.index())?;
        let mut nanoseconds = 0.0;
        for _ in 0..calls {
            nanoseconds += repeat(self.program(target)?, frame, expected)?;
        }
        let left = self.counters.read(Lane::Xdp, outcome.index())? - before;
        ensure!(target != Target::Ours || left == u64::from(calls * REPEAT), "only {left} packets were left");
        Ok(nanoseconds / f64::from(calls))
    }

    fn aim(&mut self, target: Target) -> anyhow::Result<()> {
        let fd = self.program(target)?.fd()?.try_clone()?;
        Ok(self.target.set(0, &fd, 0)?)
    }

    fn program(&mut self, target: Target) -> anyhow::Result<&Xdp> {
        match target {
            Target::Ours => Ok(self.kernel.programs()?.0),
            Target::Pass => self.programs.xdp("pass"),
            Target::Swap => self.programs.xdp("swap"),
            Target::Bare => self.programs.xdp("bare"),
        }
    }

    fn drain(&mut self) {
        self.events.by_ref().for_each(drop);
    }
}

/// One call; the kernel's own measure of it.
fn repeat(program: &Xdp, frame: &[u8], expected: u32) -> anyhow::Result<f64> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = REPEAT;
    let result = program.test_run(options)?;
    if result.return_value != expected {
        bail!("the program returned {}, not {expected}", result.return_value);
    }
    Ok(result.duration.as_nanos() as f64)
}

/// Stays on the last CPU that we may use: per-CPU maps stay warm, and the first has most interrupts.
pub(super) fn pin() -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("no CPU")?;
    let mut one = CpuSet::new();
    one.set(last);
    Ok(sched_setaffinity(None, &one)?)
}
