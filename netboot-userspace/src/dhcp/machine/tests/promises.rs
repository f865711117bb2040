//! What is promised is kept: one client for each address, and the kernel knows what is durable.

use super::*;

#[test]
fn an_ack_is_stored_for_twice_its_time_and_taught_to_the_kernel() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, same).unwrap();
    let (actions, _) = lane.handle(&Ask::new(REQUEST, 1).field(12, ip).unicast(ip));
    let (key, entry) = actions.store.unwrap();
    assert_eq!((entry.ip.octets(), entry.until), (ip, 1000 + 7200));
    assert_eq!(key.client, [1, 0x52, 0x54, 0, 0, 0, 1]);
    let (_, value) = actions.teach.unwrap();
    assert_eq!((value.yiaddr, value.valid_until()), (ip, 50 + 7200));
    assert!(value.dynamic());
}

#[test]
fn a_release_takes_back_what_the_kernel_was_taught_of_that_lease_whoever_sends_it() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, same).unwrap();
    let release = Ask::new(RELEASE, 2).field(12, ip).option(54, &OURS).unicast(ip);
    let (actions, _) = lane.handle(&release.option(61, &[1, 0x52, 0x54, 0, 0, 0, 1]));
    assert!(actions.store.is_some());
    assert_eq!(actions.withdraw, [(Mac([0x52, 0x54, 0, 0, 0, 1]), ip.into())]);
}

#[test]
fn a_fresh_address_is_probed_and_one_in_use_is_given_to_nobody() {
    let mut lane = Lane::new(Checked { probe: Some(Duration::from_millis(100)), ..config() }, Vec::new());
    let (actions, offer) = lane.handle(&Ask::new(DISCOVER, 1));
    let first = offer.unwrap().yiaddr();
    assert!(actions.probe && actions.yiaddr == first);
    assert!(lane.machine.conflict(first, lane.now).is_some());
    let (actions, offer) = lane.handle(&Ask::new(DISCOVER, 1));
    let second = offer.unwrap().yiaddr();
    assert!(second != first && actions.probe);
    let (actions, _) = lane.handle(&Ask::new(DISCOVER, 1));
    assert!(!actions.probe, "it has it now");
    let (actions, _) = lane.handle(&Ask::new(DISCOVER, 2).relayed(RELAY));
    assert!(!actions.probe, "ARP does not reach behind a relay agent");
}

#[test]
fn an_address_is_never_two_clients_at_the_same_time() {
    // Clients that do everything, sensible or not, in an order that only the seed knows.
    let mut lane = Lane::new(config(), Vec::new());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut held: std::collections::HashMap<[u8; 4], (u8, u64)> = std::collections::HashMap::new();
    for _ in 0..20_000 {
        let mac = next(40) as u8;
        let ip = [10, next(2) as u8, 0, 98 + next(14) as u8];
        let base = match next(8) {
            0..=2 => Ask::new(DISCOVER, mac).option(50, &ip),
            3 | 4 => {
                let own = held.iter().find(|(_, (holder, _))| *holder == mac).map_or(ip, |(own, _)| *own);
                Ask::new(REQUEST, mac).option(50, &own).option(54, &OURS)
            }
            5 => Ask::new(REQUEST, mac).field(12, ip),
            6 => Ask::new(RELEASE, mac).field(12, ip).option(54, &OURS),
            _ => Ask::new(DECLINE, mac).option(50, &ip).option(54, &OURS),
        };
        let (actions, reply) = lane.handle(&base);
        let now = lane.now.unix;
        if let (Some((_, entry)), Some(_)) = (&actions.store, &reply) {
            let ip = entry.ip.octets();
            if let Some((holder, until)) = held.get(&ip) {
                assert!(
                    *holder == mac || *until <= now,
                    "{ip:?} is {holder}'s until {until}, and {mac} got it at {now}"
                );
            }
            held.insert(ip, (mac, now + 3600));
        } else if let (Some((_, entry)), None) = (&actions.store, &reply) {
            held.remove(&entry.ip.octets());
        }
        // An OFFER of one's own that was not asked for yet: take it, at times.
        if let Some(offer) =
            reply.filter(|_| next(2) == 0 && actions.outcome == Outcome::Answered(Kind::Offer))
        {
            let ip = offer.yiaddr().octets();
            let (actions, ack) = lane.handle(&Ask::new(REQUEST, mac).option(50, &ip).option(54, &OURS));
            assert!(ack.is_some() && actions.store.is_some());
            if let Some((holder, until)) = held.insert(ip, (mac, now + 3600)) {
                assert!(holder == mac || until <= now, "{ip:?} is {holder}'s until {until}");
            }
        }
        lane.now.unix += next(60);
    }
}

