//! The clauses of CONFORMANCE.md, section 8, one test each and named after it, through all lanes. Those that only userspace has to
//! do with are in `dhcp/machine/tests.rs`; the first ones of all are in `golden.rs`.

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use dhcproto::{Decodable as _, Decoder};
use netboot_common::stats::{Lane, Leave, Note};

use crate::cases::{
    DISCOVER, INFORM, NARROW, PROXY, REQUEST, UNTAGGED, answered, discover, file, kind, left, message,
    option, options, own, passed_up, request, run, sent_to, unanswered,
};
use crate::generator::Draft;
use crate::lab::Bench;
use crate::site::{self, OUR_ADDRESS, TRUSTED, address, mac, our_address};
use crate::userspace::{userspace, userspace_noted};

fn inform() -> Draft {
    Draft::new(INFORM, site::RESERVED, UNTAGGED).field(12, own()).unicast(own(), 67)
}

/// One request for each kind of reply: OFFER, ACK, NAK, and the ACK of an INFORM.
fn each_kind() -> [Draft; 4] {
    let request = |ip: &[u8]| request().option(50, ip).option(54, &OUR_ADDRESS);
    [discover(), request(&own()), request(&[10, 77, 0, 99]), inform()]
}

/// The same, through a relay agent.
fn each_kind_relayed() -> [Draft; 4] {
    let ip = address(UNTAGGED, site::RELAYED);
    each_kind().map(|draft| {
        let mut draft = draft.relayed().field(28, mac(site::RELAYED));
        // The address that a REQUEST asks for, and that an INFORM has.
        if let Some(at) = draft.options.windows(6).position(|option| option[2..] == own()) {
            draft.options[at + 2..at + 6].copy_from_slice(&ip);
        }
        if draft.fixed[12..16] == own() { draft.field(12, ip) } else { draft }
    })
}

fn pxe(draft: Draft, arch: u16) -> Draft {
    draft.option(60, b"PXEClient:Arch:00000:UNDI:002001").option(93, &arch.to_be_bytes())
}

fn http(draft: Draft, arch: u16) -> Draft {
    draft.option(60, b"HTTPClient:Arch:00016:UNDI:003001").option(93, &arch.to_be_bytes())
}

fn proxied(message_type: u8) -> Draft {
    Draft::new(message_type, site::RESERVED, PROXY)
}

/// To port 4011 of the server of `vlan`.
fn to_4011(message_type: u8, vlan: [u16; 2]) -> Draft {
    let own = address(vlan, site::RESERVED);
    Draft::new(message_type, site::RESERVED, vlan).unicast(own, 4011).field(12, own)
}

#[test]
fn rfc2131_1_reply_copies_what_is_the_clients_and_zeroes_hops_and_secs() {
    for draft in each_kind().into_iter().chain(each_kind_relayed()) {
        let hops = if draft.fixed[24..28] == [0; 4] { 0 } else { 7 };
        let draft =
            draft.field(3, [hops]).field(4, [0xca, 0xfe, 0x12, 0x34]).field(8, [0x12, 0x34, 0x80, 0x01]);
        let asked = draft.fixed;
        let (reply, _) = answered(draft);
        let reply = message(&reply);
        assert_eq!(reply[..4], [2, 1, 6, 0], "op, htype, hlen, hops");
        assert_eq!(reply[4..8], asked[4..8], "xid");
        assert_eq!(reply[8..12], [0, 0, 0x80, 0x01], "secs, flags");
        assert_eq!(reply[24..44], asked[24..44], "giaddr, chaddr");
    }
}

#[test]
fn rfc2131_4_and_5_replies_never_carry_what_only_clients_say() {
    for draft in each_kind().into_iter().chain(each_kind_relayed()) {
        let (reply, _) = answered(draft.option(55, &[1, 3, 50, 55, 57]).option(57, &[5, 220]));
        for (code, _) in options(&reply) {
            assert!(![50, 55, 57].contains(&code), "option {code}");
        }
    }
}

