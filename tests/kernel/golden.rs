//! One table of cases, run by every executor: the pure builder, XDP, tcx. Each row names its RFC clause or its client.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use netboot_common::stats::{Lane, Leave};

use crate::cases::{
    DECLINE, DISCOVER, INFORM, PROXY, RELEASE, REQUEST, UNTAGGED, answered, discover, kind, left, own,
    request, run, sent_to,
};
use crate::check::sound_reply;
use crate::generator::Draft;
use crate::lab::Bench;
use crate::site::{self, OUR_ADDRESS, OUR_MAC, RELAY, address, mac};
use crate::userspace::userspace;

#[test]
fn rfc2131_2_reply_address() {
    let broadcast = ([0xff; 6], [255; 4], 68);
    let guest = mac(site::RESERVED);
    let router = [2, 0, 0, 0, 0, 99];
    for (draft, expected, clause) in [
        (discover(), (guest, own(), 68), "no broadcast bit: to yiaddr, with chaddr as the link address"),
        (discover().field(10, [0x80, 0]), broadcast, "broadcast bit"),
        (discover().relayed().field(28, mac(site::RELAYED)), (router, RELAY, 67), "giaddr"),
        (request().field(12, own()).unicast(own(), 67), (guest, own(), 68), "RENEWING: ciaddr"),
        (request().field(12, own()), (guest, own(), 68), "REBINDING: ciaddr"),
    ] {
        let (reply, _) = answered(draft);
        assert_eq!(sent_to(&reply), expected, "{clause}");
    }
}

#[test]
fn rfc2131_3_nak() {
    let wrong = [10, 77, 0, 99];
    for (draft, to, clause) in [
        (request().option(50, &wrong).option(54, &OUR_ADDRESS), ([255; 4], 68), "SELECTING"),
        (request().option(50, &wrong), ([255; 4], 68), "INIT-REBOOT"),
        (request().field(12, wrong).unicast(wrong, 67), ([255; 4], 68), "RENEWING"),
        (
            request().option(50, &wrong).relayed().field(28, mac(site::RELAYED)),
            (RELAY, 67),
            "through a relay",
        ),
    ] {
        let (reply, message) = answered(draft);
        assert_eq!(kind(&message), MessageType::Nak, "{clause}");
        let (_, address, port) = sent_to(&reply);
        assert_eq!((address, port), to, "{clause}");
        for (code, _) in message.opts().iter() {
            assert!(
                matches!(u8::from(*code), 53 | 54 | 56 | 61 | 82 | 255 | 0),
                "{clause}: option {code:?} in a NAK"
            );
        }
    }
}

#[test]
fn rfc2131_4_offer() {
    let (_, message) = answered(discover().option(55, &[1, 3, 6]).option(57, &[5, 220]));
    assert_eq!(kind(&message), MessageType::Offer);
    assert_eq!(message.yiaddr().octets(), own());
    let options = message.opts();
    assert_eq!(options.get(OptionCode::AddressLeaseTime), Some(&DhcpOption::AddressLeaseTime(3600)));
    assert_eq!(
        options.get(OptionCode::ServerIdentifier),
        Some(&DhcpOption::ServerIdentifier(OUR_ADDRESS.into()))
    );
    assert_eq!(
        options.get(OptionCode::SubnetMask),
        Some(&DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)))
    );
    assert_eq!(options.get(OptionCode::Hostname), Some(&DhcpOption::Hostname("node1".to_owned())));
}

#[test]
fn rfc2131_5_ack_in_all_four_states() {
    for (draft, ciaddr, state) in [
        (request().option(50, &own()).option(54, &OUR_ADDRESS), [0; 4], "SELECTING"),
        (request().option(50, &own()), [0; 4], "INIT-REBOOT"),
        (request().field(12, own()).unicast(own(), 67), own(), "RENEWING"),
        (request().field(12, own()), own(), "REBINDING"),
    ] {
        let (_, message) = answered(draft);
        assert_eq!((kind(&message), message.yiaddr().octets()), (MessageType::Ack, own()), "{state}");
        assert_eq!(message.ciaddr().octets(), ciaddr, "{state}");
    }
}

