#![allow(clippy::unwrap_used)]

use super::message::{BOOTREPLY, COOKIE, field, option, put};
use super::*;
use proptest::prelude::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);
const SEED: u64 = 0x0123_4567_89ab_cdef;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn client() -> Client {
    Client::new(MAC, SEED, seconds(0))
}

/// A server's message; `options` without cookie and end.
fn reply(kind: u8, yiaddr: Ipv4Addr, options: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; field::OPTIONS];
    out[field::OP] = BOOTREPLY;
    put(&mut out, field::YIADDR, &yiaddr.octets());
    put(&mut out, field::CHADDR, &MAC.0);
    put(&mut out, field::COOKIE, &COOKIE);
    out.extend([option::MESSAGE_TYPE, 1, kind]);
    options.iter().for_each(|option| out.extend_from_slice(option));
    out.push(option::END);
    out
}

/// For an hour.
fn full(kind: u8) -> Vec<u8> {
    let hour = [51, 4, 0, 0, 14, 16];
    let routers = [3, 8, 10, 0, 0, 1, 10, 0, 0, 2];
    reply(kind, ADDRESS, &[&[54, 4, 10, 0, 0, 1], &[1, 4, 255, 255, 0, 0], &routers, &hour])
}

fn nak(server: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = server.octets();
    reply(NAK, Ipv4Addr::UNSPECIFIED, &[&[54, 4, a, b, c, d]])
}

fn lease() -> Lease {
    let netmask = Ipv4Addr::new(255, 255, 0, 0);
    let (router, time) = (Some(SERVER), Some(seconds(3600)));
    Lease { address: ADDRESS, netmask, router, server: SERVER, time, renewal: None, rebinding: None }
}