#[test]
fn rfc2131_5_the_ack_says_what_the_offer_said() {
    let [discover, request, ..] = each_kind();
    let (offer, _) = answered(discover.option(61, &[1, 2, 3]));
    let (ack, _) = answered(request.option(61, &[1, 2, 3]));
    let but_type = |reply| options(reply).into_iter().filter(|(code, _)| *code != 53).collect::<Vec<_>>();
    assert_eq!(but_type(&offer), but_type(&ack));
    assert_eq!(message(&offer)[16..236], message(&ack)[16..236], "yiaddr to file");
}

#[test]
fn rfc2131_7_init_reboot_on_the_wrong_network_is_a_nak_and_without_a_record_is_left() {
    let (_, nak) = answered(request().option(50, &[192, 168, 1, 5]));
    assert_eq!(kind(&nak), MessageType::Nak);
    left(Draft::new(REQUEST, 200, UNTAGGED).option(50, &[192, 168, 1, 5]), Leave::UnknownHost);
}

#[test]
fn rfc2131_8_of_unknown_clients_nothing_is_renewed() {
    let ip = [10, 77, 0, 99];
    let stranger = || Draft::new(REQUEST, 200, UNTAGGED).field(12, ip);
    left(stranger().unicast(ip, 67), Leave::UnknownHost);
    left(stranger(), Leave::UnknownHost);
}

#[test]
fn rfc2131_13_options_in_sname_and_file_are_read_by_userspace() {
    let mut asked = [0; 128];
    asked[..6].copy_from_slice(&[50, 4, own()[0], own()[1], own()[2], own()[3]]);
    asked[6] = 255;
    let (_, ack) = passed_up(request().option(52, &[1]).field(108, asked), Leave::Overload);
    assert_eq!((kind(&ack), ack.yiaddr().octets()), (MessageType::Ack, own()));
    // Whatever its value: 0, 3 and 4 say nothing that is there.
    for value in [0, 1, 2, 3, 4, 255] {
        passed_up(discover().option(52, &[value]), Leave::Overload);
    }
}

#[test]
fn rfc2131_14_no_datagram_is_larger_than_the_interface_takes() {
    let long = |vlan| {
        Draft::new(DISCOVER, site::RESERVED, vlan).option(61, &[7; 255]).option(57, &1472_u16.to_be_bytes())
    };
    let (reply, _) = answered(long(UNTAGGED));
    assert!(reply.len() > 14 + 576);
    unanswered(long(NARROW), Leave::TooLong);
    let (reply, _) =
        answered(Draft::new(DISCOVER, site::RESERVED, NARROW).option(57, &1472_u16.to_be_bytes()));
    assert!(reply.len() <= 18 + 576);
}

#[test]
fn rfc2131_15_without_the_cookie_it_is_bootp_which_is_userspaces() {
    for (cookie, what) in [([0; 4], "none"), ([99, 130, 83, 98], "a wrong one"), ([255; 4], "an end mark")] {
        let frame = discover().field(236, cookie).frame();
        assert_eq!(run(&frame).map(|_| "a reply"), Err(Leave::NoCookie), "{what}");
        let reply = userspace(&frame).expect("a reservation is a BOOTP client's, too");
        let reply = dhcproto::v4::Message::decode(&mut Decoder::new(message(&reply))).expect("a BOOTP reply");
        assert_eq!(reply.yiaddr().octets(), own());
        assert!(reply.opts().msg_type().is_none());
    }
    let stranger = Draft::new(DISCOVER, 200, UNTAGGED).field(236, [0; 4]).frame();
    assert_eq!(userspace(&stranger).map(|_| "a reply"), Err(Leave::UnknownIgnored));
}

#[test]
fn rfc2132_1_pad_and_end_have_no_length_and_unknown_options_are_skipped() {
    let mut draft = discover();
    draft.options = vec![0, 53, 1, 1, 0, 0, 200, 3, 61, 9, 9, 224, 0, 61, 2, 5, 6, 0, 255, 61, 9, 60];
    let (reply, offer) = answered(draft);
    assert_eq!(kind(&offer), MessageType::Offer);
    assert_eq!(option(&reply, 61), Some(&[5, 6][..]), "what comes behind the end mark is none");
}