#[test]
fn rfc2131_6_another_servers_client() {
    left(request().option(50, &own()).option(54, &[10, 77, 0, 2]), Leave::OtherServer);
}

#[test]
fn rfc2131_8_9_10_what_changes_state_is_userspaces() {
    left(
        Draft::new(DECLINE, site::RESERVED, UNTAGGED).option(50, &own()).option(54, &OUR_ADDRESS),
        Leave::Decline,
    );
    let release = Draft::new(RELEASE, site::RESERVED, UNTAGGED).field(12, own()).unicast(own(), 67);
    left(release, Leave::Release);
}

#[test]
fn rfc2131_11_inform() {
    let inform = || Draft::new(INFORM, site::RESERVED, UNTAGGED);
    let (reply, message) = answered(inform().field(12, own()).unicast(own(), 67));
    assert_eq!((kind(&message), message.yiaddr()), (MessageType::Ack, Ipv4Addr::UNSPECIFIED));
    assert_eq!(message.opts().get(OptionCode::AddressLeaseTime), None);
    assert_eq!(sent_to(&reply).1, own());
    left(inform(), Leave::Contradiction);
}

#[test]
fn rfc2131_14_never_larger_than_the_client_takes() {
    // 576 is always allowed (RFC 2131 section 2), so only a long echo comes near the limit.
    let long = [7; 255];
    let draft = || discover().option(61, &long).option(60, b"PXEClient").option(93, &[0, 0]);
    answered(draft().option(57, &1472_u16.to_be_bytes()));
    left(draft().option(57, &576_u16.to_be_bytes()), Leave::TooLong);
    left(draft(), Leave::TooLong);
}

#[test]
fn rfc3046_option_82_comes_back_whole_and_last() {
    let circuit = [1, 4, b'e', b't', b'h', b'7', 2, 2, 0, 9];
    let draft =
        discover().relayed().field(28, mac(site::RELAYED)).option(82, &circuit).option(61, &[0, 1, 2]);
    let (reply, _) = answered(draft);
    let end = reply.iter().rposition(|byte| *byte != 0).expect("a reply is not all zeros");
    assert_eq!(reply[end], 255);
    assert_eq!(&reply[end - circuit.len() - 2..end], [&[82, circuit.len() as u8][..], &circuit].concat());
    left(discover().option(82, &circuit), Leave::UntrustedRelay);
}

#[test]
fn rfc3396_identifiers_in_parts_are_userspaces() {
    left(discover().option(61, &[1, 2, 3]).option(61, &[4, 5, 6]), Leave::LongOption);
}

#[test]
fn rfc4361_a_lease_of_another_identifier_is_not_given() {
    let dynamic = || Draft::new(DISCOVER, site::DYNAMIC, UNTAGGED);
    let by_mac = [&[1][..], &mac(site::DYNAMIC)].concat();
    answered(dynamic());
    answered(dynamic().option(61, &by_mac));
    left(dynamic().option(61, &[255, 0, 0, 0, 1, 0, 1]), Leave::OtherClient);
    left(Draft::new(DISCOVER, site::STALE, UNTAGGED), Leave::Stale);
}

#[test]
fn a_lease_that_can_not_be_promised_refuses_nothing_either() {
    // Its client may have been given another one since.
    let ask = |address: [u8; 4]| Draft::new(REQUEST, site::STALE, UNTAGGED).option(50, &address);
    left(ask(address(UNTAGGED, site::STALE)), Leave::Stale);
    left(ask([10, 77, 0, 99]), Leave::Stale);
}

