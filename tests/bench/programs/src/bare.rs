//! The bare reply program: what a hand-written answer costs. It knows two messages, takes option 53 to be the first and option 50
//! the second, echoes no option, counts nothing, tells nobody, and has one size of reply.

use aya_ebpf::programs::XdpContext;

use crate::layout::{BARE_FRAME, BareReply, Frame};
use crate::{frame, maps};

/// Words of the frame: offsets from its start, divided by two.
mod word {
    pub const ETHERTYPE: usize = 6;
    pub const VERSION: usize = 7;
    pub const PROTOCOL: usize = 11;
    pub const IP_CHECKSUM: usize = 12;
    pub const IP_DESTINATION: usize = 15;
    pub const DESTINATION_PORT: usize = 18;
    pub const UDP_CHECKSUM: usize = 20;
    pub const OP: usize = 21;
    pub const XID: usize = 23;
    pub const FLAGS: usize = 26;
    pub const YIADDR: usize = 29;
    pub const GIADDR: usize = 33;
    pub const CHADDR: usize = 35;
    pub const COOKIE: usize = 139;
    pub const OPTION_53: usize = 141;
    /// Option 53's value, then option 50's code; its length; its value.
    pub const TYPE: usize = 142;
    /// One word past option 50.
    pub const END: usize = 146;
}

const fn network(word: u16) -> u16 {
    word.to_be()
}

#[inline(always)]
pub fn answer(ctx: &mut XdpContext) -> Option<()> {
    let request = *frame::window::<[u16; word::END]>(ctx)?;
    let kind = kind(&request)?;
    let [m0, m1, m2] = [request[word::CHADDR], request[word::CHADDR + 1], request[word::CHADDR + 2]];
    let host = maps::host(&[m0, m1, m2, 0])?;
    let reply = maps::reply(kind)?;
    let by = BARE_FRAME as i32 - frame::length(ctx);
    if by != 0 {
        frame::resize(ctx, by)?;
    }
    copy(&reply.frame, frame::window(ctx)?);
    patch(frame::window(ctx)?, &request, host.yiaddr, reply);
    Some(())
}

/// Word by word, without a loop: larger parts become calls of `memcpy`, which goes byte by byte.
#[inline(always)]
fn copy(from: &Frame, to: &mut Frame) {
    macro_rules! words {
        ($($i:literal)*) => { $(to[$i] = from[$i];)* };
    }
    words!(
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
        16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47
    );
}

/// Which reply: 0 for a DISCOVER, 1 for a REQUEST.
#[inline(always)]
fn kind(request: &[u16; word::END]) -> Option<u32> {
    let ours = request[word::ETHERTYPE] == network(0x0800)
        && request[word::VERSION] == network(0x4500)
        && request[word::PROTOCOL] & network(0x00ff) == network(17)
        && request[word::DESTINATION_PORT] == network(67)
        && request[word::OP] == network(0x0101)
        && request[word::COOKIE] == network(0x6382)
        && request[word::COOKIE + 1] == network(0x5363)
        && request[word::OPTION_53] == network(0x3501);
    if !ours {
        return None;
    }
    match u16::from_be(request[word::TYPE]) >> 8 {
        1 => Some(0),
        3 => Some(1),
        _ => None,
    }
}

/// RFC 2131 section 4.1, without ciaddr: to the relay agent, to all, or to the client's new address.
#[inline(always)]
fn patch(frame: &mut [u16; BARE_FRAME / 2], request: &[u16; word::END], yiaddr: [u16; 2], reply: &BareReply) {
    let relay = [request[word::GIADDR], request[word::GIADDR + 1]];
    let flags = request[word::FLAGS];
    let chaddr = [request[word::CHADDR], request[word::CHADDR + 1], request[word::CHADDR + 2]];
    let (mac, destination, port) = if relay != [0, 0] {
        ([request[3], request[4], request[5]], relay, 67)
    } else if flags & network(0x8000) != 0 {
        ([0xffff; 3], [0xffff; 2], 68)
    } else {
        (chaddr, yiaddr, 68)
    };
    let port = network(port);
    let xid = [request[word::XID], request[word::XID + 1]];
    frame[..3].copy_from_slice(&mac);
    frame[word::IP_DESTINATION..word::IP_DESTINATION + 2].copy_from_slice(&destination);
    frame[word::DESTINATION_PORT] = port;
    frame[word::XID..word::XID + 2].copy_from_slice(&xid);
    frame[word::FLAGS] = flags;
    frame[word::YIADDR..word::YIADDR + 2].copy_from_slice(&yiaddr);
    frame[word::GIADDR..word::GIADDR + 2].copy_from_slice(&relay);
    frame[word::CHADDR..word::CHADDR + 3].copy_from_slice(&chaddr);
    let sum = |words: &[u16]| words.iter().map(|word| u32::from(*word)).sum::<u32>();
    let addressed = sum(&destination);
    let message = sum(&xid) + sum(&yiaddr) + sum(&relay) + sum(&chaddr) + u32::from(flags) + u32::from(port);
    frame[word::IP_CHECKSUM] = finish(reply.ip_sum + addressed);
    frame[word::UDP_CHECKSUM] = finish(reply.udp_sum + addressed + message);
}

/// RFC 1071.
#[inline(always)]
const fn finish(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