#[test]
fn rfc2132_2_fixed_options_of_a_wrong_length_are_as_good_as_absent() {
    for (code, value) in
        [(57, &[0][..]), (57, &[0, 1, 0]), (50, &[10, 77, 0]), (54, &[10, 77, 0, 2, 0]), (52, &[1, 1])]
    {
        let (_, offer) = answered(discover().option(code, value));
        assert_eq!(offer.yiaddr().octets(), own(), "{code} {value:?}");
    }
    // Of another server, if it had a length that it can have.
    let (_, ack) = answered(request().option(50, &own()).option(54, &[10, 77, 0, 2, 0]));
    assert_eq!(kind(&ack), MessageType::Ack);
    unanswered(request().option(50, &own()[..3]), Leave::Contradiction);
}

#[test]
fn rfc2132_3_a_boot_files_url_has_no_nul_behind_it() {
    let (reply, _) = answered(http(discover(), 16));
    let url = option(&reply, 67).expect("a URL");
    assert!(url.ends_with(b".efi"), "{url:?}");
    assert_eq!(file(&reply).as_bytes(), url);
    // And what clients end with one is what it is without.
    let (reply, _) = answered(discover().option(60, b"PXEClient\0").option(93, &[0, 0]));
    assert_eq!(file(&reply), "undionly.kpxe");
}

#[test]
fn rfc2132_4_option_43_ends_with_255_inside_its_length() {
    // The proxy's network has a menu, which iPXE does not get.
    let ipxe = |draft: Draft| pxe(draft, 0).option(77, b"iPXE").option(175, &[19, 1, 1]);
    for draft in [pxe(discover(), 0), ipxe(proxied(DISCOVER)), ipxe(to_4011(REQUEST, PROXY))] {
        let (reply, _) = answered(draft);
        let sub_options = option(&reply, 43).expect("option 43 for BIOS");
        assert_eq!(sub_options.iter().position(|byte| *byte == 255), Some(sub_options.len() - 1));
    }
}

#[test]
fn rfc2132_5_a_client_identifier_shorter_than_2_is_none() {
    for short in [&[][..], &[9]] {
        // The lease is that of the identifier 1 and the MAC.
        let (reply, _) = answered(Draft::new(DISCOVER, site::DYNAMIC, UNTAGGED).option(61, short));
        assert_eq!(option(&reply, 61), None);
    }
    left(Draft::new(DISCOVER, site::DYNAMIC, UNTAGGED).option(61, &[9, 9]), Leave::OtherClient);
}

#[test]
fn rfc6842_the_client_identifier_comes_back_in_every_reply() {
    let identifier = [255, 0, 0, 0, 1, 0, 2, 0xde, 0xad];
    for draft in each_kind().into_iter().chain(each_kind_relayed()) {
        let (reply, _) = answered(draft.clone().option(61, &identifier));
        assert_eq!(option(&reply, 61), Some(&identifier[..]));
        let (reply, _) = answered(draft);
        assert_eq!(option(&reply, 61), None);
    }
}

#[test]
fn rfc3004_1_the_user_class_is_a_list_or_ipxes_bare_string() {
    const SCRIPT: &str = "http://10.77.0.1:8080/boot.ipxe";
    for (class, expected, what) in [
        (&b"iPXE"[..], SCRIPT, "a bare string"),
        (b"\x04iPXE", SCRIPT, "a list of one"),
        (b"\x04iPXE\x03lab", SCRIPT, "the first of a list"),
        (b"\x07netboot", SCRIPT, "our own"),
        (b"netboot", SCRIPT, "our own, bare"),
        (b"\x09iPXE", "undionly.kpxe", "an entry past the end"),
        (b"iPXF", "undionly.kpxe", "another bare string"),
        (b"\x04iPXF", "undionly.kpxe", "another class"),
        (b"\0", "undionly.kpxe", "an empty entry"),
    ] {
        let draft = pxe(discover(), 0).option(77, class).option(175, &[19, 1, 1]);
        assert_eq!(file(&answered(draft).0), expected, "{what}");
    }
}

#[test]
fn rfc3046_1_option_82_comes_back_whole_in_every_reply_to_a_relay() {
    for length in [1, 2, 9, 100] {
        let information: Vec<u8> = (0..length).map(|i| i ^ 0x55).collect();
        for draft in each_kind_relayed() {
            let (reply, _) = answered(draft.option(82, &information));
            assert_eq!(option(&reply, 82), Some(&information[..]));
        }
    }
}

