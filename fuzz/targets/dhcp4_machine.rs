//! The DHCPv4 machine under sequences of packets: no address is promised to two clients, nothing is promised that is not to be
//! stored, a proxy promises none, and every reply is sound.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use netboot_common::Mac;
use netboot_common::reply::Scratch;
use netboot_common::stats::{Leave, Outcome};
use netboot_userspace::dhcp::leases::{Book, Key, State};
use netboot_userspace::dhcp::machine::{Actions, Arrival, Hosts, Machine, NamedHost, Now};
use netboot_userspace::dhcp::tables::{Link, Numbering, Plan};
use netboot_userspace::inventory::Snapshot;

use super::frame::{self, FIXED, HEADERS, around, check_reply};
use super::input::Input;

const SITE: &str = "
interfaces:
  - { name: eth0, dhcp: server, subnet: 10.0.0.0/24, range: 10.0.0.100-10.0.0.102, router: 10.0.0.1, dns: 10.0.0.1, lease: 1h }
  - { name: eth1, dhcp: proxy, subnet: 10.50.0.0/24 }
subnets:
  - { subnet: 10.9.0.0/24, range: 10.9.0.100-10.9.0.102, lease: 1h }
options: { ntp-servers: 10.0.0.2, ipv6-only-preferred: 1800 }
vendor_options: { 1: 'ip:10.0.0.7' }
domain: lab.example
hosts:
  - { name: by-mac, mac: '52:54:00:77:00:01', ip: 10.0.0.51 }
  - { name: by-id, client_id: '01:02:03', ip: 10.0.0.52 }
  - { name: by-uuid, uuid: 11223344-5566-7788-99aa-bbccddeeff00, ip: 10.0.0.53 }
  - { name: by-circuit, circuit: port7, ip: 10.9.0.54 }
  - { name: silent, mac: '52:54:00:77:00:02', boot: ignore }
";

const OURS: [u8; 4] = [10, 0, 0, 1];
const PROXY: [u8; 4] = [10, 50, 0, 1];
const RELAY: [u8; 4] = [10, 9, 0, 1];
const COOKIE: [u8; 4] = [99, 130, 83, 99];

struct Site {
    machine: Machine,
    fresh: Book,
}

thread_local! {
    /// Rendering a site's templates takes longer than all packets of a sequence: only who has which address starts anew.
    static SITE_MADE: RefCell<Site> = RefCell::new(Site::new());
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("netboot.yaml");
        std::fs::write(&path, SITE).expect("our folder can be written");
        let config = netboot_userspace::config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let link = |index: u32, address: [u8; 4]| Link {
            name: format!("eth{}", index - 1),
            index,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            address: address.into(),
            prefix: 24,
            mtu: 1500,
        };
        let mut plan = Plan::new(&config, &[link(1, OURS), link(2, PROXY)], Numbering::default())
            .expect("the site can be rendered");
        let snapshot = Snapshot::new(config.hosts, Vec::new()).expect("the hosts are sound");
        let mut hosts = Hosts::default();
        for host in snapshot.hosts() {
            hosts.by_mac.extend(plan.host_entries(host));
            let value = plan.host_value(host).expect("the host can be rendered");
            let named = NamedHost { name: host.name.as_str().into(), value };
            hosts.by_client_id.extend(host.client_id.as_ref().map(|id| (id.0.clone(), named.clone())));
            hosts.by_uuid.extend(host.uuid.map(|uuid| (uuid.to_wire(), named.clone())));
            hosts.by_circuit.extend(host.circuit.as_ref().map(|circuit| (circuit.0.clone(), named.clone())));
        }
        let mut fresh = Book::default();
        fresh.set_pools(plan.pools(), &[OURS.into()].into());
        let machine = Machine {
            plan,
            hosts,
            book: fresh.clone(),
            withheld: Default::default(),
            serve_unknown: true,
            elsewhere: None,
            authoritative: true,
        };
        Self { machine, fresh }
    }
}

/// An address that a client may use, as it was told.
struct Promise {
    key: Key,
    until: u64,
}

struct Run<'a> {
    machine: &'a mut Machine,
    now: Now,
    promises: HashMap<Ipv4Addr, Promise>,
    /// What each client was told last.
    told: HashMap<u8, [u8; 4]>,
}