#[test]
fn a_lease_that_its_client_gives_back_is_promised_no_more_before_userspace_hears_of_it() {
    let bench = Bench::get();
    let draft = |kind, number| Draft::new(kind, number, UNTAGGED);
    for lane in Lane::KERNEL {
        for (number, ends) in [(site::DYNAMIC, true), (site::RESERVED, false)] {
            let ip = address(UNTAGGED, number);
            let release = draft(RELEASE, number).field(12, ip).option(54, &OUR_ADDRESS).frame();
            let decline = draft(DECLINE, number).option(50, &ip).option(54, &OUR_ADDRESS).frame();
            for frame in [release, decline] {
                let asked = || bench.run(lane, &draft(DISCOVER, number).frame());
                assert!(asked().is_ok());
                bench.run_for_good(lane, &frame);
                assert_eq!(asked().err(), ends.then_some(Leave::Stale), "{lane:?} {number}");
                bench.restore(&frame);
                assert!(asked().is_ok());
            }
        }
    }
}

#[test]
fn rfc4578_boot_files_by_class() {
    let http = b"HTTPClient:Arch:00016:UNDI:003000";
    for (vendor, arch, user_class, file) in [
        (&b"PXEClient"[..], 0, None, "undionly.kpxe"),
        (b"PXEClient", 7, None, "snponly.efi"),
        (b"PXEClient", 9, None, "snponly.efi"),
        (b"PXEClient", 6, None, "ipxe32.efi"),
        (b"PXEClient", 11, None, "snponly-arm64.efi"),
        (b"PXEClient", 10, None, ""),
        (http, 16, None, "http://10.77.0.1:8080/loaders/snponly.efi"),
        (b"PXEClient", 0, Some(&b"iPXE"[..]), "http://10.77.0.1:8080/boot.ipxe"),
        (b"PXEClient", 7, Some(b"\x04iPXE"), "http://10.77.0.1:8080/boot.ipxe"),
        (b"udhcp 1.35.0", 0, None, ""),
    ] {
        let draft = discover().option(60, vendor).option(93, &[0, arch]).option(97, &[0; 17]);
        let draft = match user_class {
            Some(user_class) => draft.option(77, user_class).option(175, &[19, 1, 1]),
            None => draft,
        };
        let (_, message) = answered(draft);
        let sent =
            message.fname().map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
        assert_eq!(sent.unwrap_or_default(), file, "{vendor:?} {arch} {user_class:?}");
    }
}

#[test]
fn rfc4578_3_uuid_is_echoed_to_firmware() {
    let uuid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    let (_, message) = answered(discover().option(60, b"PXEClient").option(93, &[0, 7]).option(97, &uuid));
    assert!(message.opts().get(OptionCode::ClientMachineIdentifier).is_some());
    let (_, message) = answered(discover().option(60, b"PXEClient").option(93, &[0, 7]));
    assert!(message.opts().get(OptionCode::ClientMachineIdentifier).is_none(), "a missing option 97 is fine");
}

#[test]
fn an_ipxe_without_http_gets_a_full_one_first() {
    let (_, message) = answered(discover().option(60, b"PXEClient").option(93, &[0, 0]).option(77, b"iPXE"));
    let file = message.fname().expect("a boot file");
    assert!(file.starts_with(b"undionly.kpxe"));
}