#[test]
fn rfc3046_2_option_82_is_the_last_before_the_end() {
    for draft in each_kind_relayed() {
        // First in the request, last in the reply.
        let first = Draft { options: [&[82, 3, 1, 1, 7][..], &draft.options].concat(), ..draft };
        let (reply, _) = answered(first.option(61, &[9; 20]).option(97, &[0; 17]));
        let (code, value) = *options(&reply).last().expect("options");
        assert_eq!((code, value), (82, &[1, 1, 7][..]));
    }
}

#[test]
fn rfc3046_3_option_82_is_never_in_sname_or_file() {
    for draft in each_kind_relayed() {
        let draft = pxe(draft, 0).option(57, &1472_u16.to_be_bytes());
        let (without, _) = answered(draft.clone());
        let (with, _) = answered(draft.option(82, &[0xbb; 200]));
        assert_eq!(message(&with)[44..236], message(&without)[44..236]);
        assert_eq!(option(&with, 52), None, "no overload");
    }
}

#[test]
fn rfc3046_4_option_82_without_room_is_left_out_and_counted() {
    for draft in each_kind_relayed().into_iter().take(2) {
        // Both fit alone, and not together, whatever the client takes; and into 576 bytes neither does.
        let both =
            draft.clone().option(61, &[7; 255]).option(82, &[8; 255]).option(57, &1472_u16.to_be_bytes());
        for draft in [both, draft.option(82, &[8; 255])] {
            let frame = draft.frame();
            assert_eq!(run(&frame).map(|_| "a reply"), Err(Leave::TooLong));
            let (reply, notes) = userspace_noted(&frame);
            let reply = reply.expect("an answer");
            crate::check::sound_checksums(&reply);
            assert_eq!((option(&reply, 82), notes), (None, vec![Note::WithoutRelayAgent]));
            assert_eq!(option(&reply, 61).is_some(), frame.windows(9).any(|bytes| bytes == [7; 9]));
        }
    }
}

#[test]
fn rfc3046_5_option_82_of_a_client_that_no_relay_agent_spoke_for_is_dropped_and_counted() {
    for draft in each_kind() {
        unanswered(draft.option(82, &[1, 1, 7]), Leave::UntrustedRelay);
    }
    unanswered(pxe(proxied(DISCOVER), 0).option(82, &[1, 1, 7]), Leave::UntrustedRelay);
    answered(discover().option(82, &[]));
    // Where the switches put it in, and the operator says so, it is as good as a relay agent's.
    let snooped = Draft::new(DISCOVER, site::RESERVED, TRUSTED).option(82, &[1, 1, 7]).option(61, &[1, 2, 3]);
    let (reply, _) = answered(snooped);
    assert_eq!(options(&reply).last(), Some(&(82, &[1, 1, 7][..])));
    assert_eq!(sent_to(&reply), (mac(site::RESERVED), address(TRUSTED, site::RESERVED), 68));
}

#[test]
fn rfc3396_2_parts_are_userspaces_to_join() {
    let (reply, _) =
        passed_up(discover().option(61, &[1, 2]).option(12, b"x").option(61, &[3]), Leave::LongOption);
    assert_eq!(option(&reply, 61), Some(&[1, 2, 3][..]));
    // A single byte is an identifier no more than its half of one is.
    let (reply, _) = passed_up(discover().option(61, &[1]).option(61, &[3]), Leave::LongOption);
    assert_eq!(option(&reply, 61), Some(&[1, 3][..]));
    let halves = discover().option(60, b"PXE").option(60, b"Client").option(93, &[0]).option(93, &[7]);
    let (reply, _) = passed_up(halves, Leave::LongOption);
    assert_eq!(file(&reply), "snponly.efi");
}

#[test]
fn rfc4361_2_firmware_and_system_with_different_identifiers_share_a_reservation() {
    for identifier in
        [None, Some(&[0, 1, 2, 3][..]), Some(&[255, 0, 0, 0, 1, 0, 2]), Some(&[1, 2, 3, 4, 5, 6, 7])]
    {
        let draft = identifier.map_or(discover(), |id| discover().option(61, id));
        assert_eq!(answered(draft).1.yiaddr().octets(), own(), "{identifier:?}");
    }
}

