//! RFC 8415-7: what relay agents wrap, and what they get back.

use dhcproto::v6::MessageType;

use super::*;

const RELAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
/// Relayed clients are of this subnet.
const LINK: Ipv6Addr = RELAY;

/// A Relay-forward around `inner`.
fn wrap(hops: u8, link: Ipv6Addr, peer: Ipv6Addr, options: &[(u16, &[u8])], inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![12, hops];
    bytes.extend(link.octets());
    bytes.extend(peer.octets());
    for (code, value) in options.iter().copied().chain([(9, inner)]) {
        bytes.extend(code.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
    }
    bytes
}

/// Hop count, link, peer and options of a Relay-reply.
fn unwrap(bytes: &[u8]) -> (u8, Ipv6Addr, Ipv6Addr, Vec<(u16, Vec<u8>)>) {
    assert_eq!(bytes[0], 13, "Relay-reply");
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap());
    let mut options = Vec::new();
    let mut rest = &bytes[34..];
    while let [c, d, l, m, tail @ ..] = rest {
        let (value, tail) = tail.split_at(u16::from_be_bytes([*l, *m]).into());
        options.push((u16::from_be_bytes([*c, *d]), value.to_vec()));
        rest = tail;
    }
    (bytes[1], address(2), address(18), options)
}

fn solicit() -> Vec<u8> {
    bytes(&message(STRANGER, MessageType::Solicit, [iana(1, &[])]))
}

#[test]
fn rfc8415_7_one_relay_agent() {
    let mut site = Site::new();
    let forward = wrap(0, LINK, link_local(STRANGER), &[(18, b"port 7"), (37, b"remote")], &solicit());
    let made = site.send(&forward, RELAY);
    assert_eq!(made.actions.send.map(|(_, port)| port), Some(547), "to the relay agent's port");
    let (hops, link, peer, options) = unwrap(&made.reply);
    assert_eq!((hops, link, peer), (0, LINK, link_local(STRANGER)));
    assert_eq!(options[0], (18, b"port 7".to_vec()), "Interface-Id comes back");
    assert_eq!(options.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [18, 9]);
    let address = only_address(&decode(&options[1].1));
    assert_eq!(address.segments()[..3], [0x2001, 0xdb8, 2], "of the link that the relay agent named");
    assert_eq!(made.actions.mac, Some(STRANGER), "by the peer address");
}

#[test]
fn rfc8415_7_relay_agents_nest_to_depth_8_and_a_tenth_is_refused() {
    for depth in [2, 8, 9] {
        let mut site = Site::new();
        let unspecified = Ipv6Addr::UNSPECIFIED;
        let peer = |level: u8| Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, level.into());
        let mut forward = wrap(0, LINK, link_local(STRANGER), &[(18, &[0])], &solicit());
        for level in 1..depth {
            // Every other one has no Interface-Id.
            let id = [level];
            let options: &[(u16, &[u8])] = if level % 2 == 0 { &[(18, &id)] } else { &[] };
            forward = wrap(level, unspecified, peer(level), options, &forward);
        }
        let mut reply = site.send(&forward, RELAY).reply;
        for level in (0..depth).rev() {
            let (hops, link, seen, options) = unwrap(&reply);
            assert_eq!(hops, level);
            match level {
                0 => assert_eq!((link, seen), (LINK, link_local(STRANGER))),
                _ => assert_eq!((link, seen), (unspecified, peer(level))),
            }
            let id = options.iter().find(|(code, _)| *code == 18).map(|(_, id)| id.clone());
            assert_eq!(id, (level % 2 == 0).then_some(vec![level]));
            reply = options.into_iter().find(|(code, _)| *code == 9).expect("a Relay-message").1;
        }
        assert_eq!(decode(&reply).msg_type(), MessageType::Advertise);
    }
    let mut site = Site::new();
    let tenth = (0..10).fold(solicit(), |inner, level| wrap(level, LINK, RELAY, &[], &inner));
    assert_eq!(site.send(&tenth, RELAY).actions.outcome, Outcome::Left(Leave::Malformed));
}

#[test]
fn rfc6939_what_the_relay_agent_saw_names_the_host() {
    let mut site = Site::new();
    let seen = [&[0, 1][..], &HOST.0].concat();
    // A private link-local address, a DUID of chance: nothing else tells who it is.
    let peer = "fe80::1234:5678:9abc:def0".parse().unwrap();
    let client = dhcproto::v6::DhcpOption::ClientId(vec![0, 4, 7, 7, 7]);
    let inner = bytes(&anonymous(MessageType::Solicit, [client, iana(1, &[])]));
    let first = "2001:db8::9".parse().unwrap();
    let made = site.send(&wrap(0, first, peer, &[(79, &seen)], &inner), RELAY);
    let (.., options) = unwrap(&made.reply);
    assert_eq!(only_address(&decode(&options[0].1)), "2001:db8::51".parse::<Ipv6Addr>().unwrap());
    assert_eq!(made.actions.mac, Some(HOST));
}

#[test]
fn a_link_that_nobody_configured_gets_no_answer_and_one_unsaid_is_the_interfaces() {
    let mut site = Site::new();
    let elsewhere = "2001:db8:77::1".parse().unwrap();
    let made = site.send(&wrap(0, elsewhere, link_local(STRANGER), &[], &solicit()), RELAY);
    assert_eq!(made.actions.outcome, Outcome::Left(Leave::NoSubnet));
    // A lightweight relay agent (RFC 6221) leaves the link address out.
    let made =
        site.send(&wrap(0, Ipv6Addr::UNSPECIFIED, link_local(STRANGER), &[(18, b"1/7")], &solicit()), RELAY);
    let (.., options) = unwrap(&made.reply);
    assert_eq!(only_address(&decode(&options[1].1)).segments()[..3], [0x2001, 0xdb8, 0]);
}

#[test]
fn rfc8415_1_a_relayed_message_counts_as_sent_to_the_group() {
    let mut site = Site::new();
    site.to_group = false;
    let made = site.send(&wrap(0, LINK, link_local(STRANGER), &[], &solicit()), RELAY);
    assert!(made.actions.send.is_some(), "relay agents send to the server's own address");
}
