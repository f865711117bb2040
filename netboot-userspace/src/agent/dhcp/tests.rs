#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);
const XID: u32 = 0x0102_0304;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A server's message; `options` without cookie and end.
fn reply(kind: u8, yiaddr: Ipv4Addr, options: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; field::OPTIONS];
    out[field::OP] = BOOTREPLY;
    put(&mut out, field::XID, &XID.to_be_bytes());
    put(&mut out, field::YIADDR, &yiaddr.octets());
    put(&mut out, field::CHADDR, &MAC.0);
    put(&mut out, field::COOKIE, &COOKIE);
    out.extend([option::MESSAGE_TYPE, 1, kind]);
    options.iter().for_each(|option| out.extend_from_slice(option));
    out.push(option::END);
    out
}

fn full(kind: u8) -> Vec<u8> {
    reply(
        kind,
        ADDRESS,
        &[
            &[54, 4, 10, 0, 0, 1],
            &[1, 4, 255, 255, 0, 0],
            &[3, 8, 10, 0, 0, 1, 10, 0, 0, 2],
            &[51, 4, 0, 0, 14, 16],
        ],
    )
}

fn lease() -> Lease {
    let netmask = Ipv4Addr::new(255, 255, 0, 0);
    Lease { address: ADDRESS, netmask, router: Some(SERVER), server: SERVER, time: Some(seconds(3600)) }
}

/// The value of an option of a message that the client sends.
fn sent(message: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut rest = &message[field::OPTIONS..];
    while let [c, len, tail @ ..] = rest {
        if *c == option::END {
            return None;
        }
        let (value, tail) = tail.split_at(*len as usize);
        if *c == code {
            return Some(value.to_vec());
        }
        rest = tail;
    }
    None
}

fn send(client: &mut Client, now: Duration) -> Box<[u8; MESSAGE_LEN]> {
    match client.poll(now) {
        Action::Send(message) => message,
        Action::WaitUntil(then) => panic!("waits until {then:?} at {now:?}"),
    }
}