#[test]
fn rfc4578_1_the_first_known_architecture_wins_and_odd_lists_are_ignored() {
    for (list, expected) in [
        (&[0, 99, 0, 7][..], "snponly.efi"),
        (&[0, 7, 0, 0], "snponly.efi"),
        (&[0, 99, 0, 98, 0, 97, 0, 11], "snponly-arm64.efi"),
        (&[0, 99, 0, 98], ""),
        (&[7, 0], ""),
        // As if there were no list: an old ROM's, which is BIOS.
        (&[0], "undionly.kpxe"),
        (&[0, 7, 0], "undionly.kpxe"),
        (&[], "undionly.kpxe"),
    ] {
        let (reply, _) = answered(discover().option(60, b"PXEClient").option(93, list));
        assert_eq!(file(&reply), expected, "{list:?}");
    }
}

#[test]
fn rfc4578_2_the_network_interface_is_three_bytes_and_others_are_ignored() {
    let (expected, _) = answered(pxe(discover(), 7));
    for interface in [&[1, 3, 16][..], &[1, 2, 1], &[], &[1], &[1, 3], &[1, 3, 16, 0]] {
        assert_eq!(answered(pxe(discover(), 7).option(94, interface)).0, expected, "{interface:?}");
    }
}

#[test]
fn rfc4578_3_the_uuid_is_echoed_in_pxe_replies_if_it_is_one() {
    let uuid: Vec<u8> = (0..17).collect();
    let port_4011 = to_4011(REQUEST, PROXY);
    for draft in [discover(), request().option(50, &own()), proxied(DISCOVER), port_4011] {
        let (reply, _) = answered(pxe(draft.clone(), 7).option(97, &uuid));
        assert_eq!(option(&reply, 97), Some(&uuid[..]));
        for wrong in [&uuid[1..], &[&[1][..], &uuid[1..]].concat(), &[&uuid[..], &[0]].concat()] {
            let (reply, _) = answered(pxe(draft.clone(), 7).option(97, wrong));
            assert_eq!(option(&reply, 97), None, "{wrong:?}");
        }
    }
    assert_eq!(option(&answered(discover().option(97, &uuid)).0, 97), None, "not a PXE reply");
}

/// The types of the IANA list that boot by PXE, and the files of those that we have one for.
const PXE_TYPES: [(u16, &str); 22] = [
    (0, "undionly.kpxe"),
    (1, ""),
    (2, ""),
    (3, ""),
    (4, ""),
    (5, ""),
    (6, "ipxe32.efi"),
    (7, "snponly.efi"),
    (8, ""),
    (9, "snponly.efi"),
    (10, ""),
    (11, "snponly-arm64.efi"),
    (12, ""),
    (13, ""),
    (14, ""),
    (20, ""),
    (22, ""),
    (25, ""),
    (27, ""),
    (29, ""),
    (31, ""),
    (37, ""),
];

/// Those that boot by HTTP.
const HTTP_TYPES: [(u16, &str); 11] = [
    (15, "http://10.77.0.1:8080/loaders/ipxe32.efi"),
    (16, "http://10.77.0.1:8080/loaders/snponly.efi"),
    (17, ""),
    (18, ""),
    (19, "http://10.77.0.1:8080/loaders/snponly-arm64.efi"),
    (21, ""),
    (23, ""),
    (24, ""),
    (26, ""),
    (28, ""),
    (30, ""),
];

#[test]
fn rfc4578_4_architectures_of_the_iana_list() {
    for (arch, expected) in PXE_TYPES {
        assert_eq!(file(&answered(pxe(discover(), arch)).0), expected, "{arch}");
    }
}

