//! The DHCPv6 machine under sequences of datagrams, relayed or not: no address is promised to two clients, nothing that is not to
//! be stored, and a Relay-reply mirrors its Relay-forward.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv6Addr;

use dhcproto::v6::{DhcpOption, Message, MessageType, OptionCode, RelayMessage};
use dhcproto::{Decodable as _, Decoder};
use netboot_common::Mac;
use netboot_userspace::dhcp6::leases::{Holder, State};
use netboot_userspace::dhcp6::machine::{Actions, Arrival, Machine};
use netboot_userspace::dhcp6::tables::{Hosts, Link, Plan};
use netboot_userspace::inventory::Snapshot;

use super::input::{Input, first_option as first};

const SITE: &str = "
interfaces:
  - { name: eth0, dhcp: off, dhcp6: server, subnet6: '2001:db8::/64', range6: '2001:db8::100-2001:db8::102', lease6: 1h }
  - { name: eth1, dhcp: off, dhcp6: stateless, subnet6: '2001:db8:1::/64', dns6: '2001:db8::d1' }
  - { name: eth2, dhcp: off, dhcp6: server, subnet6: '2001:db8:3::/64', range6: '2001:db8:3::100-2001:db8:3::102',
      rapid_commit6: true, preference6: 7, lease6: 1h }
subnets:
  - { subnet6: '2001:db8:2::/64', range6: '2001:db8:2::100-2001:db8:2::102', lease6: 1h }
domain: lab.example
hosts:
  - { name: node1, mac: '52:54:00:77:00:01', ip6: '2001:db8::51' }
  - { name: by-duid, duid: '00:02:00:00:ab:11:07', ip6: '2001:db8::52' }
  - { name: silent, mac: '52:54:00:77:00:02', boot: ignore }
";

const SERVER_ID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

struct Site {
    machine: Machine,
    snapshot: Snapshot,
}

thread_local! {
    static SITE_MADE: RefCell<Site> = RefCell::new(Site::new());
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("netboot.yaml");
        std::fs::write(&path, SITE).expect("our folder can be written");
        let config = netboot_userspace::config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let link = |index: u16| Link {
            name: format!("eth{index}"),
            index: index.into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            address: Ipv6Addr::new(0x2001, 0xdb8, [0, 1, 3][usize::from(index)], 0, 0, 0, 0, 1),
        };
        let plan = Plan::new(&config, &[link(0), link(1), link(2)], SERVER_ID.to_vec());
        let snapshot = Snapshot::new(config.hosts, Vec::new()).expect("the hosts are sound");
        let hosts = Hosts::new(&snapshot);
        let machine = Machine { plan, hosts, book: Default::default(), serve_unknown: true, elsewhere: None };
        Self { machine, snapshot }
    }
}

struct Run<'a> {
    machine: &'a mut Machine,
    now: u64,
    /// Who may use an address, and until when, as it was told.
    promises: HashMap<Ipv6Addr, (Holder, u64)>,
    told: HashMap<u8, Ipv6Addr>,
}

pub(crate) fn sequence(data: &[u8]) {
    run(data, |run, input| run.step(input));
}

/// Every message through relay agents.
pub(crate) fn relayed(data: &[u8]) {
    run(data, |run, input| {
        let client = input.byte() % 8;
        let message = run.message(client, input);
        let relayed = relay(message, input);
        let taken = input.string();
        let relayed = if taken.is_empty() { relayed } else { [&relayed, taken].concat() };
        run.handle(&relayed, input.of(&[0, 0, 1, 2]), client, true);
    });
}

fn run(data: &[u8], step: impl Fn(&mut Run<'_>, &mut Input<'_>)) {
    SITE_MADE.with_borrow_mut(|site| {
        site.machine.book = Default::default();
        let taken = site.machine.plan.taken(&site.snapshot);
        site.machine.book.set_taken(taken);
        let mut input = Input::new(data);
        let mut run = Run {
            machine: &mut site.machine,
            now: 1_000_000,
            promises: HashMap::new(),
            told: HashMap::new(),
        };
        for _ in 0..64 {
            if input.is_empty() {
                return;
            }
            step(&mut run, &mut input);
        }
    });
}

/// In up to eleven Relay-forwards.
fn relay(mut message: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    for hops in 0..input.byte() % 12 {
        let link = input.of(&[[0; 16], ip(2, 1).octets(), ip(0, 1).octets(), ip(9, 1).octets()]);
        let mut outer = [&[12, hops][..], &link, &link_local(input.byte() % 8).octets()].concat();
        if input.byte() & 1 == 1 {
            option(&mut outer, 18, input.string());
        }
        option(&mut outer, 9, &message);
        message = outer;
    }
    message
}

