//! The clauses that only the userspace lane has to do with, and sequences of messages. `tests/kernel` runs the others, through all
//! lanes.
#![allow(clippy::unwrap_used)]

mod clauses;
mod groups;
mod networks;
mod promises;

use std::collections::HashSet;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable, Decoder};
use netboot_common::maps::{Template, TemplateKey};
use netboot_common::wire::checksum;

use super::super::tables::{Link, Numbering};
use super::*;
use crate::config::{Checked, DhcpMode, Http, Interface, Paths, Subnet, Tftp, Unknown, XdpMode};
use crate::inventory::settings::Settings;
use crate::inventory::{Host, Snapshot};
use netboot_common::limit::Limits;

pub(crate) const OURS: [u8; 4] = [10, 0, 0, 1];
pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const RELAY: [u8; 4] = [10, 9, 0, 1];
/// A relay agent whose own address is in none of our subnets.
const FAR_RELAY: [u8; 4] = [192, 0, 2, 7];
pub(crate) const DISCOVER: u8 = 1;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const DECLINE: u8 = 4;
pub(crate) const RELEASE: u8 = 7;
const INFORM: u8 = 8;

fn subnet(third: u8) -> Subnet {
    let mut subnet = Subnet::new([10, third, 0, 0].into(), 24, Duration::from_secs(3600));
    subnet.pools = vec![([10, third, 0, 100].into(), [10, third, 0, 109].into())];
    subnet.router = Some([10, third, 0, 1].into());
    subnet
}

/// Two subnets on the interface (10.0.0/24, 10.1.0/24), one behind [`RELAY`] (10.9.0/24), one behind [`FAR_RELAY`] (10.8.0/24).
pub(crate) fn config() -> Checked {
    let mut far = subnet(8);
    far.relays = vec![FAR_RELAY.into()];
    let interface = |name: &str, dhcp, subnets| Interface {
        name: name.into(),
        vlan: Vec::new(),
        dhcp,
        xdp: XdpMode::Auto,
        option_82: Default::default(),
        subnet_selection: true,
        subnets,
        v6: Default::default(),
    };
    Checked {
        interfaces: vec![
            interface("eth0", DhcpMode::Server, vec![subnet(0), subnet(1)]),
            interface("eth1", DhcpMode::Proxy, Vec::new()),
        ],
        subnets: vec![subnet(9), far],
        subnets6: Vec::new(),
        unknown: Unknown::Boot,
        default_profile: None,
        http: Http::new(([0, 0, 0, 0], 8080).into()),
        tftp: Tftp::new("/".into()),
        matchbox: Default::default(),
        livebootp: None,
        assets: "/".into(),
        cache: crate::config::Cache::none(),
        ipxe: "/".into(),
        paths: Paths::default(),
        authoritative: true,
        domain: None,
        settings: Settings::default(),
        limits: Limits::NONE,
        probe: None,
        breaker: None,
        templates: Default::default(),
        template_files: Default::default(),
        profiles: Vec::new(),
        groups: Vec::new(),
        hosts: Vec::new(),
    }
}

fn host(name: &str, ip: Option<[u8; 4]>) -> Host {
    let entry = crate::inventory::entry::HostEntry {
        name: name.into(),
        macs: vec!["52:54:00:00:00:99".into()],
        ip: ip.map(|ip| Ipv4Addr::from(ip).to_string()),
        ..Default::default()
    };
    Host { macs: Vec::new(), ..entry.check("test").unwrap() }
}

/// Of the interfaces of [`config`].
fn links() -> [Link; 2] {
    [(1, 0), (2, 50)].map(|(index, third)| Link {
        name: format!("eth{third}"),
        index,
        mac: Mac(OUR_MAC),
        address: [10, third, 0, 1].into(),
        prefix: 24,
        mtu: 1500,
    })
}

struct Lane {
    machine: Machine,
    now: Now,
}

