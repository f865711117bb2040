//! RFC 8415, RFC 5970 and the UEFI specification, clause by clause.

use dhcproto::v6::{DhcpOption, IAPD, IATA, MessageType, OptionCode, Status};

use super::*;
use crate::dhcp6::leases::State;
use crate::dhcp6::wire::option;

use MessageType::{
    Advertise, Confirm, Decline, InformationRequest, Rebind, Release, Renew, Request, Solicit,
};

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn rfc8415_1_what_must_go_to_the_group_and_did_not_is_discarded() {
    let mut site = Site::new();
    site.to_group = false;
    let address = ip("2001:db8::100");
    for message in [
        message(STRANGER, Solicit, [iana(1, &[])]),
        message(STRANGER, Confirm, [iana(1, &[address])]),
        message(STRANGER, Rebind, [iana(1, &[address])]),
        message(STRANGER, InformationRequest, []),
    ] {
        assert_eq!(site.left(STRANGER, &message), Leave::Unicast, "{message:?}");
    }
}

#[test]
fn rfc8415_2_identifiers_that_must_or_must_not_be_there() {
    let mut site = Site::new();
    let other = || DhcpOption::ServerId(vec![0, 3, 0, 1, 9, 9, 9, 9, 9, 9]);
    let ia = || iana(1, &[ip("2001:db8::100")]);
    for kind in [Solicit, Confirm, Rebind] {
        assert_eq!(site.left(STRANGER, &anonymous(kind, [ia()])), Leave::NoClientId);
        let named = message(STRANGER, kind, [server_id(), ia()]);
        assert_eq!(site.left(STRANGER, &named), Leave::NamesServer);
    }
    for kind in [Request, Renew, Release, Decline] {
        assert_eq!(site.left(STRANGER, &message(STRANGER, kind, [ia()])), Leave::NoServerId);
        assert_eq!(site.left(STRANGER, &message(STRANGER, kind, [other(), ia()])), Leave::OtherServer);
        assert_eq!(site.left(STRANGER, &anonymous(kind, [server_id(), ia()])), Leave::NoClientId);
    }
    let with_ia = message(STRANGER, InformationRequest, [ia()]);
    assert_eq!(site.left(STRANGER, &with_ia), Leave::IaInInformationRequest);
    let others = message(STRANGER, InformationRequest, [other()]);
    assert_eq!(site.left(STRANGER, &others), Leave::OtherServer);
    for kind in [Advertise, MessageType::Reply, MessageType::Reconfigure] {
        let servers = message(STRANGER, kind, [server_id(), ia()]);
        assert_eq!(site.left(STRANGER, &servers), Leave::NotForServers);
    }
}

#[test]
fn rfc8415_3_replies_repeat_transaction_and_client_and_name_us() {
    let mut site = Site::new();
    let address = site.lease(STRANGER);
    let ours = || [server_id(), iana(1, &[address])];
    for (request, kind) in [
        (message(STRANGER, Solicit, [iana(1, &[])]), Advertise),
        (message(STRANGER, Request, ours()), MessageType::Reply),
        (message(STRANGER, Confirm, [iana(1, &[address])]), MessageType::Reply),
        (message(STRANGER, Renew, ours()), MessageType::Reply),
        (message(STRANGER, Rebind, [iana(1, &[address])]), MessageType::Reply),
        (message(STRANGER, Release, ours()), MessageType::Reply),
        (message(STRANGER, InformationRequest, []), MessageType::Reply),
    ] {
        let reply = site.ask(STRANGER, &request);
        assert_eq!((reply.msg_type(), reply.xid()), (kind, [1, 2, 3]));
        assert_eq!(value(&reply, 1), value_in(&bytes(&request), 1));
        assert_eq!(value(&reply, 2), Some(SERVER_ID.to_vec()));
    }
    let reply = site.ask(STRANGER, &anonymous(InformationRequest, []));
    assert_eq!((value(&reply, 1), value(&reply, 2)), (None, Some(SERVER_ID.to_vec())));
}

