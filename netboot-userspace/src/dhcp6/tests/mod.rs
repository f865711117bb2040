//! The machine as a whole. Requests are written, and replies read, by dhcproto: it shares nothing with our own reader and writer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on ends")]

mod boot_files;
mod captures;
mod changes;
mod clauses;
mod properties;
mod relays;

use std::net::Ipv6Addr;
use std::sync::Arc;

use dhcproto::v6::{DhcpOption, IAAddr, IANA, Message, MessageType, ORO, OptionCode, Status, UnknownOption};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use netboot_common::Mac;

use super::machine::{Actions, Arrival, Machine};
use super::stats::{Leave, Outcome};
use super::tables::{Hosts, Link, Plan};
use crate::inventory::Snapshot;

/// A machine nobody named.
pub(super) const STRANGER: Mac = Mac([0x52, 0x54, 0, 0x77, 0, 9]);
/// The host `node1`.
pub(super) const HOST: Mac = Mac([0x52, 0x54, 0, 0x77, 0, 1]);
pub(super) const SERVER_ID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
/// Seconds; the subnets' lease is an hour.
pub(super) const NOW: u64 = 1_000_000;

const SITE: &str = "
interfaces:
  - { name: eth0, dhcp: off, dhcp6: server, subnet6: 2001:db8::/64, range6: 2001:db8::100-2001:db8::103,
      dns6: [2001:db8::d1, 2001:db8::d2] }
  - { name: eth1, dhcp: off, dhcp6: stateless, subnet6: 2001:db8:1::/64, dns6: 2001:db8::d1 }
  - { name: eth2, dhcp: off, dhcp6: server, subnet6: 2001:db8:3::/64, range6: 2001:db8:3::100-2001:db8:3::1ff,
      rapid_commit6: true, preference6: 7 }
subnets:
  - { subnet6: 2001:db8:2::/64, range6: 2001:db8:2::100-2001:db8:2::1ff }
domain: lab.example
hosts:
  - { name: node1, mac: 52:54:00:77:00:01, ip6: 2001:db8::51 }
  - { name: by-duid, duid: 00:02:00:00:ab:11:07, ip6: 2001:db8::52 }
  - { name: by-uuid, uuid: 11223344-5566-7788-99aa-bbccddeeff00, ip6: 2001:db8::53 }
  - { name: silent, mac: 52:54:00:77:00:02, boot: ignore }
";

/// Interfaces of the site.
pub(super) const STATEFUL: usize = 0;
pub(super) const STATELESS: usize = 1;
pub(super) const RAPID: usize = 2;

pub(super) struct Site {
    pub(super) machine: Machine,
    pub(super) interface: usize,
    pub(super) to_group: bool,
    pub(super) now: u64,
}

/// What the machine made of a datagram.
pub(super) struct Made {
    pub(super) actions: Actions,
    pub(super) reply: Vec<u8>,
}

/// A reply as dhcproto reads it, and as it is.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) message: Message,
    bytes: Vec<u8>,
}

impl std::ops::Deref for Reply {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Site {
    pub(super) fn new() -> Self {
        Self::of(SITE)
    }

    /// Of another configuration, with the same interfaces.
    fn of(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netboot.yaml");
        std::fs::write(&path, config).unwrap();
        let config = crate::config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let link = |index: u16| Link {
            name: format!("eth{index}"),
            index: index.into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            address: Ipv6Addr::new(0x2001, 0xdb8, [0, 1, 3][usize::from(index)], 0, 0, 0, 0, 1),
        };
        let plan = Plan::new(&config, &[link(0), link(1), link(2)], SERVER_ID.to_vec());
        let snapshot = Snapshot::new(config.hosts, config.profiles).unwrap();
        let snapshot = snapshot.with_groups(config.groups.into_iter().map(Arc::new)).unwrap();
        let hosts = Hosts::new(&snapshot);
        let mut machine =
            Machine { plan, hosts, book: Default::default(), serve_unknown: true, elsewhere: None };
        machine.book.set_taken(machine.plan.taken(&snapshot));
        Self { machine, interface: STATEFUL, to_group: true, now: NOW }
    }

    pub(super) fn send(&mut self, datagram: &[u8], source: Ipv6Addr) -> Made {
        let (interface, to_group) = (self.interface, self.to_group);
        let mut out = [0xa5; 2048];
        let actions =
            self.machine.handle(Arrival { datagram, interface, source, to_group }, self.now, &mut out);
        let length = actions.send.map_or(0, |(length, _)| length);
        Made { actions, reply: out[..length].to_vec() }
    }