#[test]
fn a_lease_that_is_over_and_goes_to_another_is_withdrawn_from_the_kernel() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, same).unwrap();
    lane.now.unix += 7200;
    let (actions, offer) = lane.handle(&Ask::new(DISCOVER, 2).option(50, &ip));
    assert_eq!(offer.unwrap().yiaddr().octets(), ip);
    assert_eq!(actions.withdraw, [(Mac([0x52, 0x54, 0, 0, 0, 1]), ip.into())]);
}

#[test]
fn a_reservation_of_a_leased_address_waits_until_the_lease_is_over() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, same).unwrap();
    let (key, entry) =
        lane.machine.book.at(ip.into()).map(|(key, entry)| (key.clone(), entry.clone())).unwrap();
    assert!(lane.machine.book.written(&key, &entry));
    let reserved = Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 2])], ..host("n", Some(ip)) };
    let (machine, now) = (&mut lane.machine, lane.now);
    machine.hosts =
        super::super::super::hosts::entries(&mut machine.plan, [std::sync::Arc::new(reserved)].iter());
    machine.book.change_taken(std::iter::empty(), [ip.into()].into_iter());
    let hosts = machine.hosts.by_mac.clone();
    let ended = super::super::super::contested::withhold(machine, hosts.iter(), now);
    assert_eq!(ended, [(Mac([0x52, 0x54, 0, 0, 0, 1]), ip.into())], "the kernel renews it no more");
    let (host_key, host_value) = hosts.iter().next().unwrap();
    assert!(!machine.may_be_taught(host_key, host_value, now));

    // The holder is told to ask for another one; the host gets a lease meanwhile.
    let nak = lane.answered(&Ask::new(REQUEST, 1).field(12, ip).unicast(ip));
    assert_eq!(nak.opts().msg_type(), Some(dhcproto::v4::MessageType::Nak));
    assert_ne!(lane.lease(1, same), Some(ip));
    let meanwhile = lane.lease(2, same).unwrap();
    assert_ne!(meanwhile, ip);
    lane.now.unix += 3599;
    assert_ne!(lane.answered(&Ask::new(DISCOVER, 2)).yiaddr().octets(), ip);
    // What was promised last is over: the address is the host's, and the kernel may know it.
    lane.now.unix += 1;
    // Whoever looks what it would be told takes nothing from it.
    let mac = Mac([0x52, 0x54, 0, 0, 0, 2]);
    super::super::super::explain::explain(&mut lane.machine, mac, Class::EfiX64, lane.now);
    let (actions, offer) = lane.handle(&Ask::new(DISCOVER, 2));
    assert_eq!(offer.unwrap().yiaddr().octets(), ip);
    assert_eq!(actions.teach, Some((*host_key, *host_value)));
    assert!(actions.store.is_none() && lane.machine.may_be_taught(host_key, host_value, lane.now));
    assert_eq!(lane.handle(&Ask::new(DISCOVER, 2)).0.teach, None, "once");
}

#[test]
fn the_kernel_is_taught_what_is_durable_and_still_so() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, same).unwrap();
    let (actions, _) = lane.handle(&Ask::new(REQUEST, 1).field(12, ip).unicast(ip));
    let ((key, entry), (host_key, value)) = (actions.store.unwrap(), actions.teach.unwrap());
    let taught = |lane: &mut Lane| lane.machine.may_be_taught(&host_key, &value, lane.now);
    assert!(!taught(&mut lane), "not written");
    assert!(lane.machine.book.written(&key, &entry));
    assert!(taught(&mut lane));
    let longer = value.with_valid_until(value.valid_until() + 1);
    assert!(!lane.machine.may_be_taught(&host_key, &longer, lane.now), "longer than it is durable");
    lane.handle(&Ask::new(RELEASE, 1).field(12, ip).option(54, &OURS).unicast(ip));
    assert!(!taught(&mut lane), "given back meanwhile");
}