impl Lane {
    fn new(config: Checked, hosts: Vec<Host>) -> Self {
        let mut plan = Plan::new(&config, &links(), Numbering::default()).unwrap();
        let snapshot = Snapshot::new(hosts, Vec::new()).unwrap();
        let hosts = Hosts::of(&mut plan, &snapshot);
        let mut book = Book::default();
        book.set_pools(plan.pools(), &super::super::hosts::taken(&plan, &snapshot));
        let (withheld, authoritative) = (HashSet::new(), config.authoritative);
        let machine =
            Machine { plan, hosts, book, withheld, serve_unknown: true, elsewhere: None, authoritative };
        Self { machine, now: Now { unix: 1000, boot: 50 } }
    }

    fn handle(&mut self, ask: &Ask) -> (Actions, Option<Message>) {
        self.handle_frame(&ask.frame(), ask.ifindex)
    }

    fn handle_frame(&mut self, frame: &[u8], ifindex: u32) -> (Actions, Option<Message>) {
        let mut out = vec![0xa5; 4096];
        let arrival = Arrival { frame, ifindex };
        let actions = self.machine.handle(arrival, self.now, &mut Scratch::new(), &mut out);
        let reply = actions.send.map(|length| decode(&out[..length]));
        (actions, reply)
    }

    fn answered(&mut self, ask: &Ask) -> Message {
        let (actions, reply) = self.handle(ask);
        reply.unwrap_or_else(|| panic!("{:?}", actions.outcome))
    }

    fn left(&mut self, ask: &Ask, leave: Leave) {
        assert_eq!(self.handle(ask).0.outcome, Outcome::Left(leave));
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    fn lease(&mut self, mac: u8, how: impl Fn(Ask) -> Ask) -> Option<[u8; 4]> {
        let (_, offer) = self.handle(&how(Ask::new(DISCOVER, mac)));
        let ip = offer?.yiaddr().octets();
        let ask = how(Ask::new(REQUEST, mac)).option(50, &ip).option(54, &OURS);
        let (actions, ack) = self.handle(&ask);
        assert!(actions.store.is_some(), "no ACK of a lease without the lease to be stored");
        assert_eq!(ack?.yiaddr().octets(), ip, "the ACK agrees with the OFFER");
        Some(ip)
    }
}

fn decode(frame: &[u8]) -> Message {
    assert_eq!(checksum::fold(checksum::add(0, &frame[14..34])), 0xffff, "IPv4 checksum");
    Message::decode(&mut Decoder::new(&frame[42..])).unwrap()
}

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Ask {
    ifindex: u32,
    source: [u8; 4],
    destination: [u8; 4],
    source_port: u16,
    port: u16,
    fixed: [u8; 240],
    options: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(kind: u8, mac: u8) -> Self {
        let mut ask = Self::bootp(mac);
        ask.fixed[236..].copy_from_slice(&[99, 130, 83, 99]);
        ask.options = vec![53, 1, kind];
        ask
    }

    fn bootp(mac: u8) -> Self {
        let mut fixed = [0; 240];
        fixed[..8].copy_from_slice(&[1, 1, 6, 0, 0xde, 0xad, 0xbe, mac]);
        fixed[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, mac]);
        let (source, destination) = ([0; 4], [255; 4]);
        Self { ifindex: 1, source, destination, source_port: 68, port: 67, fixed, options: Vec::new() }
    }