#[test]
fn rfc8415_4_options_only_if_asked_for() {
    let mut site = Site::new();
    let codes =
        |reply: &Message| reply.opts().iter().map(OptionCode::from).map(u16::from).collect::<Vec<_>>();
    let always = [1, 2, 3, 7];
    let solicit = |options: &[u16]| message(STRANGER, Solicit, [iana(1, &[]), oro(options), arch(7)]);
    assert_eq!(codes(&site.ask(STRANGER, &solicit(&[]))), always);
    for asked in [option::DNS_SERVERS, option::DOMAINS, option::BOOTFILE_URL] {
        let reply = site.ask(STRANGER, &solicit(&[asked, 31, 9999]));
        assert_eq!(codes(&reply), [&always[..], &[asked]].concat());
    }
    let reply = site.ask(STRANGER, &solicit(&[23, 24]));
    let dns = [ip("2001:db8::d1").octets(), ip("2001:db8::d2").octets()].concat();
    assert_eq!(value(&reply, 23), Some(dns));
    assert_eq!(value(&reply, 24), Some(b"\x03lab\x07example\x00".to_vec()));
}

#[test]
fn rfc8415_5_rapid_commit_only_when_both_sides_want_it() {
    let mut site = Site::new();
    let asking = message(STRANGER, Solicit, [iana(1, &[]), DhcpOption::RapidCommit]);
    let reply = site.ask(STRANGER, &asking);
    assert_eq!((reply.msg_type(), value(&reply, 14)), (Advertise, None), "the server does not");
    site.interface = RAPID;
    let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [iana(1, &[])]));
    assert_eq!((reply.msg_type(), value(&reply, 14)), (Advertise, None), "the client does not");
    let made = site.send(&bytes(&asking), link_local(STRANGER));
    let reply = decode(&made.reply);
    assert_eq!(
        (reply.msg_type(), value(&reply, 14), value(&reply, 7)),
        (MessageType::Reply, Some(vec![]), None)
    );
    let [(_, entry)] = &made.actions.store[..] else { panic!("{:?}", made.actions) };
    assert_eq!((entry.ip, entry.state), (only_address(&reply), State::Bound), "it is committed");
}

#[test]
fn rfc8415_6_no_addrs_avail_where_the_pool_is_used_up() {
    let mut site = Site::new();
    for last in 0..4 {
        site.lease(Mac([2, 0, 0, 0, 1, last]));
    }
    let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [iana(1, &[])]));
    assert_eq!(only_iana(&reply), (vec![], Some(Status::NoAddrsAvail)));
    assert_eq!((reply.msg_type(), value(&reply, 7)), (Advertise, None));
    let reply = site.ask(STRANGER, &message(STRANGER, Request, [server_id(), iana(1, &[])]));
    assert_eq!(only_iana(&reply), (vec![], Some(Status::NoAddrsAvail)));
}

#[test]
fn rfc8415_6_no_binding_where_nothing_is_known() {
    let mut site = Site::new();
    let unknown = || [server_id(), iana(1, &[ip("2001:db8::100")])];
    let reply = site.ask(STRANGER, &message(STRANGER, Renew, unknown()));
    assert_eq!(only_iana(&reply), (vec![], Some(Status::NoBinding)));
    for kind in [Release, Decline] {
        let reply = site.ask(STRANGER, &message(STRANGER, kind, unknown()));
        assert_eq!(only_iana(&reply), (vec![], Some(Status::NoBinding)));
        assert_eq!(status(&reply), Some(Status::Success), "of the message as a whole");
    }
}

#[test]
fn rfc8415_6_not_on_link() {
    let mut site = Site::new();
    let elsewhere = ip("2001:db8:9::1");
    let reply = site.ask(STRANGER, &message(STRANGER, Request, [server_id(), iana(1, &[elsewhere])]));
    assert_eq!(only_iana(&reply), (vec![], Some(Status::NotOnLink)));
    let confirm = |addresses: &[Ipv6Addr]| message(STRANGER, Confirm, [iana(1, addresses)]);
    let reply = site.ask(STRANGER, &confirm(&[ip("2001:db8::7"), elsewhere]));
    assert_eq!(status(&reply), Some(Status::NotOnLink));
    let reply = site.ask(STRANGER, &confirm(&[ip("2001:db8::7")]));
    assert_eq!((status(&reply), value(&reply, 3)), (Some(Status::Success), None));
    assert_eq!(site.left(STRANGER, &confirm(&[])), Leave::NotOurs, "nothing to confirm");
}

