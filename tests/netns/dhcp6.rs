//! IPv6: a real DHCPv6 client, a relay agent, servers that die, and what the URLs that are handed out lead to.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clients::{value, variables, write_script};
use crate::lab::{Guard, Lab, MAC, Side, run};
use crate::links::await_degraded;
use crate::site::{Site, refused};

/// A server with a pool of four addresses, and another link behind a relay agent.
const SITE: &str = "\
interfaces:
  - { name: eth0, dhcp: off, dhcp6: server, subnet6: fd77::/64, range6: fd77::100-fd77::103, dns6: fd77::1, lease6: 1h }
subnets:
  - { subnet6: fd78::/64, range6: fd78::100-fd78::1ff }
tftp: { root: . }
assets: .
ipxe: .
domain: lab.example
default_profile: rescue
profiles:
  - { name: rescue, kernel: netboot.yaml }
paths: { state: state, control: control.sock, pins: PINS }
";

const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

fn ip(namespace: &str, arguments: &str) -> String {
    run(Command::new("ip").args(["-n", namespace]).args(arguments.split(' ')))
}

/// A lab whose both ends have their addresses for good, and a server that runs or not.
fn lab() -> Site {
    let site = Site { daemon: None, lab: Lab::new() };
    site.configure(SITE);
    give_addresses(&site);
    site
}