    pub(crate) fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.extend([code, value.len() as u8]);
        self.options.extend(value);
        self
    }

    pub(crate) fn field<const N: usize>(mut self, at: usize, value: [u8; N]) -> Self {
        self.fixed[at..at + N].copy_from_slice(&value);
        self
    }

    pub(crate) fn relayed(self, giaddr: [u8; 4]) -> Self {
        let mut ask = self.field(24, giaddr).field(3, [1]);
        (ask.source, ask.destination, ask.source_port) = (giaddr, OURS, 67);
        ask
    }

    pub(crate) fn unicast(mut self, from: [u8; 4]) -> Self {
        (self.source, self.destination) = (from, OURS);
        self
    }

    fn pxe(self) -> Self {
        self.option(60, b"PXEClient:Arch:00000:UNDI:002001").option(93, &[0, 0])
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let options = [&self.options[..], &[255]].concat();
        let options = if self.fixed[236..] == [0; 4] { vec![0; 60] } else { options };
        let datagram = 8 + 240 + options.len() as u16;
        let unicast = self.destination != [255; 4];
        let mac = &self.fixed[28..34];
        let mut frame = [if unicast { &OUR_MAC } else { &[0xff; 6] }, mac, &[8, 0, 0x45, 0]].concat();
        frame.extend((20 + datagram).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend(self.source);
        frame.extend(self.destination);
        frame.extend(self.source_port.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend(datagram.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(self.fixed);
        frame.extend(options);
        frame
    }
}

fn same(ask: Ask) -> Ask {
    ask
}

#[test]
fn rfc2131_5_the_ack_agrees_with_the_offer_and_carries_the_lease() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, same).unwrap();
    assert_eq!(ip[..3], [10, 0, 0]);
    let renewal = Ask::new(REQUEST, 1).field(12, ip).unicast(ip);
    let ack = lane.answered(&renewal);
    assert_eq!((ack.ciaddr().octets(), ack.yiaddr().octets()), (ip, ip));
    assert_eq!(ack.opts().get(OptionCode::AddressLeaseTime), Some(&DhcpOption::AddressLeaseTime(3600)));
}

#[test]
fn rfc2131_6_a_request_for_another_server_frees_the_offer() {
    let mut lane = Lane::new(config(), Vec::new());
    let offered = lane.answered(&Ask::new(DISCOVER, 1)).yiaddr().octets();
    lane.left(&Ask::new(REQUEST, 1).option(50, &offered).option(54, &[10, 0, 0, 2]), Leave::OtherServer);
    let other = Ask::new(DISCOVER, 2).option(50, &offered);
    assert_eq!(lane.answered(&other).yiaddr().octets(), offered, "free for the next one");
}

#[test]
fn rfc2131_7_init_reboot_on_the_wrong_network_is_a_nak_and_without_a_record_silence() {
    let mut lane = Lane::new(config(), Vec::new());
    let nak = lane.answered(&Ask::new(REQUEST, 1).option(50, &[192, 168, 1, 5]));
    assert_eq!(nak.opts().msg_type(), Some(dhcproto::v4::MessageType::Nak));
    lane.left(&Ask::new(REQUEST, 1).option(50, &[10, 0, 0, 105]), Leave::UnknownHost);
    lane.left(&Ask::new(REQUEST, 1).option(50, &[10, 1, 0, 105]), Leave::UnknownHost);
    let mut lane = Lane::new(Checked { authoritative: false, ..config() }, Vec::new());
    lane.left(&Ask::new(REQUEST, 1).option(50, &[192, 168, 1, 5]), Leave::UnknownHost);
    let ip = lane.lease(1, same).unwrap();
    let nak = lane.answered(&Ask::new(REQUEST, 1).option(50, &[10, 0, 0, 77]));
    assert_eq!(nak.opts().msg_type(), Some(dhcproto::v4::MessageType::Nak), "it holds {ip:?}");
}