#[test]
fn rfc8415_6_use_multicast_to_who_was_never_told_our_address() {
    let mut site = Site::new();
    let address = site.lease(STRANGER);
    site.to_group = false;
    for kind in [Request, Renew, Release, Decline] {
        let reply = site.ask(STRANGER, &message(STRANGER, kind, [server_id(), iana(1, &[address])]));
        assert_eq!(status(&reply), Some(Status::UseMulticast));
        assert_eq!((reply.msg_type(), value(&reply, 3)), (MessageType::Reply, None), "and nothing else");
    }
    site.to_group = true;
    let reply = site.ask(STRANGER, &message(STRANGER, Renew, [server_id(), iana(1, &[address])]));
    assert_eq!(only_address(&reply), address, "nothing of it was done");
}

#[test]
fn rfc8415_8_unknown_options_are_ignored_and_what_nests_is_bounded() {
    let mut site = Site::new();
    let odd = [raw(9999, b"?"), raw(17, &[0, 0, 1, 87, 0, 1, 0, 9]), raw(39, &[]), iana(1, &[])];
    assert!(site.ask(STRANGER, &message(STRANGER, Solicit, odd)).msg_type() == Advertise);
    // What is within an address is not looked at, however deep it goes.
    let mut within = vec![0, 13, 0, 2, 0, 0];
    for _ in 0..500 {
        let length = (24 + within.len()) as u16;
        within = [&[0, 5][..], &length.to_be_bytes(), &[0x20; 24], &within].concat();
    }
    let mut ia = vec![0, 0, 0, 1];
    ia.extend([0; 8]);
    ia.extend(within);
    let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [raw(3, &ia)]));
    assert_eq!(reply.msg_type(), Advertise);
    // Eight associations are answered, a ninth is not a client's.
    let mut many = anonymous(Solicit, [DhcpOption::ClientId(vec![0, 3, 9])]);
    site.interface = RAPID;
    for id in 0..8 {
        many.opts_mut().insert(iana(id, &[]));
    }
    let reply = site.ask(STRANGER, &many);
    assert_eq!(reply.opts().get_all(OptionCode::IANA).unwrap().len(), 8);
    many.opts_mut().insert(iana(8, &[]));
    assert_eq!(site.left(STRANGER, &many), Leave::Malformed);
}

#[test]
fn rfc8415_9_sol_max_rt_is_left_out() {
    let mut site = Site::new();
    let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [iana(1, &[]), oro(&[82, 83])]));
    assert_eq!((value(&reply, 82), value(&reply, 83)), (None, None));
    let reply = site.ask(STRANGER, &message(STRANGER, InformationRequest, [oro(&[82, 83])]));
    assert_eq!((value(&reply, 82), value(&reply, 83)), (None, None));
}

/// Option 61 with one type.
fn arch(number: u16) -> DhcpOption {
    raw(61, &number.to_be_bytes())
}

/// Option 16 of Intel's.
fn vendor(class: &str) -> DhcpOption {
    let length = (class.len() as u16).to_be_bytes();
    raw(16, &[&[0, 0, 1, 87][..], &length, class.as_bytes()].concat())
}

fn user(class: &str) -> DhcpOption {
    raw(15, &[&(class.len() as u16).to_be_bytes()[..], class.as_bytes()].concat())
}

const URL: [u16; 2] = [59, 60];

#[test]
fn rfc5970_1_the_boot_url_is_given_if_asked_for_and_its_address_is_in_brackets() {
    let mut site = Site::new();
    let tftp = "tftp://[2001:db8::1]/snponly.efi";
    let script = "http://[2001:db8::1]:8080/boot.ipxe";
    let loader = "http://[2001:db8::1]:8080/loaders/snponly.efi";
    let none = || raw(9999, &[]);
    let pxe = || vendor("PXEClient:Arch:00007:UNDI:003000");
    for (options, want, story) in [
        ([arch(7), pxe(), none()], Some(tftp), "OVMF"),
        ([arch(9), none(), none()], Some(tftp), "without a vendor class"),
        ([arch(7), pxe(), user("iPXE")], Some(script), "iPXE"),
        ([arch(7), pxe(), user("netboot")], Some(script), "ours"),
        ([arch(16), vendor("HTTPClient:Arch:00016"), none()], Some(loader), "HTTP Boot"),
        ([arch(16), none(), none()], Some(loader), "HTTP Boot, without a vendor class"),
        ([arch(11), none(), none()], Some("tftp://[2001:db8::1]/snponly-arm64.efi"), "ARM"),
        ([arch(10), none(), none()], None, "no loader for 32-bit ARM"),
        ([none(), none(), none()], None, "an operating system"),
    ] {
        let [a, b, c] = options.clone();
        let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [iana(1, &[]), oro(&URL), a, b, c]));
        let url = value(&reply, 59).map(|url| String::from_utf8(url).expect("UTF-8"));
        assert_eq!(url.as_deref(), want, "{story}");
        assert!(url.is_none_or(|url| !url.contains('\0')));
        let [a, b, c] = options;
        let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [iana(1, &[]), oro(&[23]), a, b, c]));
        assert_eq!(value(&reply, 59), None, "{story}, not asked for");
    }
}

