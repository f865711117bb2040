//! The bare program on an interface, and the program that lets everything pass on the other end of a veth.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::{Xdp, XdpMode};
use netboot_common::wire::{checksum, dhcp};
use netboot_userspace::sys::interface::interfaces;
use serde_json::Value;

use crate::clients::{Network, mac};
use crate::frames::{Request, Way};
use crate::layout::{BARE_FRAME, BareHost, BareReply};

/// The command line of `bare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pass: PassOptions,
    #[command(flatten)]
    network: Network,
    #[arg(long, default_value_t = 10_000)]
    hosts: u32,
}

/// The command line of `pass`.
#[derive(Debug, clap::Args)]
pub(crate) struct PassOptions {
    /// The bench's programs, compiled.
    #[arg(long)]
    programs: PathBuf,
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// On skbs, instead of in the driver.
    #[arg(long)]
    generic: bool,
}

/// The bench's own programs, loaded.
pub(crate) struct Programs {
    pub(crate) ebpf: Ebpf,
}

impl Programs {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let mut ebpf = Ebpf::load_file(path).with_context(|| path.display().to_string())?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("the verifier refused {name}"))?;
        }
        Ok(Self { ebpf })
    }

    pub(crate) fn xdp(&self, name: &str) -> anyhow::Result<&Xdp> {
        Ok(self.ebpf.program(name).ok_or_else(|| anyhow!("there is no program {name}"))?.try_into()?)
    }

    fn attach(&mut self, name: &str, options: &PassOptions) -> anyhow::Result<()> {
        let program: &mut Xdp =
            self.ebpf.program_mut(name).ok_or_else(|| anyhow!("no program {name}"))?.try_into()?;
        let mode = if options.generic { XdpMode::Skb } else { XdpMode::Driver };
        program.attach(&options.interface, mode).with_context(|| options.interface.clone())?;
        Ok(())
    }

    /// Teaches the bare program its hosts and its two replies.
    pub(crate) fn teach(&mut self, network: &Network, server_mac: [u8; 6], hosts: u32) -> anyhow::Result<()> {
        let mut table: HashMap<_, [u16; 4], [u16; 2]> = HashMap::try_from(self.map("BARE_HOSTS")?)?;
        for client in 0..hosts {
            let [a, b, c, d, e, f] = mac(client);
            let key = [[a, b], [c, d], [e, f], [0, 0]].map(u16::from_ne_bytes);
            let [a, b, c, d] = network.address(client).octets();
            table.insert(key, [[a, b], [c, d]].map(u16::from_ne_bytes), 0)?;
        }
        let mut replies: Array<_, ReplyWords> = Array::try_from(self.map("BARE_REPLIES")?)?;
        for (index, message_type) in [(0, 2), (1, 5)] {
            replies.set(index, ready(network.server, server_mac, message_type), 0)?;
        }
        Ok(())
    }

    pub(crate) fn map(&mut self, name: &str) -> anyhow::Result<&mut aya::maps::Map> {
        self.ebpf.map_mut(name).ok_or_else(|| anyhow!("there is no map {name}"))
    }
}

/// Attaches it, says so, and stays.
pub(crate) fn bare(options: &Options) -> anyhow::Result<Value> {
    let mut programs = Programs::load(&options.pass.programs)?;
    let interface = interfaces()?.remove(&options.pass.interface).context("no such interface")?;
    programs.teach(&options.network, interface.mac.0, options.hosts)?;
    programs.attach("bare", &options.pass)?;
    stay()
}

/// As [`bare`].
pub(crate) fn pass(options: &PassOptions) -> anyhow::Result<Value> {
    let mut programs = Programs::load(&options.programs)?;
    programs.attach("pass", options)?;
    stay()
}

fn stay() -> ! {
    println!("attached");
    loop {
        std::thread::park();
    }
}

/// A reply of the length that the bare program sends, with zeros where clients differ.
fn ready(server: Ipv4Addr, server_mac: [u8; 6], message_type: u8) -> ReplyWords {
    let way = Way { server, server_mac, relay: None };
    let mut frame = Request::discover(&way).frame;
    frame.resize(BARE_FRAME, 0);
    frame[..6].fill(0);
    frame[6..12].copy_from_slice(&server_mac);
    let datagram = (BARE_FRAME - 34) as u16;
    frame[16..18].copy_from_slice(&(20 + datagram).to_be_bytes());
    frame[24..26].fill(0);
    frame[26..30].copy_from_slice(&server.octets());
    frame[30..34].fill(0);
    frame[34..38].copy_from_slice(&[0, 67, 0, 0]);
    frame[38..40].copy_from_slice(&datagram.to_be_bytes());
    let message = &mut frame[42..];
    message.fill(0);
    message[..3].copy_from_slice(&[dhcp::BOOTREPLY, dhcp::ETHERNET, 6]);
    message[dhcp::field::FILE..dhcp::field::FILE + 12].copy_from_slice(b"snponly.efi\0");
    message[dhcp::field::COOKIE..dhcp::FIXED].copy_from_slice(&dhcp::COOKIE);
    let [a, b, c, d] = server.octets();
    let options = [
        53,
        1,
        message_type,
        54,
        4,
        a,
        b,
        c,
        d,
        51,
        4,
        0,
        0,
        14,
        16,
        1,
        4,
        255,
        192,
        0,
        0,
        3,
        4,
        a,
        b,
        c,
        d,
        255,
    ];
    message[dhcp::FIXED..dhcp::FIXED + options.len()].copy_from_slice(&options);
    with_sums(&frame)
}

/// As the program's [`BareReply`]: the frame, and the sums of its IPv4 header and of its UDP datagram.
fn with_sums(frame: &[u8]) -> ReplyWords {
    // The sum of a pseudo header (RFC 768): addresses, protocol, length.
    let pseudo = checksum::add(17 + (BARE_FRAME - 34) as u32, &frame[26..34]);
    // RFC 1071, section 2(B): a sum of words in the other byte order is the sum with its bytes swapped.
    let native = |sum: u32| u32::from(u16::from_be(checksum::fold(sum)));
    let mut words = [0; REPLY_WORDS];
    for (word, bytes) in words.iter_mut().zip(frame.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words[BARE_FRAME / 4] = native(checksum::add(0, &frame[14..34]));
    words[BARE_FRAME / 4 + 1] = native(checksum::add(pseudo, &frame[34..]));
    words
}

const REPLY_WORDS: usize = size_of::<BareReply>() / 4;
type ReplyWords = [u32; REPLY_WORDS];
const _: () = assert!(REPLY_WORDS == BARE_FRAME / 4 + 2);
const _: () = assert!(size_of::<BareHost>() == 4);
