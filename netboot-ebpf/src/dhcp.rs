//! DHCP: one question, over any frame.

use netboot_common::event::Answered;
use netboot_common::maps::Kind;
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
    let interface = maps.interface(headers.vlan).ok_or(Leave::NoInterface)?;
    frame.linearize()?;
    let Work { request, scratch } = maps::work(lane).ok_or(Leave::NoRoom)?;
    request.fill(frame, &headers, OPTIONS_FAST)?;
    frame.forget();
    reply::addressed_to(request, interface)?;
    let host = maps::host(&request.host_key());
    let Some(mut host) = host else { return Err(limit::pass_up(lane, maps.ifindex, Leave::UnknownHost)) };
    let reply = match reply::answer_host(frame, request, interface, host.promise(), &maps, scratch) {
        Ok(reply) => reply,
        Err(leave) => {
            if let Leave::Release | Leave::Decline = leave {
                host.end_lease();
            }
            return Err(limit::pass_up(lane, maps.ifindex, leave));
        }
    };
    let l3 = request.headers.l3 as usize;
    frame.resize(l3, l3 + reply.length())?; // the last line that may leave; from here on a frame is sent or dropped
    limit::charge(&mut host, request, lane, maps.ifindex)?;
    frame.commit(l3, &reply, scratch)?;
    if let Some(note) = reply.note() {
        maps::count(lane, note.index());
    }
    let (kind, class) = (reply.kind, reply.class);
    let (ifindex, vlan, mac, yiaddr) = (maps.ifindex, request.headers.vid(), request.chaddr, reply.yiaddr);
    maps::tell(lane, Answered { ifindex, vlan, mac, yiaddr, kind, class });
    Ok(kind)
}