#[test]
fn rfc4578_5_an_unknown_architecture_gets_no_boot_file_and_is_counted() {
    let [offer, ack, _, inform] = each_kind();
    for draft in [pxe(offer, 10), pxe(ack, 27), pxe(inform, 99), http(discover(), 18)] {
        let (reply, message) = answered(draft.clone());
        assert_eq!((file(&reply), message.siaddr().octets()), ("", [0; 4]));
        assert_eq!((option(&reply, 60), option(&reply, 67)), (None, None));
        let bench = Bench::get();
        for lane in Lane::KERNEL {
            assert_eq!(bench.run_noted(lane, &draft.frame()).1, [Note::WithoutLoader], "{}", lane.name());
        }
        assert_eq!(userspace_noted(&draft.frame()).1, [Note::WithoutLoader]);
    }
    let known = pxe(discover(), 7).frame();
    assert_eq!(Bench::get().run_noted(Lane::Xdp, &known).1, []);
    // A proxy has nothing to say to it.
    unanswered(pxe(proxied(DISCOVER), 10), Leave::NoLoader);
    unanswered(pxe(to_4011(REQUEST, PROXY), 10), Leave::NoLoader);
}

#[test]
fn pxe_1_a_proxys_offer_says_who_and_what_and_gives_nothing() {
    for (arch, boot) in PXE_TYPES.into_iter().filter(|(_, file)| !file.is_empty()) {
        let (reply, offer) = answered(pxe(proxied(DISCOVER), arch));
        assert_eq!((kind(&offer), offer.yiaddr().octets()), (MessageType::Offer, [0; 4]));
        assert_eq!(
            (option(&reply, 60), option(&reply, 54)),
            (Some(&b"PXEClient"[..]), Some(&our_address(PROXY)[..]))
        );
        // What the proxy's network sets for BIOS clients goes before what we have for them.
        let boot = if arch == 0 { "memtest.0" } else { boot };
        assert_eq!((file(&reply), offer.siaddr().octets()), (boot, our_address(PROXY)));
        for code in [51, 1, 3, 6] {
            assert_eq!(option(&reply, code), None, "{code} is the DHCP server's");
        }
    }
}

#[test]
fn pxe_2_a_dhcp_server_that_shares_the_boot_servers_host_says_so_and_4011_answers() {
    for (arch, boot) in PXE_TYPES.into_iter().filter(|(_, file)| !file.is_empty()) {
        let [discover, request, ..] = each_kind();
        for draft in [discover, request] {
            let (reply, message) = answered(pxe(draft, arch));
            assert_eq!((message.yiaddr().octets(), option(&reply, 60)), (own(), Some(&b"PXEClient"[..])));
            assert_eq!(file(&reply), boot);
        }
        let (reply, ack) = answered(pxe(to_4011(REQUEST, UNTAGGED), arch));
        assert_eq!((kind(&ack), file(&reply)), (MessageType::Ack, boot));
        assert_eq!(sent_to(&reply), (mac(site::RESERVED), own(), 68));
    }
    // What has no boot server is not told of one: an operating system, and who may not reach our port 4011.
    assert_eq!(option(&answered(discover()).0, 60), None);
    let [relayed, ..] = each_kind_relayed();
    let (reply, _) = answered(pxe(relayed, 7));
    assert_eq!((option(&reply, 60), file(&reply)), (None, "snponly.efi"));
}

#[test]
fn pxe_3_port_4011_acks_requests_and_informs_with_the_boot_file_to_the_clients_address() {
    for vlan in [UNTAGGED, PROXY] {
        for message_type in [REQUEST, INFORM] {
            let (reply, ack) = answered(pxe(to_4011(message_type, vlan), 7));
            assert_eq!((kind(&ack), ack.yiaddr().octets()), (MessageType::Ack, [0; 4]));
            assert_eq!(file(&reply), "snponly.efi");
            assert_eq!(sent_to(&reply), (mac(site::RESERVED), address(vlan, site::RESERVED), 68));
        }
        unanswered(pxe(to_4011(DISCOVER, vlan), 7), Leave::MessageType);
        let nowhere = pxe(Draft { source: [0; 4], ..to_4011(REQUEST, vlan) }, 7);
        unanswered(nowhere, Leave::Contradiction);
        unanswered(to_4011(REQUEST, vlan), Leave::NotPxe);
    }
}