/// What the server says, in the exchange that is under way.
fn hear(client: &mut Client, packet: &[u8], now: Duration) -> Option<Lease> {
    let mut packet = packet.to_vec();
    put(&mut packet, field::XID, &client.xid.to_be_bytes());
    client.receive(&packet, now)
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

fn kind(message: &[u8]) -> u8 {
    sent(message, option::MESSAGE_TYPE).unwrap()[0]
}

fn send(client: &mut Client, now: Duration) -> (Box<[u8; MESSAGE_LEN]>, Ipv4Addr) {
    match client.poll(now) {
        Action::Send { message, to } => (message, to),
        other => panic!("{other:?} at {now:?}"),
    }
}

fn wait(client: &mut Client, now: Duration) -> Duration {
    match client.poll(now) {
        Action::WaitUntil(then) => then,
        other => panic!("{other:?} at {now:?}"),
    }
}

/// A client that has a lease since `now`, as `ack` says.
fn bound(ack: &[u8], now: Duration) -> Client {
    let mut client = Client::new(MAC, SEED, now);
    send(&mut client, now);
    hear(&mut client, &full(OFFER), now);
    send(&mut client, now);
    hear(&mut client, ack, now).unwrap();
    client
}

#[test]
fn discover_offer_request_ack() {
    let mut client = Client::new(MAC, SEED, seconds(5));
    let (discover, to) = send(&mut client, seconds(5));
    assert_eq!((&discover[..4], to), (&[1, 1, 6, 0][..], Ipv4Addr::BROADCAST));
    assert_eq!(discover[field::SECS..][..4], [0, 0, 0x80, 0]);
    assert_eq!(discover[28..34], MAC.0);
    assert_eq!(discover[236..243], [99, 130, 83, 99, 53, 1, DISCOVER]);
    assert_eq!(sent(&*discover, 61).unwrap(), [1, 0x52, 0x54, 0, 1, 2, 3]);
    assert_eq!((sent(&*discover, 50), sent(&*discover, 54)), (None, None));

    assert_eq!(hear(&mut client, &full(OFFER), seconds(6)), None);
    let (request, to) = send(&mut client, seconds(6));
    assert_eq!((kind(&*request), to), (REQUEST, Ipv4Addr::BROADCAST));
    assert_eq!(request[field::XID..][..4], discover[field::XID..][..4]);
    assert_eq!(sent(&*request, 50).unwrap(), ADDRESS.octets());
    assert_eq!(sent(&*request, 54).unwrap(), SERVER.octets());
    assert_eq!(request[field::CIADDR..][..4], [0; 4]);
    assert_eq!(hear(&mut client, &full(ACK), seconds(7)), Some(lease()));
    assert!(client.is_bound());
}

#[test]
fn rfc2131_3_1_a_request_has_the_secs_of_its_discover() {
    let mut client = client();
    send(&mut client, seconds(0));
    let (discover, _) = send(&mut client, seconds(7));
    hear(&mut client, &full(OFFER), seconds(8));
    let (request, _) = send(&mut client, seconds(9));
    assert_eq!((&discover[field::SECS..][..2], &request[field::SECS..][..2]), (&[0, 7][..], &[0, 7][..]));
}

#[test]
fn rfc2131_4_4_5_renews_of_its_server_then_of_any_and_then_has_no_address() {
    let mut client = bound(&full(ACK), seconds(100));
    let t1 = wait(&mut client, seconds(100));
    assert!(t1 <= seconds(1900) && t1 > seconds(1900) - seconds(1800) / 16, "{t1:?}");

    let (renewing, to) = send(&mut client, t1);
    assert_eq!((kind(&*renewing), to), (REQUEST, SERVER));
    assert_eq!(renewing[field::CIADDR..][..4], ADDRESS.octets());
    assert_eq!(renewing[field::FLAGS..][..2], [0, 0], "it has an address: no broadcast");
    assert_eq!((sent(&*renewing, 50), sent(&*renewing, 54)), (None, None));
    let again = wait(&mut client, t1);
    assert_eq!(again, t1 + (seconds(3250) - t1) / 2, "half of the time that is left until T2");

    let t2 = seconds(100 + 3150);
    let mut now = again;
    while now < t2 {
        assert_eq!(send(&mut client, now).1, SERVER);
        let then = wait(&mut client, now);
        assert!(then - now >= seconds(60) || then == t2, "{then:?}");
        now = then;
    }
    assert_eq!(now, t2);
    let (rebinding, to) = send(&mut client, t2);
    assert_eq!(to, Ipv4Addr::BROADCAST);
    assert_eq!(rebinding[field::CIADDR..][..4], ADDRESS.octets());
    assert_eq!((sent(&*rebinding, 50), sent(&*rebinding, 54)), (None, None));

    let end = seconds(100 + 3600);
    while now < end {
        now = wait(&mut client, now);
        if now < end {
            assert_eq!(send(&mut client, now).1, Ipv4Addr::BROADCAST);
        }
    }
    assert_eq!(client.poll(end), Action::GiveUp);
    let (discover, _) = send(&mut client, end);
    assert_eq!((kind(&*discover), sent(&*discover, 50).unwrap()), (DISCOVER, ADDRESS.octets().to_vec()));
    assert_eq!(discover[field::CIADDR..][..4], [0; 4]);
    hear(&mut client, &full(OFFER), end);
    send(&mut client, end);
    assert_eq!(hear(&mut client, &full(ACK), end), Some(lease()));
}

#[test]
fn a_renewed_lease_counts_from_its_first_request() {
    let mut client = bound(&full(ACK), seconds(0));
    let t1 = wait(&mut client, seconds(0));
    send(&mut client, t1);
    // The answer of a server that was away for twenty minutes.
    let late = t1 + seconds(1200);
    send(&mut client, late);
    assert_eq!(hear(&mut client, &full(ACK), late), Some(lease()));
    let State::Bound(binding) = client.state else { panic!("{:?}", client.state) };
    assert_eq!(binding.expire, t1 + seconds(3600));
    let again = wait(&mut client, late);
    assert!(again > late && again <= t1 + seconds(1800), "{again:?}");
}

#[test]
fn rebinding_takes_another_servers_answer() {
    let mut client = bound(&full(ACK), seconds(0));
    client.poll(seconds(3150));
    let ack = reply(ACK, ADDRESS, &[&[54, 4, 10, 0, 0, 9], &[51, 4, 0, 0, 14, 16]]);
    assert_eq!(hear(&mut client, &ack, seconds(3151)).unwrap().server, OTHER);
    let t1 = wait(&mut client, seconds(3151));
    assert_eq!(send(&mut client, t1).1, OTHER);
}

#[test]
fn a_server_may_name_t1_and_t2_that_make_sense() {
    for (t1, t2, renew, rebind) in
        [(16, 32, 16, 32), (0, 0, 0, 0), (150, 32, 32, 32), (16, 160, 16, 140), (255, 255, 80, 140)]
    {
        let times: [&[u8]; 4] =
            [&[54, 4, 10, 0, 0, 1], &[51, 4, 0, 0, 0, 160], &[58, 4, 0, 0, 0, t1], &[59, 4, 0, 0, 0, t2]];
        let client = bound(&reply(ACK, ADDRESS, &times), seconds(0));
        let State::Bound(binding) = client.state else { panic!("{:?}", client.state) };
        assert_eq!(binding.rebind, seconds(rebind), "{t1} {t2}");
        let fuzzy = seconds(renew) * 15 / 16..=seconds(renew);
        assert!(fuzzy.contains(&binding.renew), "{t1} {t2}: {:?}", binding.renew);
    }
}

#[test]
fn machines_that_start_together_do_not_renew_together() {
    let renewals: std::collections::BTreeSet<Duration> = (1..=20u64)
        .map(|machine| {
            let mut random = Random::new(machine << 32 | machine);
            Binding::new(&lease(), seconds(0), &mut random).renew
        })
        .collect();
    assert_eq!(renewals.len(), 20, "{renewals:?}");
}

#[test]
fn a_lease_for_ever_is_never_renewed_and_one_without_a_time_soon() {
    let forever = reply(ACK, ADDRESS, &[&[54, 4, 10, 0, 0, 1], &[51, 4, 255, 255, 255, 255]]);
    assert_eq!(wait(&mut bound(&forever, seconds(0)), seconds(0)), Duration::MAX);
    let unsaid = reply(ACK, ADDRESS, &[&[54, 4, 10, 0, 0, 1]]);
    assert!(wait(&mut bound(&unsaid, seconds(0)), seconds(0)) <= seconds(1800));
    let none = reply(ACK, ADDRESS, &[&[54, 4, 10, 0, 0, 1], &[51, 4, 0, 0, 0, 0]]);
    assert!(wait(&mut bound(&none, seconds(0)), seconds(0)) > Duration::from_millis(400), "no flood");
}

#[test]
fn repeats_with_doubling_waits_and_falls_back_to_discover() {
    let mut client = client();
    let mut now = seconds(0);
    let mut jitters = std::collections::BTreeSet::new();
    for expected in [1, 2, 4, 8, 16, 16, 16] {
        send(&mut client, now);
        let waits = wait(&mut client, now) - now;
        assert!(waits >= seconds(expected) && waits < seconds(expected) + JITTER, "{waits:?}");
        jitters.insert(waits - seconds(expected));
        now += waits;
    }
    assert_eq!(jitters.len(), 7);
    hear(&mut client, &full(OFFER), now);
    for _ in 0..REQUEST_TRIES {
        assert_eq!(kind(&*send(&mut client, now).0), REQUEST);
        now += seconds(20);
    }
    assert_eq!(kind(&*send(&mut client, now).0), DISCOVER);
}

#[test]
fn a_nak_starts_over_after_a_while() {
    let mut client = client();
    send(&mut client, seconds(0));
    hear(&mut client, &full(OFFER), seconds(0));
    send(&mut client, seconds(0));
    hear(&mut client, &nak(OTHER), seconds(0));
    assert!(matches!(client.state, State::Requesting { .. }), "another server's NAK is not for this request");
    assert_eq!(hear(&mut client, &nak(SERVER), seconds(0)), None);
    assert_eq!(wait(&mut client, seconds(0)), seconds(1));
    assert_eq!(kind(&*send(&mut client, seconds(1)).0), DISCOVER);
}

#[test]
fn a_nak_to_a_renewal_takes_the_address_away() {
    let mut client = bound(&full(ACK), seconds(0));
    send(&mut client, seconds(1800));
    assert_eq!(hear(&mut client, &nak(SERVER), seconds(1801)), None);
    assert_eq!(client.poll(seconds(1801)), Action::GiveUp);
    assert_eq!(wait(&mut client, seconds(1801)), seconds(1802));
    let (discover, _) = send(&mut client, seconds(1802));
    assert_eq!((kind(&*discover), sent(&*discover, 50)), (DISCOVER, None), "it isn't to have that one");
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
        ("another machine", with(field::CHADDR + 5, 9)),
        ("plain BOOTP", with(field::COOKIE, 0)),
        ("a ProxyDHCP offer", reply(OFFER, Ipv4Addr::UNSPECIFIED, &[&[54, 4, 10, 0, 0, 1]])),
        ("no server identifier", reply(OFFER, ADDRESS, &[])),
        ("a server identifier of five bytes", reply(OFFER, ADDRESS, &[&[54, 5, 10, 0, 0, 1, 0]])),
        ("an ACK out of turn", full(ACK)),
        ("cut short", good[..239].to_vec()),
    ] {
        let mut client = client();
        let mut packet = packet;
        put(&mut packet, field::XID, &client.xid.to_be_bytes());
        assert_eq!(client.receive(&packet, seconds(0)), None, "{story}");
        assert_eq!(client.state, State::Selecting, "{story}");
    }
    let mut client = client();
    assert_eq!(client.receive(&good, seconds(0)), None);
    assert_eq!(client.state, State::Selecting, "another transaction");
}