impl Run<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..=199 => {
                let client = input.byte() % 8;
                let message = self.message(client, input);
                let message = if input.byte().is_multiple_of(4) { relay(message, input) } else { message };
                let (interface, to_group) = (input.of(&[0, 0, 1, 2]), input.byte() % 8 != 7);
                self.handle(&message, interface, client, to_group);
            }
            200..=224 => self.handle(input.string(), 0, 9, true),
            _ => self.now += u64::from(input.word()),
        }
    }

    fn message(&self, client: u8, input: &mut Input<'_>) -> Vec<u8> {
        let mut message = vec![input.byte() % 15, 1, 2, 3];
        let how = input.word();
        let is = |bit: u16| how & 1 << bit != 0;
        if !is(0) {
            let duid = [&[0, 3, 0, 1][..], &mac(client)].concat();
            option(&mut message, 1, if is(1) { &[0, 2, 0, 0, 0xab, 0x11, 7] } else { &duid });
        }
        if is(2) {
            option(&mut message, 2, if is(3) { &SERVER_ID } else { &[0, 3, 0, 1, 9] });
        }
        for _ in 0..input.byte() % 4 {
            let mut ia = [&[0, 0, 0, input.byte() % 3][..], &[0; 8]].concat();
            for _ in 0..input.byte() % 3 {
                let own = self.told.get(&client).copied().unwrap_or(ip(0, 0x100));
                let some = ip(input.of(&[0, 3, 2, 7]), 0x100 + u16::from(input.byte() % 4));
                let address = if is(4) { own } else { some };
                option(&mut ia, 5, &[&address.octets()[..], &[0; 8]].concat());
            }
            option(&mut message, input.of(&[3, 3, 3, 4, 25]), &ia);
        }
        if is(5) {
            option(&mut message, 14, &[]);
        }
        if is(6) {
            option(&mut message, 6, &[0, 59, 0, 60, 0, 23, 0, 24, 0, input.byte()]);
        }
        if is(7) {
            option(&mut message, 61, &[0, input.of(&[7, 9, 11, 16, 0])]);
        }
        if is(8) {
            option(
                &mut message,
                16,
                input.of(&[&b"\0\0\x01\x57\0\x0aHTTPClient"[..], b"\0\0\x01\x57\0\x09PXEClient", b"\0"]),
            );
        }
        if is(9) {
            message.extend(input.string());
        }
        message
    }

    fn handle(&mut self, datagram: &[u8], interface: usize, client: u8, to_group: bool) {
        let mut out = [0xa5; 2048];
        let source = link_local(client);
        let arrival = Arrival { datagram, interface, source, to_group };
        let actions = self.machine.handle(arrival, self.now, &mut out);
        for (holder, entry) in actions.store.iter().filter(|(_, entry)| entry.state != State::Bound) {
            if let Some((promised, until)) = self.promises.remove(&entry.ip) {
                assert!(promised == *holder || until <= self.now, "{holder:?} gave back what was another's");
            }
        }
        let Some((length, port)) = actions.send else { return };
        let (request, reply) = unwrap(datagram, &out[..length], port);
        let told = Message::decode(&mut Decoder::new(&reply)).expect("dhcproto reads our replies");
        assert!(matches!(told.msg_type(), MessageType::Advertise | MessageType::Reply));
        assert_eq!(reply[1..4], request[1..4], "transaction");
        assert!(told.opts().get(OptionCode::ServerId).is_some(), "RFC 8415 section 18.3");
        self.promised(&actions, &told, &request, client);
    }

    fn promised(&mut self, actions: &Actions, reply: &Message, request: &[u8], client: u8) {
        let is_promise = reply.msg_type() == MessageType::Reply;
        let duid = match reply.opts().get(OptionCode::ClientId) {
            Some(DhcpOption::ClientId(duid)) => duid.clone(),
            _ => Vec::new(),
        };
        for ia in reply.opts().get_all(OptionCode::IANA).unwrap_or_default() {
            let DhcpOption::IANA(ia) = ia else { continue };
            for address in ia.opts.iter() {
                let DhcpOption::IAAddr(address) = address else { continue };
                assert!(address.preferred_life <= address.valid_life, "RFC 8415 section 21.6");
                let (ip, holder) = (address.addr, Holder { duid: duid.clone(), iaid: ia.id });
                if address.valid_life == 0 {
                    continue;
                }
                self.told.insert(client, ip);
                if !(0x100..=0x102).contains(&ip.segments()[7]) {
                    continue;
                }
                if let Some((promised, _)) = self.promises.get(&ip).filter(|(_, until)| *until > self.now) {
                    assert_eq!(*promised, holder, "{ip} for two clients: {request:?}");
                }
                if is_promise {
                    let until = self.now + u64::from(address.valid_life);
                    let stored =
                        actions.store.iter().find(|(stored, entry)| *stored == holder && entry.ip == ip);
                    let (_, entry) = stored.expect("a Reply with a lease comes with the lease to be stored");
                    assert!(entry.until >= until, "no more is promised than is stored");
                    self.promises.insert(ip, (holder, until));
                }
            }
        }
    }
}

/// Takes the relay agents' envelopes off both, which must mirror each other (RFC 8415 section 19.3).
fn unwrap(request: &[u8], reply: &[u8], port: u16) -> (Vec<u8>, Vec<u8>) {
    let (mut request, mut reply) = (request.to_vec(), reply.to_vec());
    assert_eq!(port, if request[0] == 12 { 547 } else { 546 });
    while request[0] == 12 {
        let told = RelayMessage::decode(&mut Decoder::new(&reply)).expect("dhcproto reads our replies");
        assert_eq!(told.msg_type(), MessageType::RelayRepl);
        assert_eq!(reply[1..34], request[1..34], "hop count, link and peer address");
        assert_eq!(first(&reply[34..], 18), first(&request[34..], 18), "Interface-Id");
        request = first(&request[34..], 9).expect("it was read").to_vec();
        reply = first(&reply[34..], 9).expect("a Relay-reply has a message").to_vec();
    }
    (request, reply)
}

fn option(message: &mut Vec<u8>, code: u16, value: &[u8]) {
    message.extend(code.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
}

fn mac(client: u8) -> [u8; 6] {
    [0x52, 0x54, 0, 0x77, 0, client]
}

fn ip(net: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host)
}

fn link_local(client: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0x00ff, 0xfe77, client.into())
}