#[test]
fn pxe_1_proxy_offers_no_address_and_only_to_those_who_boot() {
    let discover = || Draft::new(DISCOVER, site::RESERVED, PROXY);
    let (reply, message) = answered(discover().option(60, b"PXEClient").option(93, &[0, 0]));
    assert_eq!(message.yiaddr(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(sent_to(&reply), ([0xff; 6], [255; 4], 68));
    assert_eq!(
        message.opts().get(OptionCode::ClassIdentifier),
        Some(&DhcpOption::ClassIdentifier(b"PXEClient".to_vec()))
    );
    left(discover(), Leave::NotPxe);
    left(Draft::new(REQUEST, site::RESERVED, PROXY).option(60, b"PXEClient"), Leave::NotProxied);
    let ignored = Draft::new(DISCOVER, site::IGNORED, PROXY).option(60, b"PXEClient").option(93, &[0, 0]);
    left(ignored, Leave::Ignored);
}

#[test]
fn pxe_3_port_4011_answers_the_port_that_asked() {
    let own = address(PROXY, site::RESERVED);
    for port in [68, 4011] {
        let draft = Draft::new(REQUEST, site::RESERVED, PROXY).option(60, b"PXEClient").option(93, &[0, 7]);
        let mut draft = draft.unicast(own, 4011).field(12, own);
        draft.ports[0] = port;
        let (reply, message) = answered(draft);
        assert_eq!(kind(&message), MessageType::Ack);
        assert_eq!(sent_to(&reply), (mac(site::RESERVED), own, port));
        assert!(message.fname().is_some_and(|name| name.starts_with(b"snponly.efi")));
        assert_eq!(message.opts().get(OptionCode::VendorExtensions), None, "no option 43 to EFI");
    }
}

/// Option 43 of a reply, its value.
fn option_43(message: &Message) -> Option<Vec<u8>> {
    match message.opts().get(OptionCode::VendorExtensions) {
        Some(DhcpOption::VendorExtensions(value)) => Some(value.clone()),
        _ => None,
    }
}

/// A BIOS ROM as it asks: option 60 whole, the list of 55 with 43 and the vendor range, 57, 93, 94 and 97.
fn rom(kind: u8, vlan: [u16; 2]) -> Draft {
    let vendor = b"PXEClient:Arch:00000:UNDI:002001";
    let list =
        [1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 43, 54, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135];
    let draft = Draft::new(kind, site::RESERVED, vlan).option(55, &list).option(57, &1260_u16.to_be_bytes());
    let uuid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    draft.option(97, &uuid).option(93, &[0, 0]).option(94, &[1, 2, 1]).option(60, vendor)
}

/// The same client, once it has an address: to our port 4011.
fn rom_at_4011(vlan: [u16; 2]) -> Draft {
    let own = address(vlan, site::RESERVED);
    let mut draft = rom(REQUEST, vlan).unicast(own, 4011).field(12, own);
    (draft.ports[0], draft.destination) = (4011, site::our_address(vlan));
    draft
}

#[test]
fn pxe_2_1_bios_clients_get_the_menu_and_nobody_else() {
    for vlan in [[77, 0], PROXY] {
        let [_, _, third, _] = site::our_address(vlan);
        let menu = [
            &[6, 1, 7][..],
            &[8, 14, 0x80, 1, 1, 10, 77, third, 1, 0x80, 2, 1, 10, 77, third, 1],
            b"\x09\x19\0\0\x04Disk\x80\x01\x07Install\x80\x02\x05Linux",
            b"\x0a\x03\x03F8\xff",
        ];
        let (_, message) = answered(rom(DISCOVER, vlan));
        assert_eq!(option_43(&message), Some(menu.concat()), "{vlan:?}");
        let class = message.opts().get(OptionCode::ClassIdentifier);
        assert_eq!(class, Some(&DhcpOption::ClassIdentifier(b"PXEClient".to_vec())), "{vlan:?}");
        if vlan != PROXY {
            let own = address(vlan, site::RESERVED);
            let ours = site::our_address(vlan);
            let (_, ack) = answered(rom(REQUEST, vlan).option(50, &own).option(54, &ours));
            assert_eq!(option_43(&ack), Some(menu.concat()), "the ACK, too");
        }
        // Who asks port 4011 before a choice is told the menu.
        let (_, message) = answered(rom_at_4011(vlan));
        assert_eq!(option_43(&message), Some(menu.concat()), "{vlan:?}");

        let other = |draft: Draft| option_43(&answered(draft).1);
        let efi = |kind| Draft::new(kind, site::RESERVED, vlan).option(60, b"PXEClient").option(93, &[0, 7]);
        assert_eq!(other(efi(DISCOVER)), None, "EFI ignores offers that have option 43");
        let ipxe = rom(DISCOVER, vlan).option(77, b"iPXE").option(175, &[19, 1, 1]);
        let at_once = (vlan == PROXY).then(|| vec![6, 1, 8, 255]);
        assert_eq!(other(ipxe), at_once, "iPXE");
        if vlan != PROXY {
            assert_eq!(other(Draft::new(DISCOVER, site::RESERVED, vlan)), None, "no PXE client");
        }
    }
    let (_, message) = answered(rom(DISCOVER, UNTAGGED));
    assert_eq!(option_43(&message), Some(vec![6, 1, 8, 255]), "no menu is configured there");
}

#[test]
fn pxe_2_1_a_choice_is_answered_with_its_boot_file_and_given_back() {
    for vlan in [[77, 0], PROXY] {
        let own = address(vlan, site::RESERVED);
        for (kind, file) in [(1, &b"undionly.kpxe\0"[..]), (2, b"lpxelinux.0\0")] {
            let item = [71, 4, 0x80, kind, 0, 0, 255];
            let frame = rom_at_4011(vlan).option(43, &item).frame();
            // The kernel's lanes know no items, and say so.
            assert_eq!(run(&frame).map(|_| "a reply"), Err(Leave::BootItem), "{vlan:?}");
            let reply = userspace(&frame).expect("userspace answers");
            let message = sound_reply(&reply, &frame);
            assert_eq!(kind_of_4011(&message), (MessageType::Ack, Ipv4Addr::UNSPECIFIED, own.into()));
            assert!(message.fname().is_some_and(|name| name.starts_with(file)), "{vlan:?} {kind}");
            assert_eq!(message.siaddr().octets(), site::our_address(vlan));
            assert_eq!(option_43(&message), Some(item.to_vec()));
            assert!(message.opts().get(OptionCode::ClientMachineIdentifier).is_some());
            assert_eq!(sent_to(&reply), (mac(site::RESERVED), own, 4011));
        }
        // Another server's item, a second layer, credentials: silence.
        for item in [[71, 4, 0x80, 3, 0, 0, 255], [71, 4, 0x80, 1, 0, 1, 255], [71, 4, 0x80, 1, 0x80, 0, 255]]
        {
            let frame = rom_at_4011(vlan).option(43, &item).frame();
            assert_eq!(userspace(&frame).map(|_| "a reply"), Err(Leave::BootItem), "{item:?}");
        }
        // The local disk is nobody's to be asked for: whoever does so is told the menu.
        for option in [&[71, 4, 0, 0, 0, 0, 255][..], &[6, 1, 8, 255]] {
            let frame = rom_at_4011(vlan).option(43, option).frame();
            let message = sound_reply(&userspace(&frame).expect("userspace answers"), &frame);
            assert!(option_43(&message).is_some_and(|menu| menu.starts_with(&[6, 1, 7])), "{option:?}");
        }
    }
}

fn kind_of_4011(message: &Message) -> (MessageType, Ipv4Addr, Ipv4Addr) {
    (kind(message), message.yiaddr(), message.ciaddr())
}

#[test]
fn vlan_tags_stay_as_they_are() {
    for vlan in [[77, 0], [100, 88]] {
        let frame = Draft::new(DISCOVER, site::RESERVED, vlan).frame();
        let reply = run(&frame).expect("the VLAN is served");
        let tags = if vlan[1] == 0 { 12..18 } else { 12..22 };
        assert_eq!(reply[tags.clone()], frame[tags]);
        assert_eq!(reply[6..12], OUR_MAC);
    }
    left(Draft::new(DISCOVER, site::RESERVED, [55, 0]), Leave::NoInterface);
}

#[test]
fn what_is_not_for_us_is_left() {
    let stranger = Draft::new(DISCOVER, 200, UNTAGGED);
    left(stranger, Leave::UnknownHost);
    left(Draft::new(DISCOVER, site::NO_ADDRESS, UNTAGGED), Leave::NoAddress);
    left(Draft::new(DISCOVER, site::RELAYED, UNTAGGED), Leave::NoTemplate);
    let mut to_another = discover();
    to_another.destination = [10, 77, 0, 9];
    left(to_another, Leave::NotForUs);
    let mut other_mac = discover();
    other_mac.destination_mac = [2, 0, 0, 0, 0, 7];
    left(other_mac, Leave::NotForUs);
    let mut ours = discover();
    ours.source_mac = OUR_MAC;
    left(ours, Leave::Ours);
    let mut dns = discover();
    dns.ports[1] = 53;
    left(dns, Leave::NotDhcp);
}

/// What real firmware and clients sent: every request is read, and answered as its class deserves. `uefi-pxe6` is DHCPv6's.
#[test]
fn captured_clients_are_answered() {
    let rows: &[(&str, &[&str])] = &[
        ("bios-ipxe-rom-e1000-tftp", &["offer ipxe-bios", "nak"]),
        ("bios-ipxe-rom-virtio", &["offer ipxe-bios", "nak"]),
        ("bios-undionly-chain", &["offer bios", "nak", "offer ipxe-bios", "nak"]),
        (
            "linux-clients",
            // udhcpc, which called itself PXEClient; dhclient, dhcpcd, networkd, nmap.
            &[
                "offer bios",
                "nak",
                "offer plain",
                "nak",
                "offer plain",
                "nak",
                "offer plain",
                "nak",
                "left: Release",
                "offer plain",
            ],
        ),
        ("proxydhcp-bios", &["offer ipxe-bios", "nak", "left: NotForUs"]),
        (
            "proxydhcp-uefi",
            // What goes to the proxy's port 4011 is for the proxy's address; and its answer goes to that port, too.
            &[
                "offer efi-x64",
                "nak",
                "left: NotForUs",
                "left: NotRequest",
                "offer ipxe-efi-x64",
                "nak",
                "left: NotForUs",
            ],
        ),
        ("uefi-arm64-pxe4", &["offer efi-arm64", "nak"]),
        ("uefi-http4", &["offer efi-x64-http", "nak", "offer ipxe-efi-x64", "nak"]),
        ("uefi-pxe4", &["offer efi-x64", "nak", "offer ipxe-efi-x64", "nak"]),
    ];
    let folder = format!("{}/../tests/golden/captures", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).expect("the captures are in the tree");
    let mut files: Vec<_> =
        files.flatten().filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect();
    files.sort();
    let names: Vec<_> = rows.iter().map(|(file, _)| *file).chain(["uefi-pxe6"]).collect();
    assert_eq!(files, names, "each capture is read by somebody");
    for (file, expected) in rows {
        let bytes = std::fs::read(format!("{folder}/{file}.pcap"));
        let frames = pcap(&bytes.expect("the captures are in the tree"));
        let to_server = |frame: &&Vec<u8>| {
            frame.len() > 42 && [[0, 67], [15, 171]].iter().any(|port| frame[36..38] == *port)
        };
        let seen: Vec<_> =
            frames.iter().filter(to_server).map(|frame| made_of(&of_the_guest(frame))).collect();
        assert_eq!(seen, *expected, "{file}");
    }
}

/// The same from the machine that has a reservation: those of `linux-clients` have another MAC.
fn of_the_guest(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[6..12].copy_from_slice(&mac(site::RESERVED));
    frame[70..76].copy_from_slice(&mac(site::RESERVED));
    frame
}

fn made_of(frame: &[u8]) -> String {
    match run(frame) {
        Err(leave) => format!("left: {leave:?}"),
        Ok(reply) => match kind(&sound_reply(&reply, frame)) {
            MessageType::Nak => "nak".to_owned(),
            kind => format!("{} {}", format!("{kind:?}").to_lowercase(), class(frame)),
        },
    }
}

fn class(frame: &[u8]) -> &'static str {
    let packet =
        netboot_common::packet::Slice { bytes: frame, offloaded_vlan: 0, ifindex: crate::lab::IFINDEX };
    let request = netboot_common::request::Request::read(&packet, netboot_common::request::OPTIONS_FAST);
    request.expect("a captured request can be read").class().name()
}

/// The frames of a little-endian pcap file of Ethernet.
fn pcap(bytes: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(bytes[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    let mut frames = Vec::new();
    let mut rest = &bytes[24..];
    while let Some((header, more)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        frames.push(more[..length].to_vec());
        rest = &more[length..];
    }
    frames
}