#[test]
fn an_ack_of_a_server_that_was_not_asked_is_ignored() {
    let mut client = client();
    hear(&mut client, &full(OFFER), seconds(0));
    assert_eq!(hear(&mut client, &reply(ACK, ADDRESS, &[&[54, 4, 10, 0, 0, 9]]), seconds(0)), None);
}

#[test]
fn options_in_file_and_sname_count_and_gaps_have_defaults() {
    let mut overloaded = reply(ACK, ADDRESS, &[&[52, 1, 3], &[1, 3, 255, 255, 0]]);
    put(&mut overloaded, field::FILE, &[54, 4, 10, 0, 0, 1, 255]);
    put(&mut overloaded, field::SNAME, &[51, 4, 255, 255, 255, 255, 255]);
    let mut client = client();
    hear(&mut client, &full(OFFER), seconds(0));
    let got = hear(&mut client, &overloaded, seconds(0)).unwrap();
    let netmask = Ipv4Addr::new(255, 0, 0, 0);
    assert_eq!(got, Lease { netmask, router: None, time: None, ..lease() });
}

#[test]
fn a_netmask_that_is_none_is_taken_for_unsaid() {
    for (mask, taken) in [
        ([255, 255, 254, 0], [255, 255, 254, 0]),
        ([255, 0, 255, 0], [255, 0, 0, 0]),
        ([0; 4], [255, 0, 0, 0]),
    ] {
        let [a, b, c, d] = mask;
        let ack = reply(ACK, ADDRESS, &[&[54, 4, 10, 0, 0, 1], &[1, 4, a, b, c, d]]);
        let mut client = client();
        hear(&mut client, &full(OFFER), seconds(0));
        assert_eq!(hear(&mut client, &ack, seconds(0)).unwrap().netmask, Ipv4Addr::from_octets(taken));
    }
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic(tail in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..600) {
        for kind in [OFFER, ACK, NAK] {
            let mut packet = reply(kind, ADDRESS, &[&tail]);
            packet.truncate(cut.max(8));
            let mut client = bound(&full(ACK), seconds(0));
            client.poll(seconds(1800));
            hear(&mut client, &packet, seconds(1801));
            client.poll(seconds(1802));
        }
    }
}