#[test]
fn rfc5970_2_without_parameters_there_is_no_option_for_them() {
    let mut site = Site::new();
    let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [iana(1, &[]), oro(&URL), arch(7)]));
    assert!(value(&reply, 59).is_some());
    assert_eq!(value(&reply, 60), None);
}

#[test]
fn rfc5970_3_architectures_are_a_list_of_which_the_first_known_counts() {
    let mut site = Site::new();
    let url = |site: &mut Site, list: &[u8]| {
        let solicit = message(STRANGER, Solicit, [iana(1, &[]), oro(&URL), raw(61, list)]);
        value(&site.ask(STRANGER, &solicit), 59).map(|url| String::from_utf8(url).unwrap())
    };
    assert!(url(&mut site, &[0, 99, 0, 7]).unwrap().ends_with("/snponly.efi"));
    assert!(url(&mut site, &[0, 11, 0, 7]).unwrap().ends_with("/snponly-arm64.efi"));
    assert_eq!(url(&mut site, &[0, 99]), None);
    let odd = message(STRANGER, Solicit, [iana(1, &[]), raw(61, &[0, 7, 0])]);
    let whole = bytes(&message(STRANGER, Solicit, [iana(1, &[])]));
    assert_eq!(site.left(STRANGER, &odd), Leave::Malformed);
    let made = site.send(&[&whole[..], &[0, 61, 0, 0]].concat(), link_local(STRANGER));
    assert!(made.actions.send.is_some(), "an empty list says nothing");
}

#[test]
fn rfc5970_4_the_network_interface_is_three_bytes() {
    let mut site = Site::new();
    let solicit = |value: &[u8]| message(STRANGER, Solicit, [iana(1, &[]), raw(62, value)]);
    assert_eq!(site.ask(STRANGER, &solicit(&[1, 3, 16])).msg_type(), Advertise);
    for wrong in [&[][..], &[1, 3], &[1, 3, 16, 0]] {
        assert_eq!(site.left(STRANGER, &solicit(wrong)), Leave::Malformed);
    }
}

#[test]
fn uhb_5_http_boot_gets_its_vendor_class_with_the_url() {
    let mut site = Site::new();
    let http =
        || [iana(1, &[]), oro(&[59, 60, 23, 16]), arch(16), vendor("HTTPClient:Arch:00016:UNDI:003001")];
    let reply = site.ask(STRANGER, &message(STRANGER, Solicit, http()));
    let class = value(&reply, 16).expect("a vendor class");
    assert_eq!(class, [&[0, 0, 1, 87, 0, 10][..], b"HTTPClient"].concat());
    assert_eq!(value(&reply, 59).unwrap(), b"http://[2001:db8::1]:8080/loaders/snponly.efi");
    assert!(value(&reply, 23).is_some(), "firmware with a host name in its URL needs a DNS server");
    let pxe = [iana(1, &[]), oro(&[59, 16]), arch(7), vendor("PXEClient:Arch:00007:UNDI:003000")];
    assert_eq!(value(&site.ask(STRANGER, &message(STRANGER, Solicit, pxe)), 16), None, "PXE gets none");
}

#[test]
fn a_reservation_is_the_machines_whatever_its_association_is_called() {
    let mut site = Site::new();
    let reserved = ip("2001:db8::51");
    for id in [1, 7] {
        let reply = site.ask(HOST, &message(HOST, Solicit, [iana(id, &[])]));
        assert_eq!(only_address(&reply), reserved);
        let made = site
            .send(&bytes(&message(HOST, Request, [server_id(), iana(id, &[reserved])])), link_local(HOST));
        assert_eq!(only_address(&decode(&made.reply)), reserved);
        assert!(made.actions.store.is_empty(), "the inventory has it");
    }
    let two = message(HOST, Solicit, [iana(1, &[]), iana(2, &[])]);
    let reply = site.ask(HOST, &two);
    let ias = reply.opts().get_all(OptionCode::IANA).unwrap();
    assert_eq!(ias.len(), 2, "the second association of one message gets another address");
    assert_ne!(site.lease(STRANGER), reserved);
}