pub(crate) fn sequence(data: &[u8]) {
    SITE_MADE.with_borrow_mut(|site| {
        site.machine.book = site.fresh.clone();
        let mut input = Input::new(data);
        site.machine.serve_unknown = true;
        let now = Now { unix: 1_000_000, boot: 5_000 };
        let mut run = Run { machine: &mut site.machine, now, promises: HashMap::new(), told: HashMap::new() };
        for _ in 0..64 {
            if input.is_empty() {
                return;
            }
            run.step(&mut input);
        }
    });
}

impl Run<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            kind @ 0..=199 => {
                let (client, ifindex) = (input.byte() % 8, input.of(&[1, 1, 1, 2]));
                let frame = self.message(kind % 10, client, ifindex, input);
                self.handle(&frame, ifindex, Some(client));
            }
            200..=214 => {
                let frame = around(input.string(), mac(9), [0; 4], [255; 4], (68, 67));
                self.handle(&frame, 1, None);
            }
            215..=224 => self.handle(input.string(), 1, None),
            225..=239 => {
                let seconds = u64::from(input.word());
                self.now = Now { unix: self.now.unix + seconds, boot: self.now.boot + seconds };
            }
            _ => {
                let ip = Ipv4Addr::new(10, 0, 0, 100 + input.byte() % 4);
                let _ = self.machine.conflict(ip, self.now);
                // Somebody else uses it: that is so whatever was promised.
                self.promises.remove(&ip);
            }
        }
    }

    /// A message of a client; `kind` is its option 53, 0 without.
    fn message(&self, kind: u8, client: u8, ifindex: u32, input: &mut Input<'_>) -> Vec<u8> {
        let ours = if ifindex == 1 { OURS } else { PROXY };
        let how = input.word();
        let is = |bit: u16| how & 1 << bit != 0;
        let own = self.told.get(&client).copied().unwrap_or_default();
        let some = if is(0) {
            own
        } else {
            [10, input.of(&[0, 0, 9, 3]), 0, input.of(&[100, 101, 102, 103, 51, 52, 1, 7])]
        };
        let (ciaddr, giaddr) = (if is(1) { some } else { [0; 4] }, if is(2) { RELAY } else { [0; 4] });
        let mut message = vec![1, 1, 6, 0, 1, 2, 3, client, 0, 0, if is(3) { 0x80 } else { 0 }, 0];
        message.extend([ciaddr, [0; 4], [0; 4], giaddr].concat());
        message.extend(mac(client));
        message.resize(236, 0);
        message.extend(COOKIE);
        let mut option =
            |code: u8, value: &[u8]| message.extend([&[code, value.len() as u8], value].concat());
        if kind > 0 {
            option(53, &[kind]);
        }
        if is(4) {
            option(50, &some);
        }
        if is(5) {
            option(54, if is(6) { &ours } else { &[10, 0, 0, 99] });
        }
        if is(7) {
            option(61, input.of(&[&[1, 2, 3][..], &[1, 0x52, 0x54, 0, 0x77, 0, 3], &[9, 9], &[7]]));
        }
        if is(8) {
            let arch = input.of(&[0, 7, 9, 11, 16, 77]);
            option(93, &[0, arch]);
            option(
                60,
                if arch == 16 { b"HTTPClient:Arch:00016" } else { b"PXEClient:Arch:00007:UNDI:003016" },
            );
        }
        if is(9) {
            option(
                97,
                &[
                    &[0, 0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa][..],
                    &[0xbb, 0xcc, 0xdd, 0xee, 0xff, 0],
                ]
                .concat(),
            );
        }
        if is(10) {
            option(57, &input.word().to_be_bytes());
        }
        if is(11) {
            option(55, &[1, 3, 6, 43, 108, 66, 67, input.byte()]);
        }
        if is(12) {
            option(12, input.string());
        }
        if is(13) {
            message.extend(input.string());
        }
        if is(14) {
            let sub_options = input.of(&[
                &b"\x01\x05port7"[..],
                b"\x05\x04\x0a\x09\0\0",
                b"\x05\x04\x0a\0\0\0",
                b"\x01\xff",
            ]);
            message.extend([&[82, sub_options.len() as u8], sub_options].concat());
        }
        if !is(15) {
            message.push(255);
        }
        let source = if is(2) { RELAY } else { ciaddr };
        let destination = if is(2) || is(1) { ours } else { [255; 4] };
        let port = if ifindex == 2 && is(6) { 4011 } else { 67 };
        around(&message, mac(client), source, destination, (if is(2) { 67 } else { 68 }, port))
    }

    fn handle(&mut self, request: &[u8], ifindex: u32, client: Option<u8>) {
        let mut out = [0xa5; 4096];
        let arrival = Arrival { frame: request, ifindex };
        let actions = self.machine.handle(arrival, self.now, &mut Scratch::new(), &mut out);
        self.ended(&actions);
        if let Some((key, entry)) = &actions.store {
            self.machine.book.written(key, entry);
        }
        let Some(length) = actions.send else {
            assert!(matches!(actions.outcome, Outcome::Left(_)));
            return;
        };
        assert!(matches!(actions.outcome, Outcome::Answered(_)));
        // A request with a tag, or without sound headers of its own, is checked by other means.
        if request.len() < HEADERS + FIXED || request[12..14] != [8, 0] {
            return;
        }
        let largest = option_57(&request[HEADERS + FIXED..]);
        let reply = check_reply(request, largest, &out[..length]);
        if ifindex == 2 {
            assert!(reply.yiaddr().is_unspecified(), "a proxy gives out no address, ever");
        }
        self.promised(&actions, &reply);
        if let Some(client) = client
            && !reply.yiaddr().is_unspecified()
        {
            self.told.insert(client, reply.yiaddr().octets());
        }
    }

    /// RELEASE and DECLINE end a promise, of the one who had it.
    fn ended(&mut self, actions: &Actions) {
        if let (Outcome::Left(Leave::Release | Leave::Decline), Some((key, entry))) =
            (actions.outcome, &actions.store)
        {
            let promise = self.promises.remove(&entry.ip);
            let is_own = promise.is_none_or(|promise| promise.key == *key || promise.until <= self.now.unix);
            assert!(is_own || entry.state == State::Declined, "{key:?} gave back what was another's");
            assert!(is_own, "{key:?} declined what was another's: {}", entry.ip);
        }
    }

    fn promised(&mut self, actions: &Actions, reply: &Message) {
        let ip = reply.yiaddr();
        let kind = reply.opts().msg_type();
        let is_leased = (100..=102).contains(&ip.octets()[3]);
        if kind == Some(MessageType::Nak) {
            assert!(ip.is_unspecified(), "RFC 2131 table 3");
            return;
        }
        if kind == Some(MessageType::Ack) || kind == Some(MessageType::Offer) {
            let server = frame::address(reply, OptionCode::ServerIdentifier).expect("RFC 2131 table 3");
            assert!([OURS, PROXY].contains(&server));
        }
        if let (Some((_, value)), Some((_, entry))) = (&actions.teach, &actions.store) {
            let durable = entry.until.saturating_sub(self.now.unix);
            assert!(
                value.valid_until() <= self.now.boot + durable,
                "the kernel promises more than is durable"
            );
        }
        if !is_leased {
            return;
        }
        let book = &self.machine.book;
        let (key, entry) = book.at(ip).expect("what is leased is in the book");
        if let Some(promise) = self.promises.get(&ip).filter(|promise| promise.until > self.now.unix) {
            assert_eq!(promise.key, *key, "{ip} for two clients, at {kind:?}");
        }
        if kind != Some(MessageType::Ack) {
            return;
        }
        let Some(DhcpOption::AddressLeaseTime(lease)) = reply.opts().get(OptionCode::AddressLeaseTime) else {
            return;
        };
        let until = self.now.unix + u64::from(*lease);
        let (stored, entry_stored) =
            actions.store.as_ref().expect("an ACK of a lease comes with the lease to be stored");
        assert_eq!((stored, entry_stored.ip), (key, ip));
        assert!(entry_stored.until >= until && entry.until >= until, "no more is promised than is stored");
        self.promises.insert(ip, Promise { key: key.clone(), until });
    }
}

fn mac(client: u8) -> [u8; 6] {
    [0x52, 0x54, 0, 0x77, 0, client]
}

/// The last option 57 of two bytes in the options area, up to the first end, as far as it is sound; without one, 0.
fn option_57(mut area: &[u8]) -> usize {
    let mut found = 0;
    loop {
        match area {
            [0, rest @ ..] => area = rest,
            [255, ..] | [] | [_] => return found,
            [code, length, rest @ ..] => {
                let Some((value, behind)) = rest.split_at_checked((*length).into()) else { return found };
                if let (57, [high, low]) = (code, value) {
                    found = usize::from(u16::from_be_bytes([*high, *low]));
                }
                area = behind;
            }
        }
    }
}
