//! DHCP: one question, over any frame.

use netboot_common::event::Answered;
use netboot_common::maps::{HostKey, Kind};
use netboot_common::reply::{self, Tables};
use netboot_common::request::{Headers, OPTIONS_FAST};
use netboot_common::stats::{Lane, Leave, Outcome};

use crate::frame::Frame;
use crate::limit;
use crate::maps::{self, Maps, Work};

/// Answers in place, or leaves the frame as it is.
#[inline(always)]
pub fn answer<F: Frame>(frame: &mut F, lane: Lane) -> Outcome {
    match try_answer(frame, lane) {
        Ok(kind) => Outcome::Answered(kind),
        Err(leave) => Outcome::Left(leave),
    }
}

#[inline(always)]
fn try_answer<F: Frame>(frame: &mut F, lane: Lane) -> Result<Kind, Leave> {
    let headers = Headers::read(frame)?;
    let maps = Maps { ifindex: frame.ifindex() };
    // Before the options are walked: traffic of an interface that is not served costs one look-up.
    maps.interface(headers.vlan).ok_or(Leave::NoInterface)?;
    frame.linearize()?;
    let Work { request, scratch } = maps::work(lane).ok_or(Leave::NoRoom)?;
    request.fill(frame, &headers, OPTIONS_FAST)?;
    let time = maps::now();
    limit::charge(lane, time, maps.ifindex)?;
    let reply = reply::answer(frame, request, &maps, time / 1_000_000_000, scratch);
    if let Err(Leave::Release | Leave::Decline) = reply {
        maps::end_lease(&HostKey::new(request.chaddr, headers.vid()));
    }
    let reply = reply?;
    let l3 = headers.l3 as usize;
    frame.resize(l3 + reply.length())?; // the last line that may leave
    frame.commit(l3, &reply, scratch)?;
    if let Some(note) = reply.note() {
        maps::count(lane, note.index());
    }
    let (kind, class) = (reply.kind, reply.class);
    let (ifindex, vlan, mac, yiaddr) = (maps.ifindex, headers.vid(), request.chaddr, reply.yiaddr);
    maps::tell(time, lane, Answered { ifindex, vlan, mac, yiaddr, kind, class });
    Ok(kind)
}