#[test]
fn hosts_are_known_by_duid_by_mac_and_by_uuid() {
    let mut site = Site::new();
    let solicit = |duid: &[u8]| {
        let client = DhcpOption::ClientId(duid.to_vec());
        anonymous(Solicit, [client, iana(1, &[])])
    };
    let uuid = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0];
    let swapped =
        [0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0];
    let llt = [&[0, 1, 0, 1, 9, 9, 9, 9][..], &HOST.0].concat();
    let private = Mac([2, 9, 9, 9, 9, 9]);
    for (duid, source, want, story) in [
        (vec![0, 2, 0, 0, 0xab, 0x11, 7], private, "2001:db8::52", "duid:"),
        (vec![0, 4, 1], HOST, "2001:db8::51", "the link-local address"),
        (llt, private, "2001:db8::51", "DUID-LLT"),
        ([&[0, 3, 0, 1][..], &HOST.0].concat(), private, "2001:db8::51", "DUID-LL"),
        ([&[0, 4][..], &uuid].concat(), private, "2001:db8::53", "DUID-UUID, as iPXE sends it"),
        ([&[0, 4][..], &swapped].concat(), private, "2001:db8::53", "DUID-UUID, as OVMF sends it"),
    ] {
        let message = solicit(&duid);
        assert_eq!(only_address(&site.ask(source, &message)), ip(want), "{story}");
        let named = site.send(&bytes(&message), link_local(source)).actions.host;
        let reserved = [("2001:db8::51", "node1"), ("2001:db8::52", "by-duid"), ("2001:db8::53", "by-uuid")];
        assert!(
            reserved.contains(&(want, named.as_deref().unwrap_or_default())),
            "the API is told: {named:?}"
        );
    }
    site.machine.serve_unknown = false;
    assert_eq!(site.left(private, &solicit(&[0, 4, 1])), Leave::UnknownIgnored);
}

#[test]
fn a_host_that_is_ignored_gets_an_address_and_no_url() {
    let mut site = Site::new();
    let silent = Mac([0x52, 0x54, 0, 0x77, 0, 2]);
    let reply = site.ask(silent, &message(silent, Solicit, [iana(1, &[]), oro(&[59]), arch(7)]));
    assert!(only_iana(&reply).1.is_none());
    assert_eq!(value(&reply, 59), None);
}

#[test]
fn lifetimes_and_preference() {
    let mut site = Site::new();
    let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [iana(5, &[])]));
    let ia = value(&reply, 3).unwrap();
    let word = |at: usize| u32::from_be_bytes(ia[at..at + 4].try_into().unwrap());
    // IAID, T1, T2; behind the address's head and the address the lifetimes.
    assert_eq!([word(0), word(4), word(8), word(32), word(36)], [5, 1350, 2160, 2700, 3600]);
    assert_eq!(value(&reply, 7), Some(vec![255]));
    site.interface = RAPID;
    assert_eq!(value(&site.ask(STRANGER, &message(STRANGER, Solicit, [iana(5, &[])])), 7), Some(vec![7]));
}

#[test]
fn a_lease_is_stored_before_it_is_given_and_extended_when_renewed() {
    let mut site = Site::new();
    let solicit = bytes(&message(STRANGER, Solicit, [iana(1, &[])]));
    let offered = site.send(&solicit, link_local(STRANGER));
    assert!(offered.actions.store.is_empty(), "an offer is no promise");
    let address = only_address(&decode(&offered.reply));
    for (kind, later) in [(Request, 0), (Renew, 1000), (Rebind, 2500)] {
        site.now = NOW + later;
        let request = match kind {
            Rebind => message(STRANGER, kind, [iana(1, &[address])]),
            _ => message(STRANGER, kind, [server_id(), iana(1, &[address])]),
        };
        let made = site.send(&bytes(&request), link_local(STRANGER));
        let [(holder, entry)] = &made.actions.store[..] else { panic!("{:?}", made.actions) };
        assert_eq!((holder.iaid, entry.ip, entry.until), (1, address, site.now + 3600));
        assert_eq!((entry.mac, entry.state), (Some(STRANGER), State::Bound));
        assert_eq!((only_address(&decode(&made.reply)), made.actions.ip), (address, Some(address)));
    }
    site.now = NOW + 2500 + 3600;
    let late = message(STRANGER, Renew, [server_id(), iana(1, &[address])]);
    assert_eq!(only_iana(&site.ask(STRANGER, &late)).1, Some(Status::NoBinding), "it has run out");
}