fn give_addresses(site: &Site) {
    let (server, clients) = (site.lab.namespace(Side::Server), site.lab.namespace(Side::Clients));
    ip(&server, "address add fd77::1/64 dev eth0 nodad");
    ip(&clients, "address add fd77::2/64 dev eth0 nodad");
    // The link-local ones are looked for on the link first: no client may use its own before.
    let deadline = Instant::now() + Duration::from_secs(10);
    for namespace in [&server, &clients] {
        while ip(namespace, "-6 address show dev eth0 scope link -tentative").trim().is_empty() {
            assert!(Instant::now() < deadline, "no link-local address");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn serving() -> Site {
    let mut site = lab();
    site.serve();
    site
}

/// dhclient, in its own files.
fn dhclient(site: &Site, more: &[&str]) -> Command {
    let script = site.path("dhclient6.sh");
    write_script(&script, "#!/bin/sh\n[ \"$reason\" = BOUND6 ] && env && echo DONE\nexit 0\n");
    let configuration = "also request dhcp6.bootfile-url, dhcp6.name-servers, dhcp6.domain-search;\n";
    std::fs::write(site.path("dhclient6.conf"), configuration).unwrap();
    let leases = site.path("dhclient6.leases");
    std::fs::File::options().create(true).append(true).open(&leases).unwrap();
    let mut client = site.lab.command(Side::Clients, "dhclient");
    client.args(["-6", "-D", "LL", "-sf"]).arg(script).arg("-lf").arg(leases).args(more);
    client.arg("-pf").arg(site.path("dhclient6.pid")).arg("-cf").arg(site.path("dhclient6.conf")).arg("eth0");
    client.stderr(Stdio::null());
    client
}

/// Takes a lease, and keeps it while the guard lives.
fn leased(site: &Site) -> (Guard, Vec<(String, String)>) {
    let client = dhclient(site, &["-1", "-d"]).stdout(Stdio::piped()).spawn();
    let mut client = Guard(client.unwrap());
    let mut said = String::new();
    let mut lines = BufReader::new(client.0.stdout.take().unwrap()).lines();
    while !said.ends_with("DONE\n") {
        said.push_str(&lines.next().expect("dhclient ended without a lease").unwrap());
        said.push('\n');
    }
    (client, variables(&said))
}

#[test]
fn dhclient_takes_an_ipv6_reservation() {
    let site = serving();
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip6", "fd77::51"]);
    let (client, lease) = leased(&site);
    let expected = [
        ("new_ip6_address", "fd77::51"),
        ("new_dhcp6_name_servers", "fd77::1"),
        ("new_dhcp6_domain_search", "lab.example."),
        ("new_preferred_life", "2700"),
        ("new_max_life", "3600"),
    ];
    for (name, want) in expected {
        assert_eq!(value(&lease, name), want, "{name}");
    }
    assert_eq!(site.count("dhcp6", "answered_request"), 1);
    let machine = site.json(&["machine", "show", "node1", "--json"]);
    assert_eq!((&machine["address6"], &machine["state"]), (&"fd77::51".into(), &"dhcp".into()));
    site.refused(&["host", "set", "node1", "--ip6", "fd99::1"], 1, "ip6: fd99::1 is outside every subnet6");
    site.done(&["host", "set", "node1", "--no-ip6"]);
    drop(client);
    // What it remembers, it would only ask to confirm.
    std::fs::remove_file(site.path("dhclient6.leases")).unwrap();
    assert!(value(&leased(&site).1, "new_ip6_address").starts_with("fd77::10"), "the next message sees it");
}

#[test]
fn dhclient_takes_its_address_on_an_interface_that_was_made_anew() {
    let both = "dhcp: server, subnet: 10.77.0.0/24, xdp: generic";
    for config in [SITE.to_owned(), SITE.replace("dhcp: off", both)] {
        let mut site = lab();
        site.configure(&config);
        site.serve();
        site.done(&["host", "add", "node1", "--mac", MAC, "--ip6", "fd77::51"]);
        for lease in ["2h", "3h"] {
            ip(&site.lab.namespace(Side::Server), "link del eth0");
            await_degraded(&site, Some("interface eth0: there is no such interface any more"));
            site.lab.connect();
            await_degraded(&site, Some("interface eth0: it does not have our address fd77::1 any more"));
            give_addresses(&site);
            await_degraded(&site, None);
            assert_eq!(value(&leased(&site).1, "new_ip6_address"), "fd77::51");
            std::fs::remove_file(site.path("dhclient6.leases")).unwrap();
            // Nor does a reload ask for a restart, as it does of what can't be followed.
            site.configure(&config.replace("lease6: 1h", &format!("lease6: {lease}")));
            site.done(&["config", "reload"]);
        }
        assert_eq!(value(&leased(&site).1, "new_max_life"), "10800");
        // Another MAC makes it no other interface.
        ip(&site.lab.namespace(Side::Server), "link set eth0 address 02:11:22:33:44:66");
        site.configure(&config);
        site.done(&["config", "reload"]);
        std::fs::remove_file(site.path("dhclient6.leases")).unwrap();
        assert_eq!(value(&leased(&site).1, "new_max_life"), "3600");
        await_degraded(&site, None);
    }
}

#[test]
fn dhclient_takes_a_lease_of_the_ipv6_pool_and_gives_it_back() {
    let site = serving();
    let (client, lease) = leased(&site);
    let address = value(&lease, "new_ip6_address").to_owned();
    let listed = || site.json(&["lease", "list", "--json"]);
    let list = listed();
    assert_eq!((&list[0]["ip"], &list[0]["mac"]), (&Value::from(address.as_str()), &Value::from(MAC)));
    assert_eq!((&list[0]["state"], &list[0]["client"]), (&"bound".into(), &"00030001525400770001".into()));
    drop(client);
    run(&mut dhclient(&site, &["-r"]));
    // It does not wait for the answer.
    let deadline = Instant::now() + Duration::from_secs(5);
    while listed()[0]["state"] != "released" {
        assert!(Instant::now() < deadline, "{}", listed());
    }
    assert!(site.done(&["lease", "list"]).contains(&address));
}

/// A client, or a relay agent, made by hand: only of use within [`Lab::inside`].
struct Wire {
    socket: UdpSocket,
    scope: u32,
}

impl Wire {
    fn open(port: u16) -> Self {
        let eth0 = netboot_userspace::sys::interface::interfaces().unwrap().remove("eth0").unwrap();
        let socket = bind(port);
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { socket, scope: eth0.index }
    }

    fn ask(&self, to: Ipv6Addr, message: &[u8]) -> Option<Vec<u8>> {
        self.socket.send_to(message, SocketAddrV6::new(to, 547, 0, self.scope)).unwrap();
        let mut reply = [0; 2048];
        let (length, from) = self.socket.recv_from(&mut reply).ok()?;
        assert!(matches!(from, SocketAddr::V6(_)) && from.port() == 547, "{from}");
        Some(reply[..length].to_vec())
    }

    /// Solicit and Request of client `name`; the address.
    fn lease(&self, name: u8) -> Option<[u8; 16]> {
        let advertised = address_in(&self.ask(GROUP, &message(1, name, &[]))?)?;
        let identified = option(2, &value_of(2, &self.ask(GROUP, &message(1, name, &[]))?[4..])?);
        address_in(&self.ask(GROUP, &message(3, name, &identified))?).filter(|ip| *ip == advertised)
    }
}

/// A process that another test starts has a copy of the socket that we closed, until it becomes its program.
fn bind(port: u16) -> UdpSocket {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            bound => return bound.unwrap(),
        }
    }
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// With client `name`'s identifier, one IA_NA, and `more`.
fn message(kind: u8, name: u8, more: &[u8]) -> Vec<u8> {
    let client = option(1, &[0, 3, 0, 1, 2, 0, 0, 0x99, 0, name]);
    let ia = option(3, &[&[0, 0, 0, 1][..], &[0; 8]].concat());
    [&[kind, 7, 7, name][..], &client, &ia, more].concat()
}

fn value_of(code: u16, mut options: &[u8]) -> Option<Vec<u8>> {
    while let [c, d, l, m, rest @ ..] = options {
        let (value, rest) = rest.split_at(u16::from_be_bytes([*l, *m]).into());
        if u16::from_be_bytes([*c, *d]) == code {
            return Some(value.to_vec());
        }
        options = rest;
    }
    None
}

/// The address in the IA_NA of a client's reply.
fn address_in(reply: &[u8]) -> Option<[u8; 16]> {
    let ia = value_of(3, &reply[4..])?;
    value_of(5, &ia[12..])?.first_chunk().copied()
}

#[test]
fn an_ipv6_lease_survives_kill_9() {
    let mut site = serving();
    let lease = |site: &Site, name| site.lab.inside(Side::Clients, || Wire::open(546).lease(name));
    let given: Vec<_> = (1..=4).map(|name| lease(&site, name).expect("four addresses")).collect();
    site.kill();
    site.serve();
    for (name, address) in (1..).zip(&given) {
        assert_eq!(lease(&site, name), Some(*address), "the same address again");
    }
    assert_eq!(lease(&site, 9), None, "and nobody else gets one of them");
    let identity = |site: &Site| {
        let reply = site.lab.inside(Side::Clients, || Wire::open(546).ask(GROUP, &message(1, 1, &[])));
        value_of(2, &reply.unwrap()[4..]).unwrap()
    };
    let before = identity(&site);
    site.kill();
    ip(&site.lab.namespace(Side::Server), "link set eth0 address 02:11:22:33:44:55");
    site.serve();
    assert_eq!(identity(&site), before, "our DUID outlives the network card");
}

#[test]
fn a_relay_agent_is_answered_at_its_own_port_and_address() {
    let site = serving();
    let link: Ipv6Addr = "fd78::1".parse().unwrap();
    let peer: Ipv6Addr = "fe80::1".parse().unwrap();
    let forward = [
        &[12, 0][..],
        &link.octets(),
        &peer.octets(),
        &option(18, b"port 7"),
        &option(9, &message(1, 1, &[])),
    ]
    .concat();
    let reply = site.lab.inside(Side::Clients, || Wire::open(547).ask("fd77::1".parse().unwrap(), &forward));
    let reply = reply.expect("a Relay-reply");
    assert_eq!((reply[0], &reply[1..34]), (13, &forward[1..34]));
    assert_eq!(value_of(18, &reply[34..]).as_deref(), Some(&b"port 7"[..]));
    let address = address_in(&value_of(9, &reply[34..]).unwrap()).unwrap();
    assert_eq!(address[..4], [0xfd, 0x78, 0, 0], "of the relay agent's link");
}

#[test]
fn datagrams_of_every_length_stop_no_dhcpv6_server() {
    let site = serving();
    let whole = message(1, 1, &[option(6, &[0, 59]), option(61, &[0, 7]), option(16, &[0; 30])].concat());
    let answered = site.lab.inside(Side::Clients, || {
        let wire = Wire::open(546);
        let to = SocketAddrV6::new(GROUP, 547, 0, wire.scope);
        for length in 0..whole.len() {
            wire.socket.send_to(&whole[..length], to).unwrap();
            wire.socket.send_to(&[&[12; 34][..], &whole[..length]].concat(), to).unwrap();
        }
        wire.ask(GROUP, &message(1, 2, &[]))
    });
    assert!(answered.is_some());
    let deadline = Instant::now() + Duration::from_secs(5);
    while site.count("dhcp6", "malformed") < whole.len() as u64 {
        assert!(Instant::now() < deadline, "{}", site.done(&["status", "--json"]));
    }
    assert!(!site.log().contains("panicked"), "{}", site.log());
}

#[test]
fn what_the_urls_name_is_there_over_ipv6() {
    let site = serving();
    let fetch = |url: &str| site.client("curl", &["-sS", "--globoff", "--max-time", "10", url]);
    let file = std::fs::read_to_string(site.path("netboot.yaml")).unwrap();
    assert_eq!(fetch("tftp://[fd77::1]/netboot.yaml"), file);
    assert_eq!(fetch("http://[fd77::1]:8080/loaders/netboot.yaml"), file);
    assert!(fetch("http://[fd77::1]:8080/boot.ipxe").starts_with("#!ipxe\nchain ipxe?"));
    let script = fetch("http://[fd77::1]:8080/ipxe?mac=52-54-00-77-00-01");
    assert!(script.contains("kernel http://[fd77::1]:8080/assets/netboot.yaml?boot="), "{script}");
}

#[test]
fn tftp_answers_from_the_ipv6_address_that_was_asked_and_no_group() {
    let site = serving();
    let server = site.lab.namespace(Side::Server);
    ip(&server, "address add fd77::9/64 dev eth0 nodad");
    let link_local = ip(&server, "-6 -brief address show dev eth0 scope link");
    let link_local = link_local.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap();
    let asked: Vec<Ipv6Addr> =
        ["fd77::1", "fd77::9", link_local].iter().map(|address| address.parse().unwrap()).collect();
    site.lab.inside(Side::Clients, || {
        let scope = Wire::open(546).scope;
        let client = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let ask = |address| {
            let to = SocketAddrV6::new(address, 69, 0, scope);
            client.send_to(b"\0\x01netboot.yaml\0octet\0tsize\x000\0", to).unwrap();
        };
        ask(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
        for address in asked {
            ask(address);
            let (_, from) = client.recv_from(&mut [0; 2048]).unwrap();
            assert_eq!(from.ip(), address);
            client.send_to(b"\0\x05\0\0\0", from).unwrap(); // enough
        }
    });
    let status = site.json(&["status", "--json"]);
    assert_eq!((&status["tftp"]["requests"], &status["tftp"]["dropped"]), (&3.into(), &0.into()), "{status}");
    assert!(status["tftp"]["broadcast"].as_u64() >= Some(1), "{status}");
}

#[test]
fn an_interface_without_an_ipv6_address_and_another_dhcpv6_server_are_named() {
    let site = lab();
    let taken = site.lab.inside(Side::Server, || {
        let taken = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 547)).unwrap();
        let output = site.server().output().unwrap();
        drop(taken);
        output
    });
    refused(&taken, 1, "eth0: UDP port 547: another DHCPv6 server serves this interface");
    ip(&site.lab.namespace(Side::Server), "address del fd77::1/64 dev eth0");
    refused(
        &site.server().output().unwrap(),
        1,
        "interface eth0: it has no IPv6 address in fd77::/64 (it has: fe80::",
    );
}
