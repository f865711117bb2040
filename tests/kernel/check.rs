//! What every reply must be, checked by parsers that are not ours: etherparse for the headers and their checksums, dhcproto for
//! the message.

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// Panics unless `reply` is a sound DHCP reply to `request`.
pub(crate) fn sound_reply(reply: &[u8], request: &[u8]) -> Message {
    let message =
        Message::decode(&mut Decoder::new(sound_datagram(reply))).expect("dhcproto reads the reply");
    table_3(&message, &request_of(request));
    message
}

/// Panics unless its headers and checksums are right.
pub(crate) fn sound_checksums(reply: &[u8]) {
    sound_datagram(reply);
}

/// The UDP payload of a frame whose headers and checksums are right.
fn sound_datagram(reply: &[u8]) -> &[u8] {
    let packet = SlicedPacket::from_ethernet(reply).expect("the reply has sound headers");
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("the reply is not IPv4") };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("the reply is not UDP") };
    let expected = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).expect("a payload that fits");
    assert_eq!(udp.checksum(), expected, "UDP checksum");
    assert_ne!(udp.checksum(), 0, "a reply carries a checksum");
    assert!(udp.payload().len() >= 300, "RFC 951: at least 300 bytes, not {}", udp.payload().len());
    udp.payload()
}

/// The UDP payload of the request. dhcproto panics on some malformed options that we answer in spite of, so what is asked of the
/// request is read by hand.
fn request_of(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).expect("an answered request has sound headers");
    let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("an answered request is UDP") };
    udp.payload().to_vec()
}

/// The parts of an option before END, joined (RFC 3396), if they have at least `least` bytes.
fn option(payload: &[u8], code: u8, least: usize) -> Option<Vec<u8>> {
    let mut rest = payload.get(240..)?;
    let mut joined = Vec::new();
    loop {
        match rest {
            [0, more @ ..] => rest = more,
            [255, ..] | [] | [_] => return Some(joined).filter(|joined| joined.len() >= least),
            [this, length, more @ ..] => {
                let (value, more) = more.split_at_checked(usize::from(*length))?;
                if *this == code {
                    joined.extend(value);
                }
                rest = more;
            }
        }
    }
}

/// RFC 2131 table 3, and RFC 3046 and 6842 for what is echoed.
fn table_3(reply: &Message, request: &[u8]) {
    assert_eq!(reply.opcode(), Opcode::BootReply);
    assert_eq!((u8::from(reply.htype()), reply.hlen(), reply.hops(), reply.secs()), (request[1], 6, 0, 0));
    assert_eq!(reply.xid().to_be_bytes(), request[4..8]);
    assert_eq!(reply.giaddr().octets(), request[24..28]);
    assert_eq!(reply.chaddr(), &request[28..34]);
    let options = reply.opts();
    for forbidden in
        [OptionCode::RequestedIpAddress, OptionCode::ParameterRequestList, OptionCode::MaxMessageSize]
    {
        assert!(options.get(forbidden).is_none(), "{forbidden:?} in a reply");
    }
    assert!(options.get(OptionCode::ServerIdentifier).is_some());
    let Some(DhcpOption::MessageType(kind)) = options.get(OptionCode::MessageType) else {
        panic!("no option 53")
    };
    let leased = options.get(OptionCode::AddressLeaseTime).is_some();
    match kind {
        MessageType::Nak => {
            assert!(reply.yiaddr().is_unspecified() && reply.ciaddr().is_unspecified() && !leased);
            assert!(request[24..28] == [0; 4] || reply.flags().broadcast());
        }
        _ => {
            assert_eq!(leased, !reply.yiaddr().is_unspecified(), "51 goes with an address");
            assert_eq!(reply.flags().broadcast(), request[10] & 0x80 != 0);
        }
    }
    // Shorter than 2 bytes is no identifier (RFC 2132 section 9.14).
    let identifier = option(request, 61, 2);
    let echoed = options.get(OptionCode::ClientIdentifier);
    let expected = identifier.map(DhcpOption::ClientIdentifier);
    assert_eq!(echoed, expected.as_ref(), "RFC 6842: {request:02x?}");
    let relayed = option(request, 82, 1).is_some();
    assert_eq!(options.get(OptionCode::RelayAgentInformation).is_some(), relayed, "RFC 3046");
}
