//! TFTP: files that userspace put into maps, sent from here. A program of its own, behind the one for DHCP.
//!
//! **Invariant:** a frame that is passed on is untouched: what can fail comes before the first byte is written.

mod frame;
mod limit;
mod maps;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use netboot_common::packet::Packet as _;
use netboot_common::tftp::answer::{self, Work};
use netboot_common::tftp::event::{Client, Transfer};
use netboot_common::tftp::session::Send;
use netboot_common::tftp::stats::{Done, Leave, Outcome, Sum};

use crate::frame::{Frame as _, Skb};
use crate::maps::Maps;

/// Behind [`netboot_tcx`](crate::netboot_tcx), on the same hook.
#[classifier]
pub fn netboot_tftp(ctx: TcContext) -> i32 {
    let mut frame = Skb::new(ctx);
    match serve(&mut frame) {
        Ok((done, is_sent)) => {
            maps::count(Outcome::Done(done).index(), 1);
            if is_sent { frame.send_back() } else { TC_ACT_SHOT }
        }
        Err(leave) => {
            maps::count(Outcome::Left(leave).index(), 1);
            TC_ACT_UNSPEC
        }
    }
}

/// Whether the frame is to be sent now.
#[inline(always)]
fn serve(frame: &mut Skb) -> Result<(Done, bool), Leave> {
    let serving = maps::serving().ok_or(Leave::NotTftp)?;
    let tables = Maps { ifindex: frame.ifindex() };
    let datagram = answer::read(frame, &tables, serving)?;
    let work = maps::work().ok_or(Leave::NoRoom)?;
    work.datagram = datagram;
    frame.linearize().map_err(|_| Leave::Truncated)?;
    answer::answer(frame, &tables, serving, work)?;
    if work.answer.step.done == Done::Ignored {
        return Ok((Done::Ignored, false));
    }
    // Before anything leaves: the client's ACK may be here, on another CPU, before we are through.
    if work.answer.is_request {
        limit::charge(serving, work.datagram.source, work.answer.now)?;
        maps::begin(work)?;
        maps::count(Sum::Begun.index(), u64::from(work.answer.begins));
    } else if !maps::go_on(work) {
        return Ok((Done::Ignored, false));
    }
    if work.answer.is_first_answer {
        limit::give_back(serving, work.datagram.source);
    }
    if work.answer.replaces || work.session.ended() {
        report(work, tables.ifindex);
    }
    frame.forget();
    let sent = send(frame, work);
    frame.forget();
    match sent {
        // Memory is short. Userspace may have some for a request: its transfer is not ours then, or the client had two. What goes on is lost,
        // and sent again.
        None if work.answer.begins => {
            maps::forget(work);
            maps::count(Sum::Ended.index(), 1);
            Err(Leave::NoRoom)
        }
        sent => Ok((work.answer.step.done, sent == Some(true))),
    }
}

/// Makes the frame what is sent last, and sends what comes before it; whether there is something. `None`: the frame is as it was.
#[inline(always)]
fn send(frame: &mut Skb, work: &Work) -> Option<bool> {
    match work.answer.step.send {
        Send::Nothing => Some(false),
        Send::Oack => frame.make_oack(work),
        Send::Window => {
            let wanted = work.session.sent().wrapping_sub(work.session.acked());
            let sent = frame.send_window(work)?;
            maps::count(Sum::Blocks.index(), u64::from(sent));
            maps::count(Sum::Unsent.index(), u64::from(wanted.wrapping_sub(sent)));
            Some(sent == wanted)
        }
    }
}

/// Tells of a transfer that has ended.
#[inline(always)]
fn report(work: &Work, ifindex: u32) {
    let Work { datagram, answer, .. } = work;
    let code = answer.code;
    let client = Client { ifindex, address: datagram.source, port: datagram.source_port, code };
    let (session, done) = match answer.replaces {
        true => (&work.before, Done::Aborted),
        false => (&work.session, answer.step.done),
    };
    let transfer = Transfer::new(answer.now, client, session, done, work.file.size());
    maps::count(Sum::Ended.index(), 1);
    maps::count(Sum::Bytes.index(), u64::from(transfer.bytes()));
    maps::count(Sum::Resent.index(), u64::from(transfer.resent()));
    maps::tell(transfer);
}