#[test]
fn rfc2131_7_who_is_not_the_authority_refuses_nobody_who_may_be_anothers() {
    let entry = crate::inventory::entry::HostEntry {
        name: "reserved".into(),
        macs: vec!["52:54:00:00:00:01".into()],
        ip: Some("10.0.0.50".into()),
        ..Default::default()
    };
    let (other, ours) = ([10, 0, 0, 77], Leave::OtherServer);
    for authoritative in [true, false] {
        let config = Checked { authoritative, ..config() };
        let mut lane = Lane::new(config, vec![entry.check("test").unwrap()]);
        let nak = |lane: &mut Lane, ask: &Ask| {
            let answer = lane.answered(ask);
            assert_eq!(answer.opts().msg_type(), Some(dhcproto::v4::MessageType::Nak));
        };
        nak(&mut lane, &Ask::new(REQUEST, 1).option(50, &other).option(54, &OURS));
        nak(&mut lane, &Ask::new(REQUEST, 1).field(12, other).unicast(other));
        let init_reboot = Ask::new(REQUEST, 1).option(50, &other);
        let rebinding = Ask::new(REQUEST, 1).field(12, other);
        let relayed = [init_reboot.clone(), rebinding.clone()].map(|ask| ask.relayed([10, 0, 0, 99]));
        if !authoritative {
            relayed.iter().for_each(|ask| lane.left(ask, ours));
        }
        for ask in [init_reboot, rebinding] {
            if authoritative { nak(&mut lane, &ask) } else { lane.left(&ask, ours) }
        }
    }
}

#[test]
fn rfc2131_8_only_own_bindings_are_extended() {
    let mut lane = Lane::new(config(), Vec::new());
    for unicast in [true, false] {
        let ask = Ask::new(REQUEST, 1).field(12, [10, 0, 0, 105]);
        lane.left(&if unicast { ask.unicast([10, 0, 0, 105]) } else { ask }, Leave::UnknownHost);
    }
    let ip = lane.lease(1, same).unwrap();
    lane.now.unix += 7200;
    assert_eq!(
        lane.answered(&Ask::new(REQUEST, 1).field(12, ip)).yiaddr().octets(),
        ip,
        "over, and still free"
    );
}

#[test]
fn rfc2131_3_a_client_that_chose_us_gets_what_it_was_offered_or_a_nak_never_silence() {
    let mut lane = Lane::new(Checked { authoritative: false, ..config() }, Vec::new());
    let take = |mac, ip: [u8; 4]| Ask::new(REQUEST, mac).option(50, &ip).option(54, &OURS);
    // As after a restart: nobody remembers the offer.
    assert_eq!(lane.answered(&take(1, [10, 0, 0, 105])).yiaddr().octets(), [10, 0, 0, 105]);
    for wrong in [[10, 0, 0, 105], [10, 0, 0, 77], [192, 168, 1, 5]] {
        let nak = lane.answered(&take(2, wrong));
        assert_eq!(nak.opts().msg_type(), Some(dhcproto::v4::MessageType::Nak), "{wrong:?}");
    }
    assert!(lane.machine.book.entries().all(|(key, _)| key.client[6] == 1), "no offer is left behind");
}

#[test]
fn rfc2131_9_a_declined_address_goes_to_nobody_for_an_hour() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, same).unwrap();
    let decline = |server: [u8; 4]| Ask::new(DECLINE, 1).option(50, &ip).option(54, &server);
    lane.left(&decline([10, 0, 0, 2]), Leave::OtherServer);
    let (actions, _) = lane.handle(&decline(OURS));
    assert_eq!(actions.outcome, Outcome::Left(Leave::Decline));
    assert!(actions.store.is_some());
    assert_eq!(actions.withdraw, [(Mac([0x52, 0x54, 0, 0, 0, 1]), ip.into())], "and promised no more");
    let again =
        lane.lease(1, |ask| if ask.options[2] == DISCOVER { ask.option(50, &ip) } else { ask }).unwrap();
    assert_ne!(again, ip);
    let given: HashSet<_> = (2..=12).filter_map(|mac| lane.lease(mac, same)).collect();
    assert!(!given.contains(&ip));
    assert_eq!(given.len(), 8 + 3, "the rest of the first pool, then the second");
}

#[test]
fn rfc2131_10_a_released_address_is_free_and_first_choice_of_its_client() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, same).unwrap();
    let release = |mac| Ask::new(RELEASE, mac).field(12, ip).option(54, &OURS).unicast(ip);
    let (actions, _) = lane.handle(&release(2));
    assert!(actions.store.is_none(), "another's is not its to release");
    let (actions, _) = lane.handle(&release(1));
    assert!(actions.store.is_some() && actions.send.is_none());
    assert_eq!(lane.lease(1, same), Some(ip));
    lane.handle(&release(1));
    assert_eq!(lane.lease(2, |ask| ask.option(50, &ip)), Some(ip));
}

