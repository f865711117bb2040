//! The reader of DHCPv4: never a panic, the same in all lanes, and of one mind with a plain walk over the options and with
//! dhcproto's reading of each value.

use dhcproto::v4::{DhcpOption, Message};
use dhcproto::{Decodable as _, Decoder};
use netboot_common::packet::Slice;
use netboot_common::request::{OPTIONS_ALL, OPTIONS_FAST, Request, Span};
use netboot_common::stats::Leave;
use netboot_common::wire::dhcp::MessageType;

use super::frame::{FIXED, HEADERS, around};

/// The first byte says whether the rest is a frame, or a message in a sound frame.
pub(crate) fn reader(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    if kind & 1 == 0 {
        read(rest);
        return;
    }
    let frame = around(rest, [2, 0, 0, 0, 0, 9], [0; 4], [255; 4], (68, 67));
    if let Some(request) = read(&frame)
        && frame.len() >= HEADERS + FIXED
        && frame[HEADERS + 236..HEADERS + FIXED] == [99, 130, 83, 99]
    {
        compare(&frame, &request);
    }
}

/// Reads it as each lane does. What the fast lanes accept, userspace reads alike.
fn read(frame: &[u8]) -> Option<Result<Request, Leave>> {
    let packet = Slice { bytes: frame, offloaded_vlan: 0, ifindex: 1 };
    let (fast, all) = (Request::read(&packet, OPTIONS_FAST), Request::read(&packet, OPTIONS_ALL));
    match (&fast, &all) {
        (Ok(fast), all) => assert_eq!(Ok(fast), all.as_ref(), "both lanes read the same"),
        (Err(Leave::NoCookie | Leave::ManyOptions), _) => {}
        (Err(fast), all) => {
            assert_eq!(all.as_ref().err(), Some(fast), "both lanes refuse for the same reason")
        }
    }
    if let Ok(request) = &all {
        let options = &request.options;
        for span in [
            options.client_id,
            options.relay_agent,
            options.uuid,
            options.hostname,
            options.parameter_list,
            options.circuit,
            options.vendor_options,
        ] {
            assert!(usize::from(span.at) + usize::from(span.length) <= usize::from(request.headers.end));
        }
        let _ = (request.class(), request.asks_for(&packet, 43), request.headers.vid());
    }
    Some(all)
}

/// The options up to the first end: code and value. `None`: cut.
fn walk(mut area: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut options = Vec::new();
    loop {
        match area {
            [] | [255, ..] => return Some(options),
            [0, rest @ ..] => area = rest,
            [code, length, rest @ ..] => {
                let (value, behind) = rest.split_at_checked((*length).into())?;
                options.push((*code, value));
                area = behind;
            }
            [_] => return None,
        }
    }
}

fn compare(frame: &[u8], read: &Result<Request, Leave>) {
    let message = &frame[HEADERS..];
    let options = walk(&message[FIXED..]);
    let request = match read {
        Ok(request) => request,
        Err(Leave::OptionCut) => return assert_eq!(options, None, "only what is cut is called so"),
        Err(_) => return,
    };
    let options = options.expect("what is cut is refused");
    compare_heads(message, request);
    let bytes = |span: Span| &frame[usize::from(span.at)..usize::from(span.at) + usize::from(span.length)];
    for &(code, value) in &options {
        // dhcproto 0.15 itself panics at an option 94 that is not of 3 bytes: it is asked of what is compared only.
        let is_compared = [12, 43, 50, 53, 54, 57, 61, 82, 97].contains(&code);
        if !is_compared || options.iter().filter(|(other, _)| *other == code).count() != 1 {
            continue;
        }
        let raw = [&[code, value.len() as u8], value].concat();
        let Ok(theirs) = DhcpOption::decode(&mut Decoder::new(&raw)) else { continue };
        let ours = &request.options;
        match (theirs, value.len()) {
            (DhcpOption::MessageType(kind), 1) => {
                assert_eq!(ours.message_type, MessageType::from_byte(kind.into()))
            }
            (DhcpOption::RequestedIpAddress(ip), 4) => assert_eq!(ours.requested, ip.octets()),
            (DhcpOption::ServerIdentifier(ip), 4) => assert_eq!(ours.server, ip.octets()),
            (DhcpOption::MaxMessageSize(size), 2) => assert_eq!(ours.max_size, size),
            (DhcpOption::ClientIdentifier(id), 2..) => assert_eq!(bytes(ours.client_id), id),
            (DhcpOption::ClientMachineIdentifier(uuid), 17) if uuid[0] == 0 => {
                assert_eq!(bytes(ours.uuid), uuid)
            }
            (DhcpOption::Hostname(name), 1..) => assert_eq!(bytes(ours.hostname), name.as_bytes()),
            (DhcpOption::VendorExtensions(vendor), 1..) => assert_eq!(bytes(ours.vendor_options), vendor),
            (DhcpOption::RelayAgentInformation(_), 1..) => assert_eq!(bytes(ours.relay_agent), value),
            _ => {}
        }
    }
}

fn compare_heads(message: &[u8], request: &Request) {
    let theirs =
        Message::decode(&mut Decoder::new(&[&message[..FIXED], &[255]].concat())).expect("a sound head");
    assert_eq!(u32::from_be_bytes(request.xid), theirs.xid());
    assert_eq!(request.ciaddr, theirs.ciaddr().octets());
    assert_eq!(request.giaddr, theirs.giaddr().octets());
    assert_eq!(u16::from_be_bytes(request.flags), u16::from(theirs.flags()));
    assert_eq!(request.chaddr, theirs.chaddr());
}
