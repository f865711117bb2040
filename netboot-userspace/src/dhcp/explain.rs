//! What a machine would get, and from which lane: a DISCOVER that nobody sent, put before each of them.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use dhcproto::v4::Message;
use dhcproto::{Decodable, Decoder};
use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::maps::{HostKey, HostValue, InterfaceKey, InterfaceValue, Template, TemplateKey};
use netboot_common::packet::Slice;
use netboot_common::reply::{self, Scratch, Tables};
use netboot_common::request::{OPTIONS_FAST, Request};
use netboot_common::stats::{Leave, Outcome};
use netboot_common::wire::dhcp::{self, option};
use netboot_common::wire::pxe::{self, arch};
use netboot_common::wire::{ethernet, udp, vlan};

use super::leases::{Entry, Key};
use super::machine::{Arrival, Machine, Now};
use super::tables::{Plan, Served};
use crate::config::Subnet;
use crate::inventory::settings::Settings;

/// What one interface would say to a machine.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub interface: String,
    pub vlan: [u16; 2],
    /// The kernel's lanes: `Err` is why they would leave it to userspace.
    pub kernel: Result<Would, Leave>,
    /// The lane in userspace, which is asked where the kernel's leave.
    pub userspace: Result<Would, Leave>,
    /// The lease that the machine has here.
    pub lease: Option<Entry>,
    /// What the site and the machine's subnet here set, the outer level first. Its profile and its host set more, which is nearer.
    pub levels: Vec<(String, Settings)>,
}

/// A reply that was not sent.
#[derive(Clone, Debug)]
pub struct Would {
    /// `offer`, `proxy_offer` …
    pub kind: &'static str,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub file: String,
    /// As a person reads them.
    pub options: Vec<String>,
}

/// Each served interface's answer to `mac`, as a client of `class`. Its leases, and whom it keeps from the kernel, are as they were.
pub(super) fn explain(machine: &mut Machine, mac: Mac, class: Class, now: Now) -> Vec<Explanation> {
    let served: Vec<Served> = machine.plan.served.clone();
    served.iter().map(|served| on(machine, served, mac, class, now)).collect()
}

fn on(machine: &mut Machine, served: &Served, mac: Mac, class: Class, now: Now) -> Explanation {
    let frame = discover(mac, class, served.key.vlan());
    let link = served.networks.first().map(|network| machine.plan.network(*network).link);
    let client: Vec<u8> = std::iter::once(1).chain(mac.0).collect();
    let lease = link.and_then(|link| machine.book.of(&Key { link, client })).cloned();
    let kernel = kernel(machine, served, mac, &frame, lease.as_ref(), now);
    // What is offered is only kept for a client that asked: nobody did. Nor does anybody tell the kernel's lanes of a host that is no
    // longer withheld.
    let before = (machine.book.clone(), machine.withheld.clone());
    let userspace = userspace(machine, served, &frame, now);
    (machine.book, machine.withheld) = before;
    let (interface, vlan) = (served.link.name.clone(), served.key.vlan());
    let levels = levels(&machine.plan, served, kernel.as_ref().or(userspace.as_ref()).ok());
    Explanation { interface, vlan, kernel, userspace, lease, levels }
}

/// Of the subnet that the answer's address is of; in proxy mode the interface's.
fn levels(plan: &Plan, served: &Served, answer: Option<&Would>) -> Vec<(String, Settings)> {
    let given = answer.map(|answer| answer.yiaddr).filter(|ip| !ip.is_unspecified());
    let network = given.and_then(|ip| plan.network_of(ip)).or_else(|| served.networks.first().copied());
    let subnet = network.map(|network| {
        let Subnet { network, prefix, settings, .. } = &plan.network(network).subnet;
        (format!("subnet {network}/{prefix}"), settings.clone())
    });
    std::iter::once(("site".to_owned(), plan.site.clone())).chain(subnet).collect()
}

fn userspace(machine: &mut Machine, served: &Served, frame: &[u8], now: Now) -> Result<Would, Leave> {
    let arrival = Arrival { frame, ifindex: served.link.index };
    let mut out = [0; 4096];
    let actions = machine.handle(arrival, now, &mut Scratch::new(), &mut out);
    match (actions.outcome, actions.send) {
        (Outcome::Answered(kind), Some(length)) => would(kind.name(), &out[..length]).ok_or(Leave::Truncated),
        (Outcome::Left(leave), _) => Err(leave),
        (Outcome::Answered(_), None) => Err(Leave::TooLong),
    }
}

/// The maps, as the kernel has them for this one machine.
struct Maps<'a> {
    plan: &'a Plan,
    served: &'a Served,
    hosts: HashMap<HostKey, HostValue>,
    now: u64,
}

impl Tables for Maps<'_> {
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue> {
        let key = InterfaceKey::new(self.served.link.index, vlan);
        (key == self.served.key && !self.served.observe).then_some(&self.served.value)
    }

    fn host(&self, key: &HostKey) -> Option<&HostValue> {
        self.hosts.get(key)
    }

    fn template(&self, key: &TemplateKey) -> Option<&Template> {
        self.plan.templates.get(key)
    }

    fn now(&self) -> u64 {
        self.now
    }
}