    /// The answer to a message that must have one.
    pub(super) fn ask(&mut self, mac: Mac, message: &Message) -> Reply {
        let made = self.send(&bytes(message), link_local(mac));
        assert!(made.actions.send.is_some(), "{:?}", made.actions);
        assert_eq!(made.actions.send.unwrap().1, 546);
        decode(&made.reply)
    }

    /// Why there is no answer.
    pub(super) fn left(&mut self, mac: Mac, message: &Message) -> Leave {
        match self.send(&bytes(message), link_local(mac)).actions {
            Actions { outcome: Outcome::Left(leave), send: None, .. } => leave,
            actions => panic!("answered: {actions:?}"),
        }
    }

    /// Solicit and Request; the address.
    pub(super) fn lease(&mut self, mac: Mac) -> Ipv6Addr {
        let offered = self.ask(mac, &message(mac, MessageType::Solicit, [iana(1, &[])]));
        let ip = only_address(&offered);
        let request = message(mac, MessageType::Request, [server_id(), iana(1, &[ip])]);
        assert_eq!(only_address(&self.ask(mac, &request)), ip);
        ip
    }
}

pub(super) fn link_local(mac: Mac) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..].copy_from_slice(&mac.interface_id());
    octets.into()
}

/// With a DUID-LL of the MAC.
pub(super) fn message<const N: usize>(mac: Mac, kind: MessageType, options: [DhcpOption; N]) -> Message {
    let mut message = anonymous(kind, options);
    message.opts_mut().insert(DhcpOption::ClientId([&[0, 3, 0, 1], &mac.0[..]].concat()));
    message
}

/// Without a client's identifier.
pub(super) fn anonymous<const N: usize>(kind: MessageType, options: [DhcpOption; N]) -> Message {
    let mut message = Message::new_with_id(kind, [1, 2, 3]);
    options.into_iter().for_each(|option| message.opts_mut().insert(option));
    message
}

pub(super) fn server_id() -> DhcpOption {
    DhcpOption::ServerId(SERVER_ID.to_vec())
}

pub(super) fn iana(id: u32, addresses: &[Ipv6Addr]) -> DhcpOption {
    let address = |addr: &Ipv6Addr| {
        DhcpOption::IAAddr(IAAddr { addr: *addr, preferred_life: 0, valid_life: 0, opts: Default::default() })
    };
    DhcpOption::IANA(IANA { id, t1: 0, t2: 0, opts: addresses.iter().map(address).collect() })
}

pub(super) fn oro(codes: &[u16]) -> DhcpOption {
    DhcpOption::ORO(ORO { opts: codes.iter().map(|code| OptionCode::from(*code)).collect() })
}

pub(super) fn raw(code: u16, value: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value.to_vec()))
}

pub(super) fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

pub(super) fn decode(reply: &[u8]) -> Reply {
    let message = Message::decode(&mut Decoder::new(reply)).unwrap();
    Reply { message, bytes: reply.to_vec() }
}

/// The value of an option, whole.
pub(super) fn value(reply: &Reply, code: u16) -> Option<Vec<u8>> {
    value_in(&reply.bytes, code)
}

pub(super) fn value_in(message: &[u8], code: u16) -> Option<Vec<u8>> {
    let mut options = &message[4..];
    while let [c, d, l, m, rest @ ..] = options {
        let (value, rest) = rest.split_at(u16::from_be_bytes([*l, *m]).into());
        if u16::from_be_bytes([*c, *d]) == code {
            return Some(value.to_vec());
        }
        options = rest;
    }
    None
}

/// What the only IA_NA says: addresses with preferred and valid lifetime, and its status.
pub(super) fn only_iana(reply: &Message) -> (Vec<(Ipv6Addr, u32, u32)>, Option<Status>) {
    let Some([DhcpOption::IANA(iana)]) = reply.opts().get_all(OptionCode::IANA) else {
        panic!("not one IA_NA: {reply:?}")
    };
    let mut addresses = Vec::new();
    let mut status = None;
    for option in iana.opts.iter() {
        match option {
            DhcpOption::IAAddr(address) => {
                addresses.push((address.addr, address.preferred_life, address.valid_life));
            }
            DhcpOption::StatusCode(code) => status = Some(code.status),
            other => panic!("{other:?} in an IA_NA"),
        }
    }
    (addresses, status)
}

pub(super) fn only_address(reply: &Message) -> Ipv6Addr {
    match only_iana(reply) {
        (addresses, None) if addresses.len() == 1 => addresses[0].0,
        other => panic!("not one address: {other:?}"),
    }
}

/// The status of the whole message.
pub(super) fn status(reply: &Message) -> Option<Status> {
    match reply.opts().get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(code)) => Some(code.status),
        _ => None,
    }
}