#[test]
fn rfc2131_7_an_authority_refuses_what_others_leave_to_the_server_that_may_know() {
    for (vlan, authoritative) in [(UNTAGGED, true), (TRUSTED, false)] {
        let (ours, [a, b, c, _]) = (our_address(vlan), address(vlan, site::RESERVED));
        let wrong = [a, b, c, 99];
        let ask = || Draft::new(REQUEST, site::RESERVED, vlan);
        let nak = |draft: Draft| assert_eq!(kind(&answered(draft).1), MessageType::Nak, "{vlan:?}");
        nak(ask().option(50, &wrong).option(54, &ours));
        nak(ask().field(12, wrong).unicast(wrong, 67));
        for draft in [ask().option(50, &wrong), ask().field(12, wrong)] {
            if authoritative { nak(draft) } else { left(draft, Leave::OtherServer) }
        }
    }
}

#[test]
fn pxe_4_discovery_is_skipped_where_the_offer_names_the_file() {
    const BOOT_WHAT_IS_NAMED: u8 = 8;
    // The proxy's network has a menu, which iPXE does not get.
    let ipxe = |draft: Draft| pxe(draft, 0).option(77, b"iPXE").option(175, &[19, 1, 1]);
    for draft in [pxe(discover(), 0), ipxe(proxied(DISCOVER)), ipxe(to_4011(REQUEST, PROXY))] {
        let (reply, _) = answered(draft);
        let sub_options = option(&reply, 43).expect("option 43");
        let [6, 1, control, 255] = sub_options[..] else { panic!("{sub_options:?}") };
        assert_eq!(control & BOOT_WHAT_IS_NAMED, BOOT_WHAT_IS_NAMED);
        assert!(!file(&reply).is_empty());
    }
    for draft in [pxe(discover(), 7), pxe(proxied(DISCOVER), 7)] {
        assert_eq!(option(&answered(draft).0, 43), None, "an EFI that finds option 43 ignores the offer");
    }
}

#[test]
fn pxe_5_others_are_never_answered_by_a_proxy() {
    for message_type in 0..=9 {
        for vendor in
            [None, Some(&b"udhcp 1.35.0"[..]), Some(b"MSFT 5.0"), Some(b"PXEClien"), Some(b"pxeclient")]
        {
            let vendor = |draft: Draft| match vendor {
                Some(vendor) => draft.option(60, vendor).option(93, &[0, 0]),
                None => draft,
            };
            for draft in [vendor(proxied(message_type)), vendor(to_4011(message_type, PROXY))] {
                let frame = draft.frame();
                assert!(run(&frame).is_err() && userspace(&frame).is_err(), "{message_type}");
            }
        }
    }
}

#[test]
fn uhb_1_http_boot_is_answered_as_httpclient_with_a_uri_in_option_67() {
    let [discover, request, _, inform] = each_kind();
    for draft in [discover, request, inform] {
        let (reply, _) = answered(http(draft, 16));
        assert_eq!(option(&reply, 60), Some(&b"HTTPClient"[..]));
        assert_eq!(option(&reply, 67), Some(&b"http://10.77.0.1:8080/loaders/snponly.efi"[..]));
        assert_eq!(option(&reply, 43), None);
    }
}

#[test]
fn uhb_2_http_architectures_are_apart_from_those_of_pxe() {
    for (arch, url) in HTTP_TYPES {
        let (reply, _) = answered(http(discover(), arch));
        assert_eq!(option(&reply, 67).unwrap_or_default(), url.as_bytes(), "{arch}");
        assert_eq!(file(&answered(pxe(discover(), arch)).0), "", "{arch}, asked for by PXE");
    }
    for (arch, _) in PXE_TYPES {
        let (reply, _) = answered(http(discover(), arch));
        assert_eq!((file(&reply), option(&reply, 67)), ("", None), "{arch}, asked for by HTTP");
    }
}

#[test]
fn uhb_4_a_proxys_offer_has_the_uri_and_no_address() {
    let (reply, offer) = answered(http(proxied(DISCOVER), 16));
    assert_eq!(offer.yiaddr().octets(), [0; 4]);
    assert_eq!(option(&reply, 60), Some(&b"HTTPClient"[..]));
    assert_eq!(option(&reply, 67), Some(&b"http://10.77.200.1:8080/loaders/snponly.efi"[..]));
    assert_eq!(offer.opts().get(OptionCode::AddressLeaseTime), None::<&DhcpOption>);
}