#[test]
fn rfc2131_11_inform_is_answered_without_a_binding() {
    let mut lane = Lane::new(config(), Vec::new());
    let static_ip = [10, 0, 0, 77];
    let (actions, ack) = lane.handle(&Ask::new(INFORM, 1).field(12, static_ip).unicast(static_ip));
    let ack = ack.unwrap();
    assert_eq!((ack.ciaddr().octets(), ack.yiaddr().octets()), (static_ip, [0; 4]));
    assert!(ack.opts().get(OptionCode::AddressLeaseTime).is_none());
    assert!(ack.opts().get(OptionCode::Router).is_some());
    assert!(actions.store.is_none());
}

#[test]
fn rfc2131_13_overload_is_read_and_what_it_says_within_itself_is_not() {
    let mut lane = Lane::new(
        config(),
        vec![Host { client_id: "disk-7".parse().ok(), ..host("n", Some([10, 0, 0, 7])) }],
    );
    // The client identifier is in `file`, together with an option 52 that means nothing there.
    let mut file = [0; 128];
    file[..12].copy_from_slice(b"\x3d\x06disk-7\x34\x01\x03\xff");
    let ask = Ask::new(DISCOVER, 1).option(52, &[1]).field(108, file);
    assert_eq!(lane.answered(&ask).yiaddr().octets(), [10, 0, 0, 7]);
    let mut sname = [0; 64];
    sname[..9].copy_from_slice(b"\x3d\x06disk-7\xff");
    let ask = Ask::new(DISCOVER, 1).option(52, &[2]).field(44, sname);
    assert_eq!(lane.answered(&ask).yiaddr().octets(), [10, 0, 0, 7]);
}

#[test]
fn rfc2131_15_bootp_clients_get_their_reservation_and_nobody_a_lease() {
    let reserved = Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])], ..host("printer", Some([10, 0, 0, 7])) };
    let mut lane = Lane::new(config(), vec![reserved]);
    for ask in [Ask::bootp(1), Ask { options: Vec::new(), ..Ask::new(DISCOVER, 1) }] {
        let (actions, reply) = lane.handle(&ask);
        assert_eq!(actions.outcome, Outcome::Answered(Kind::Bootp));
        let reply = reply.unwrap();
        assert_eq!(reply.yiaddr().octets(), [10, 0, 0, 7]);
        for code in [OptionCode::MessageType, OptionCode::ServerIdentifier, OptionCode::AddressLeaseTime] {
            assert!(reply.opts().get(code).is_none(), "{code:?}");
        }
        assert!(reply.opts().get(OptionCode::SubnetMask).is_some());
    }
    lane.left(&Ask::bootp(2), Leave::NoAddress);
}

#[test]
fn rfc3396_2_parts_are_joined_in_order_and_at_any_byte() {
    let whole: Vec<u8> = (0..200).collect();
    let known = Host {
        client_id: Some(crate::inventory::identity::Identifier(whole.clone())),
        ..host("n", Some([10, 0, 0, 7]))
    };
    let mut lane = Lane::new(config(), vec![known]);
    for at in [1, 2, 100, 199] {
        let ask = Ask::new(DISCOVER, 1).option(61, &whole[..at]).option(12, b"x").option(61, &whole[at..]);
        let reply = lane.answered(&ask);
        assert_eq!(reply.yiaddr().octets(), [10, 0, 0, 7], "split at {at}");
        assert_eq!(
            reply.opts().get(OptionCode::ClientIdentifier),
            Some(&DhcpOption::ClientIdentifier(whole.clone()))
        );
    }
    let long = vec![7; 200];
    lane.left(&Ask::new(DISCOVER, 1).option(61, &long).option(61, &long), Leave::LongOption);
}