#[test]
fn a_released_address_is_anothers_and_a_declined_one_nobodys() {
    let mut site = Site::new();
    let mut given: Vec<_> = (0..4).map(|last| (last, site.lease(Mac([2, 0, 0, 0, 1, last])))).collect();
    let (last, address) = given.pop().unwrap();
    let own = Mac([2, 0, 0, 0, 1, last]);
    let back = |kind| message(own, kind, [server_id(), iana(1, &[address])]);
    let reply = site.ask(own, &back(Release));
    assert_eq!((status(&reply), value(&reply, 3)), (Some(Status::Success), None));
    assert_eq!(site.lease(STRANGER), address);
    let decline = message(STRANGER, Decline, [server_id(), iana(1, &[address])]);
    let made = site.send(&bytes(&decline), link_local(STRANGER));
    assert_eq!(made.actions.store[0].1.state, State::Declined);
    let reply = site.ask(own, &message(own, Solicit, [iana(1, &[address])]));
    assert_eq!(only_iana(&reply).1, Some(Status::NoAddrsAvail));
}

#[test]
fn a_reservation_made_meanwhile_takes_the_place_of_the_lease() {
    let mut site = Site::new();
    let leased = site.lease(HOST);
    assert_eq!(leased, ip("2001:db8::51"));
    let old = ip("2001:db8::101");
    for (kind, server) in [(Renew, server_id()), (Rebind, raw(9999, &[]))] {
        let reply = site.ask(HOST, &message(HOST, kind, [server, iana(1, &[old])]));
        assert_eq!(only_iana(&reply), (vec![(leased, 2700, 3600), (old, 0, 0)], None));
    }
}

#[test]
fn a_rebind_of_what_others_gave_is_theirs() {
    let mut site = Site::new();
    let rebind = |address: &str| message(STRANGER, Rebind, [iana(1, &[ip(address)])]);
    assert_eq!(
        site.left(STRANGER, &rebind("2001:db8::7777")),
        Leave::NotOurs,
        "on the link, not of our pool"
    );
    let reply = site.ask(STRANGER, &rebind("2001:db8:9::1"));
    assert_eq!(only_iana(&reply), (vec![(ip("2001:db8:9::1"), 0, 0)], None), "can't be right here");
    let reply = site.ask(STRANGER, &rebind("2001:db8::100"));
    assert_eq!(only_iana(&reply).1, Some(Status::NoBinding), "of our pool, and not bound");
}

#[test]
fn temporary_addresses_and_prefixes_are_refused() {
    let mut site = Site::new();
    let ta = DhcpOption::IATA(IATA { id: 1, opts: Default::default() });
    let pd = DhcpOption::IAPD(IAPD { id: 2, t1: 0, t2: 0, opts: Default::default() });
    let reply = site.ask(STRANGER, &message(STRANGER, Solicit, [ta, pd, iana(3, &[])]));
    assert!(only_iana(&reply).1.is_none());
    let code = |options: &dhcproto::v6::DhcpOptions| match options.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(code)) => code.status,
        other => panic!("{other:?}"),
    };
    let Some(DhcpOption::IATA(ta)) = reply.opts().get(OptionCode::IATA) else { panic!("{reply:?}") };
    let Some(DhcpOption::IAPD(pd)) = reply.opts().get(OptionCode::IAPD) else { panic!("{reply:?}") };
    assert_eq!((code(&ta.opts), code(&pd.opts)), (Status::NoAddrsAvail, Status::NoPrefixAvail));
}

#[test]
fn a_stateless_interface_gives_options_only() {
    let mut site = Site::new();
    site.interface = STATELESS;
    let request = message(STRANGER, InformationRequest, [oro(&[23, 59]), arch(7)]);
    let reply = site.ask(STRANGER, &request);
    assert_eq!(value(&reply, 23), Some(ip("2001:db8::d1").octets().to_vec()));
    assert_eq!(value(&reply, 59).unwrap(), b"tftp://[2001:db8:1::1]/snponly.efi");
    for kind in [Solicit, Rebind, Confirm] {
        let asking = message(STRANGER, kind, [iana(1, &[ip("2001:db8:1::9")])]);
        assert_eq!(site.left(STRANGER, &asking), Leave::Stateless);
    }
}