#[test]
fn discover_offer_request_ack() {
    let mut client = Client::new(MAC, XID, seconds(5));
    let discover = send(&mut client, seconds(5));
    assert_eq!(discover[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
    assert_eq!(discover[28..34], MAC.0);
    assert_eq!(discover[236..243], [99, 130, 83, 99, 53, 1, DISCOVER]);
    assert_eq!(sent(&*discover, 61).unwrap(), [1, 0x52, 0x54, 0, 1, 2, 3]);
    assert_eq!((sent(&*discover, 50), sent(&*discover, 54)), (None, None));

    assert_eq!(client.receive(&full(OFFER), seconds(6)), None);
    let request = send(&mut client, seconds(6));
    assert_eq!(request[field::SECS..][..2], [0, 1]);
    assert_eq!(sent(&*request, 53).unwrap(), [REQUEST]);
    assert_eq!(sent(&*request, 50).unwrap(), ADDRESS.octets());
    assert_eq!(sent(&*request, 54).unwrap(), SERVER.octets());
    assert_eq!(request[field::CIADDR..][..4], [0; 4]);
    assert_eq!(client.receive(&full(ACK), seconds(7)), Some(lease()));
}

#[test]
fn rebinding_names_its_address_in_ciaddr_alone() {
    let mut client = Client::rebinding(MAC, XID, seconds(0), ADDRESS);
    let request = send(&mut client, seconds(0));
    assert_eq!(sent(&*request, 53).unwrap(), [REQUEST]);
    assert_eq!(request[field::CIADDR..][..4], ADDRESS.octets());
    assert_eq!((sent(&*request, 50), sent(&*request, 54)), (None, None));
    assert_eq!(client.receive(&full(ACK), seconds(1)), Some(lease()));
}

#[test]
fn repeats_with_doubling_waits_and_falls_back_to_discover() {
    let mut client = Client::new(MAC, XID, seconds(0));
    let mut now = seconds(0);
    for wait in [1, 2, 4, 8, 16, 16, 16] {
        send(&mut client, now);
        let Action::WaitUntil(then) = client.poll(now) else { panic!("sends twice at {now:?}") };
        let waits = then - now;
        assert!(waits >= seconds(wait) && waits < seconds(wait) + Duration::from_millis(512), "{waits:?}");
        now = then;
    }
    client.receive(&full(OFFER), now);
    for _ in 0..REQUEST_TRIES {
        assert_eq!(sent(&*send(&mut client, now), 53).unwrap(), [REQUEST]);
        now += seconds(20);
    }
    assert_eq!(sent(&*send(&mut client, now), 53).unwrap(), [DISCOVER]);
}

#[test]
fn a_nak_starts_over_after_a_while() {
    let mut client = Client::new(MAC, XID, seconds(0));
    send(&mut client, seconds(0));
    client.receive(&full(OFFER), seconds(0));
    send(&mut client, seconds(0));
    let foreign = reply(NAK, Ipv4Addr::UNSPECIFIED, &[&[54, 4, 10, 9, 9, 9]]);
    client.receive(&foreign, seconds(0));
    assert!(matches!(client.state, State::Requesting { .. }), "another server's NAK is not for this request");
    let nak = reply(NAK, Ipv4Addr::UNSPECIFIED, &[&[54, 4, 10, 0, 0, 1]]);
    assert_eq!(client.receive(&nak, seconds(0)), None);
    assert_eq!(client.poll(seconds(0)), Action::WaitUntil(seconds(1)));
    assert_eq!(sent(&*send(&mut client, seconds(1)), 53).unwrap(), [DISCOVER]);
}

#[test]
fn what_is_not_for_this_client_is_ignored() {
    let good = full(OFFER);
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    for (story, packet) in [
        ("a request", with(field::OP, 1)),
        ("another transaction", with(field::XID, 9)),
        ("another machine", with(field::CHADDR + 5, 9)),
        ("plain BOOTP", with(field::COOKIE, 0)),
        ("a ProxyDHCP offer", reply(OFFER, Ipv4Addr::UNSPECIFIED, &[&[54, 4, 10, 0, 0, 1]])),
        ("no server identifier", reply(OFFER, ADDRESS, &[])),
        ("an ACK out of turn", full(ACK)),
        ("cut short", good[..239].to_vec()),
    ] {
        let mut client = Client::new(MAC, XID, seconds(0));
        assert_eq!(client.receive(&packet, seconds(0)), None, "{story}");
        assert_eq!(client.state, State::Selecting, "{story}");
    }
}

#[test]
fn an_ack_of_a_server_that_was_not_asked_is_ignored() {
    let mut client = Client::new(MAC, XID, seconds(0));
    client.receive(&full(OFFER), seconds(0));
    assert_eq!(client.receive(&reply(ACK, ADDRESS, &[&[54, 4, 10, 0, 0, 9]]), seconds(0)), None);
}

#[test]
fn options_in_file_and_sname_count_and_gaps_have_defaults() {
    let mut overloaded = reply(ACK, ADDRESS, &[&[52, 1, 3]]);
    put(&mut overloaded, field::FILE, &[54, 4, 10, 0, 0, 1, 255]);
    put(&mut overloaded, field::SNAME, &[51, 4, 255, 255, 255, 255, 255]);
    let mut client = Client::rebinding(MAC, XID, seconds(0), ADDRESS);
    let lease = client.receive(&overloaded, seconds(0)).unwrap();
    let netmask = Ipv4Addr::new(255, 0, 0, 0);
    assert_eq!(lease, Lease { address: ADDRESS, netmask, router: None, server: SERVER, time: None });
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic(tail in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..600) {
        let mut packet = reply(OFFER, ADDRESS, &[&tail]);
        packet.truncate(cut);
        let mut client = Client::new(MAC, XID, seconds(0));
        client.receive(&packet, seconds(0));
        client.poll(seconds(0));
    }
}