#[test]
fn rfc4361_1_the_client_identifier_is_opaque_and_keys_the_lease() {
    let mut lane = Lane::new(config(), Vec::new());
    let with = |id: &'static [u8]| move |ask: Ask| ask.option(61, id);
    let first = lane.lease(1, with(b"\xff\0\0\0\x01abc")).unwrap();
    assert_eq!(lane.lease(2, with(b"\xff\0\0\0\x01abc")), Some(first), "the same client by another MAC");
    assert_ne!(lane.lease(1, with(b"\xff\0\0\0\x02abc")), Some(first), "another client by the same MAC");
}

#[test]
fn rfc4361_2_firmware_and_system_share_the_reservation_of_their_mac() {
    let reserved = Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])], ..host("n", Some([10, 0, 0, 7])) };
    let mut lane = Lane::new(config(), vec![reserved]);
    for id in [&b"\x01\x52\x54\0\0\0\x01"[..], b"\xff\0\0\0\x01abc", b"\0uuid-like-thing"] {
        let reply = lane.answered(&Ask::new(DISCOVER, 1).option(61, id));
        assert_eq!(reply.yiaddr().octets(), [10, 0, 0, 7]);
    }
}

#[test]
fn hosts_are_found_by_mac_then_client_identifier_then_uuid_then_circuit() {
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let wire =
        [0, 0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
    let hosts = vec![
        Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])], ..host("by-mac", Some([10, 9, 0, 11])) },
        Host { client_id: "disk-7".parse().ok(), ..host("by-id", Some([10, 9, 0, 12])) },
        Host { uuid: uuid.parse().ok(), ..host("by-uuid", Some([10, 9, 0, 13])) },
        Host { circuit: "port-9".parse().ok(), ..host("by-circuit", Some([10, 9, 0, 14])) },
    ];
    let mut lane = Lane::new(config(), hosts);
    let base = |mac| Ask::new(DISCOVER, mac).relayed(RELAY);
    let all = |mac| base(mac).option(97, &wire).option(61, b"disk-7").option(82, b"\x01\x06port-9");
    let cases = [
        (base(1), 11, None),
        (all(1), 11, Some("by-id")),
        (all(2), 12, Some("by-id")),
        (base(2).option(97, &wire).option(82, b"\x01\x06port-9"), 13, Some("by-uuid")),
        (base(2).option(82, b"\x02\x02id\x01\x06port-9"), 14, Some("by-circuit")),
    ];
    for (ask, last, named) in cases {
        assert_eq!(lane.answered(&ask).yiaddr().octets(), [10, 9, 0, last]);
        // What the API can't see: it is told.
        assert_eq!(lane.handle(&ask).0.host.as_deref(), named);
    }
    let reply = lane.answered(&base(2).option(82, b"\x01\x06port-8"));
    assert!((100..=109).contains(&reply.yiaddr().octets()[3]), "a port that nobody knows");
    lane.left(&Ask::new(DISCOVER, 2).option(82, b"\x01\x06port-9"), Leave::UntrustedRelay);
}

#[test]
fn a_proxy_never_gives_an_address_whatever_is_asked() {
    let hosts = vec![Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])], ..host("n", Some([10, 0, 0, 7])) }];
    let mut lane = Lane::new(config(), hosts);
    let mut answers = 0;
    for mac in [1, 2] {
        for kind in 0..=18 {
            for pxe in [true, false] {
                for port in [67, 4011] {
                    for asked in [[0; 4], [10, 0, 0, 7], [10, 50, 0, 9]] {
                        let ask = Ask::new(kind, mac).option(50, &asked).field(12, asked);
                        let ask =
                            Ask { ifindex: 2, port, source: asked, ..if pxe { ask.pxe() } else { ask } };
                        let (actions, reply) = lane.handle(&ask);
                        answers += u32::from(reply.is_some());
                        assert!(actions.store.is_none() && actions.teach.is_none());
                        let Some(reply) = reply else { continue };
                        assert!(pxe, "only to clients that boot from the network");
                        assert_eq!(reply.yiaddr().octets(), [0; 4]);
                        assert!(reply.opts().get(OptionCode::AddressLeaseTime).is_none());
                    }
                }
            }
        }
    }
    assert!(answers > 10, "{answers}");
    assert_eq!(lane.machine.book.entries().count(), 0);
}