fn kernel(
    machine: &mut Machine,
    served: &Served,
    mac: Mac,
    frame: &[u8],
    lease: Option<&Entry>,
    now: Now,
) -> Result<Would, Leave> {
    let mut hosts = HashMap::new();
    for key in machine.plan.keys(mac).collect::<Vec<_>>() {
        let known = machine.hosts.by_mac.get(&key).filter(|_| !machine.withheld.contains(&key)).copied();
        let leased = lease.filter(|entry| entry.durable > now.unix).and_then(|entry| {
            let value = machine.hosts.lesson(&mut machine.plan, &key, entry.ip)?;
            Some(value.with_valid_until(now.boot + entry.durable - now.unix))
        });
        let reserved = known.filter(|host| host.yiaddr != [0; 4]);
        hosts.extend(reserved.or(leased).or(known).map(|value| (key, value)));
    }
    let packet = Slice { bytes: frame, offloaded_vlan: 0, ifindex: served.link.index };
    let request = Request::read(&packet, OPTIONS_FAST)?;
    let (maps, mut scratch) = (Maps { plan: &machine.plan, served, hosts, now: now.boot }, Scratch::new());
    let reply = reply::answer(&packet, &request, &maps, &mut scratch)?;
    let mut out = [0; 4096];
    let length =
        reply.write(frame, usize::from(request.headers.l3), &scratch, &mut out).ok_or(Leave::TooLong)?;
    would(reply.kind.name(), &out[..length]).ok_or(Leave::Truncated)
}

fn would(kind: &'static str, frame: &[u8]) -> Option<Would> {
    let l3 = (12..).step_by(vlan::TAG).find(|at| {
        frame.get(*at..at + 2).is_none_or(|word| !vlan::is_tpid(u16::from_be_bytes([word[0], word[1]])))
    })? + 2;
    let message = Message::decode(&mut Decoder::new(frame.get(l3 + 28..)?)).ok()?;
    let file = message.fname().unwrap_or_default();
    let file = file.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Would {
        kind,
        yiaddr: message.yiaddr(),
        siaddr: message.siaddr(),
        file: String::from_utf8_lossy(file).into_owned(),
        options: message
            .opts()
            .iter()
            .map(|(code, value)| format!("{} {value:?}", u8::from(*code)))
            .collect(),
    })
}

/// A broadcast DISCOVER as clients of this class send it, with `tags`.
fn discover(mac: Mac, class: Class, tags: [u16; 2]) -> Vec<u8> {
    let mut fixed = [0; dhcp::FIXED];
    fixed[..4].copy_from_slice(&[dhcp::BOOTREQUEST, dhcp::ETHERNET, 6, 0]);
    fixed[dhcp::field::CHADDR..dhcp::field::CHADDR + 6].copy_from_slice(&mac.0);
    fixed[dhcp::field::COOKIE..].copy_from_slice(&dhcp::COOKIE);
    let mut message = [&fixed[..], &[option::MESSAGE_TYPE, 1, 1], &signs(class), &[option::END]].concat();
    message.resize(message.len().max(548), 0);
    let mut frame = [Mac::BROADCAST.0, mac.0].concat();
    let tags: Vec<u16> = tags.into_iter().filter(|vid| *vid != 0).collect();
    for (i, vid) in tags.iter().enumerate() {
        let tpid = if i + 1 < tags.len() { vlan::TPID_8021AD } else { vlan::TPID_8021Q };
        frame.extend([tpid.to_be_bytes(), vid.to_be_bytes()].concat());
    }
    let datagram = (udp::HEADER + message.len()) as u16;
    frame.extend(ethernet::TYPE_IPV4.to_be_bytes());
    frame.extend([0x45, 0]);
    frame.extend((20 + datagram).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    frame.extend([udp::DHCP_CLIENT.to_be_bytes(), udp::DHCP_SERVER.to_be_bytes()].concat());
    frame.extend([datagram.to_be_bytes(), [0; 2]].concat());
    frame.extend(message);
    frame
}

/// The options by which a class is known.
fn signs(class: Class) -> Vec<u8> {
    let push = |mut bytes: Vec<u8>, code: u8, value: &[u8]| {
        bytes.extend([code, value.len() as u8]);
        bytes.extend(value);
        bytes
    };
    let arch = match class {
        Class::Plain => return Vec::new(),
        Class::Bios | Class::IpxeBios => arch::BIOS,
        Class::EfiIa32 | Class::IpxeEfiIa32 => arch::EFI_IA32,
        Class::EfiX64 | Class::IpxeEfiX64 | Class::NetbootIpxe => arch::EFI_X64,
        Class::EfiArm64 | Class::IpxeEfiArm64 => arch::EFI_ARM64,
        Class::EfiIa32Http => arch::EFI_IA32_HTTP,
        Class::EfiX64Http => arch::EFI_X64_HTTP,
        Class::EfiArm64Http => arch::EFI_ARM64_HTTP,
        Class::Unknown => u16::MAX - 1,
    };
    let vendor: &[u8] = if class.boots_by_http() { &pxe::HTTP_CLIENT } else { &pxe::PXE_CLIENT };
    let bytes = push(Vec::new(), option::VENDOR_CLASS, vendor);
    let bytes = push(bytes, option::CLIENT_ARCH, &arch.to_be_bytes());
    match class {
        Class::IpxeBios | Class::IpxeEfiIa32 | Class::IpxeEfiX64 | Class::IpxeEfiArm64 => {
            let bytes = push(bytes, option::USER_CLASS, &pxe::USER_CLASS_IPXE);
            push(bytes, option::IPXE, &[pxe::ipxe::FEATURE_HTTP, 1, 1])
        }
        Class::NetbootIpxe => push(bytes, option::USER_CLASS, &pxe::USER_CLASS_NETBOOT),
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_known_by_its_signs() {
        for class in Class::ALL {
            for tags in [[0, 0], [7, 0], [7, 8]] {
                let frame = discover(Mac([2, 0, 0, 0, 0, 1]), class, tags);
                let packet = Slice { bytes: &frame, offloaded_vlan: 0, ifindex: 1 };
                let request = Request::read(&packet, OPTIONS_FAST).unwrap();
                assert_eq!((request.class(), request.headers.vlan), (class, tags));
            }
        }
    }
}
