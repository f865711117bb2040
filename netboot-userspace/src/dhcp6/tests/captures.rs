//! What OVMF and iPXE sent when they booted over IPv6 (`tests/golden/captures/uefi-pxe6.pcap`).

use dhcproto::v6::MessageType;

use super::*;
use crate::dhcp6::wire;

/// The guest of the capture is [`HOST`]; its requests are for another server's DUID and addresses, which is put right here.
#[test]
fn captured_firmware_is_answered() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/captures/uefi-pxe6.pcap");
    let file = std::fs::read(path).expect("the captures are in the tree");
    let frames = pcap(&file);
    let requests: Vec<_> = frames.iter().filter_map(|frame| client_message(frame)).collect();
    assert_eq!(requests.len(), 8, "two Solicits and Requests of OVMF and one of iPXE, two Releases");
    let mut site = Site::new();
    let mut urls = Vec::new();
    for (source, request) in requests {
        let asked = decode(&request).message;
        let reply = site.send(&request, source);
        assert!(reply.actions.send.is_some(), "{asked:?}: {:?}", reply.actions);
        assert_eq!(reply.actions.mac, Some(HOST));
        let reply = decode(&reply.reply);
        assert_eq!(reply.xid(), asked.xid());
        assert_eq!(value(&reply, 1), value_in(&request, 1), "the client's identifier");
        let kind = if asked.msg_type() == MessageType::Solicit {
            MessageType::Advertise
        } else {
            MessageType::Reply
        };
        assert_eq!(reply.msg_type(), kind);
        if asked.msg_type() != MessageType::Release {
            assert_eq!(only_address(&reply).to_string(), "2001:db8::51");
            urls.push(value(&reply, 59).map(|url| String::from_utf8(url).unwrap()).unwrap_or_default());
        }
    }
    let (tftp, script) = ("tftp://[2001:db8::1]/snponly.efi", "http://[2001:db8::1]:8080/boot.ipxe");
    assert_eq!(urls, ["", "", tftp, tftp, script, script], "OVMF's own stack, its PXE client, iPXE");
}

/// The frames of a little-endian pcap file.
fn pcap(bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut rest = &bytes[24..];
    while let Some((header, tail)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let (frame, tail) = tail.split_at(length);
        frames.push(frame);
        rest = tail;
    }
    frames
}

/// Of a frame from port 546 to 547: who sent it, and its message as a client of ours would send it.
fn client_message(frame: &[u8]) -> Option<(Ipv6Addr, Vec<u8>)> {
    let (ethernet, ip) = frame.split_at(14);
    if ethernet[12..] != [0x86, 0xdd] || ip[6] != 17 || ip[40..44] != [2, 34, 2, 35] {
        return None;
    }
    let source = Ipv6Addr::from(<[u8; 16]>::try_from(&ip[8..24]).unwrap());
    assert_eq!(ip[24..40], wire::ALL_AGENTS_AND_SERVERS.octets());
    let (theirs, ours) = ([0, 3, 0, 1, 2, 0, 0, 0, 0, 1], SERVER_ID);
    assert_eq!(theirs, ours, "the same by chance");
    let mut message = ip[48..].to_vec();
    // fd77::/64 there is 2001:db8::/64 here.
    for at in 0..message.len().saturating_sub(16) {
        if message[at..].starts_with(&[0xfd, 0x77, 0, 0, 0, 0, 0, 0]) {
            message[at..at + 4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        }
    }
    Some((source, message))
}