#[test]
fn rfc8925_option_108_goes_to_those_who_ask_for_it() {
    let mut site = config();
    site.settings.options.set("ipv6-only-preferred", &["1800"]).unwrap();
    let mut lane = Lane::new(site, Vec::new());
    let wait = |message: &Message| message.opts().iter().any(|(code, _)| u8::from(*code) == 108);
    assert!(wait(&lane.answered(&Ask::new(DISCOVER, 1).option(55, &[1, 3, 108]))));
    assert!(!wait(&lane.answered(&Ask::new(DISCOVER, 2).option(55, &[1, 3, 6]))));
    assert!(!wait(&lane.answered(&Ask::new(DISCOVER, 3))));
}

#[test]
fn options_of_site_subnet_profile_and_host_reach_the_reply() {
    let mut site = config();
    site.settings.options.set("ntp-servers", &["10.0.0.3"]).unwrap();
    site.settings.options.set("domain-name", &["site"]).unwrap();
    site.interfaces[0].subnets[0].settings.options.set("domain-name", &["subnet"]).unwrap();
    site.settings.set_boot_file("bios", "lpxelinux.0").unwrap();
    let mut special = Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])], ..host("n", Some([10, 0, 0, 7])) };
    special.settings.options.set("routers", &["10.0.0.254"]).unwrap();
    special.settings.options.set_vendor("1", &["text:x"]).unwrap();
    let mut lane = Lane::new(site, vec![special]);
    let reply = lane.answered(&Ask::new(DISCOVER, 1));
    let options = reply.opts();
    assert_eq!(
        options.get(OptionCode::NtpServers),
        Some(&DhcpOption::NtpServers(vec![[10, 0, 0, 3].into()]))
    );
    assert_eq!(options.get(OptionCode::DomainName), Some(&DhcpOption::DomainName("subnet".into())));
    assert_eq!(options.get(OptionCode::Router), Some(&DhcpOption::Router(vec![[10, 0, 0, 254].into()])));
    assert_eq!(
        options.get(OptionCode::VendorExtensions),
        Some(&DhcpOption::VendorExtensions(vec![1, 1, b'x', 255]))
    );
    let firmware = lane.answered(&Ask::new(DISCOVER, 1).pxe());
    assert!(firmware.fname().unwrap().starts_with(b"lpxelinux.0\0"));
    assert_eq!(
        firmware.opts().get(OptionCode::VendorExtensions),
        Some(&DhcpOption::VendorExtensions(vec![6, 1, 8, 255])),
        "43 of firmware is PXE's own"
    );
    let other = lane.answered(&Ask::new(DISCOVER, 2));
    assert_eq!(other.opts().get(OptionCode::Router), Some(&DhcpOption::Router(vec![[10, 0, 0, 1].into()])));
}

#[test]
fn a_plan_after_a_reload_never_gives_a_number_another_meaning() {
    let lane = Lane::new(config(), Vec::new());
    let mut changed = config();
    changed.interfaces[0].subnets[0].dns = vec![[10, 0, 0, 53].into()];
    let new = Plan::new(&changed, &links(), lane.machine.plan.numbering()).unwrap();
    let (mut kept, mut added) = (0, 0);
    for (key, template) in &new.templates {
        match lane.machine.plan.templates.get(key) {
            Some(before) => {
                assert!(before == template, "{key:?} means something else now");
                kept += 1;
            }
            None => added += 1,
        }
    }
    assert!(kept > 100 && added > 20, "{kept} kept, {added} added");
}
