//! The least that can be called a server: it knows one file and one size of blocks, keeps no state, and answers each ACK with the
//! window behind it, from a packet socket. What the generator and the wire can carry is what it reaches.

use std::fs;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

use crate::frames::{self, Stations};
use crate::wire::{Outbox, Room, Wire};

const TFTP: u16 = 69;

/// The command line of `bare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value = "eth0")]
    interface: String,
    #[arg(long)]
    file: PathBuf,
    /// Whatever clients ask for.
    #[arg(long)]
    blksize: u16,
    #[arg(long)]
    window: u16,
}

/// Says that it serves, and does so until killed.
pub(crate) fn main(options: &Options) -> anyhow::Result<Value> {
    let file = fs::read(&options.file).with_context(|| options.file.display().to_string())?;
    let room = Room { frame: frames::LONGEST, waiting: 64 << 20 };
    let mut wire =
        Wire::open(&options.interface, [TFTP, TFTP], room).with_context(|| options.interface.clone())?;
    println!("serving");
    let own = wire.interface.mac.0;
    let mut outbox = Outbox::default();
    loop {
        outbox.clear();
        let received = wire.receive(|frame| {
            let (Some(datagram), Some(other)) = (frames::read(frame), sender(frame)) else { return };
            let mut send = |payload: [&[u8]; 3]| {
                let ends = [datagram.to, datagram.from];
                reply(&Stations { own, other }, ends, &payload, outbox.add());
            };
            match datagram.payload {
                [0, 1, ..] => send([&[0, 6], &oack(options, file.len()), &[]]),
                [0, 4, high, low] => {
                    for (block, bytes) in window(options, &file, u16::from_be_bytes([*high, *low])) {
                        send([&[0, 3], &block.to_be_bytes(), bytes]);
                    }
                }
                _ => {}
            }
        })?;
        wire.send(outbox.frames())?;
        if received == 0 {
            wire.wait(std::time::Duration::from_secs(1))?;
        }
    }
}

fn sender(frame: &[u8]) -> Option<[u8; 6]> {
    frame.get(6..12)?.try_into().ok()
}

fn reply(stations: &Stations, ends: [SocketAddrV4; 2], payload: &[&[u8]], frame: &mut Vec<u8>) {
    frames::write(frame, stations, ends, |frame| {
        payload.iter().for_each(|part| frame.extend_from_slice(part));
    });
}

fn oack(options: &Options, size: usize) -> Vec<u8> {
    let mut oack = format!("tsize\0{size}\0blksize\0{}\0", options.blksize);
    if options.window > 1 {
        oack += &format!("windowsize\0{}\0", options.window);
    }
    oack.into_bytes()
}

/// The blocks behind an acknowledged one, up to the file's end.
fn window<'a>(options: &Options, file: &'a [u8], acknowledged: u16) -> impl Iterator<Item = (u16, &'a [u8])> {
    let size = usize::from(options.blksize);
    let last = file.len() / size + 1;
    let first = usize::from(acknowledged) + 1;
    let window = first..(first + usize::from(options.window)).min(last + 1);
    window.map(move |block| {
        let at = (block - 1) * size;
        (block as u16, &file[at..(at + size).min(file.len())])
    })
}
