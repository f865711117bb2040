//! Who asks: the client's hardware address, as far as anything tells it, and its class.

use std::net::Ipv6Addr;

use netboot_common::Mac;
use netboot_common::class::{Class, Hints, Ipxe, NO_ARCH, Vendor};
use netboot_common::wire::pxe::{self, arch};

use super::wire::{Envelope, Message, strings};
use crate::inventory::identity::Uuid;

/// ARP's hardware type of Ethernet, also in DUIDs and RFC 6939's option.
const ETHERNET: [u8; 2] = [0, 1];

/// DUID types (RFC 8415 section 11, RFC 6355).
mod duid {
    pub(super) const LINK_LAYER_TIME: [u8; 2] = [0, 1];
    pub(super) const LINK_LAYER: [u8; 2] = [0, 3];
    pub(super) const UUID: [u8; 2] = [0, 4];
}

/// The hardware addresses that a message may come from, the surest first: what the relay agent on the client's link saw
/// (RFC 6939), what the client's link-local address was made of, what its DUID says. The DUID is last: it is the machine's,
/// and names any of its ports.
pub(super) fn macs(envelope: &Envelope<'_>, source: Ipv6Addr) -> impl Iterator<Item = Mac> {
    let first = envelope.first_relay();
    let seen = first.and_then(|relay| relay.link_layer).and_then(ethernet);
    let peer = first.map_or(source, |relay| relay.peer);
    let named = envelope.message.client_id.and_then(mac_of_duid);
    let found = [seen, mac_of_link_local(peer), named];
    found.into_iter().flatten().filter(|mac| mac.is_unicast())
}

fn mac_of_link_local(address: Ipv6Addr) -> Option<Mac> {
    let octets = address.octets();
    let (_, id) = octets.split_last_chunk::<8>()?;
    Mac::from_interface_id(*id).filter(|_| address.is_unicast_link_local())
}

fn mac_of_duid(id: &[u8]) -> Option<Mac> {
    match id.split_first_chunk::<2>()? {
        (&duid::LINK_LAYER, rest) => ethernet(rest),
        // Type, hardware type, four bytes of time, address.
        (&duid::LINK_LAYER_TIME, [a, b, _, _, _, _, mac @ ..]) if [*a, *b] == ETHERNET => {
            mac.try_into().map(Mac).ok()
        }
        _ => None,
    }
}

/// A hardware type and an address.
fn ethernet(bytes: &[u8]) -> Option<Mac> {
    let mac = bytes.strip_prefix(&ETHERNET)?;
    mac.try_into().map(Mac).ok()
}

/// The UUID of a DUID-UUID (RFC 6355), in both ways in which it may stand there: iPXE sends it as it is written, firmware as SMBIOS
/// has it.
pub(super) fn uuids(duid: &[u8]) -> impl Iterator<Item = Uuid> + use<> {
    let sent: Option<[u8; 16]> = duid.strip_prefix(&duid::UUID).and_then(|uuid| uuid.try_into().ok());
    sent.into_iter().flat_map(|sent| [Uuid(sent), Uuid::from_wire(sent)])
}

/// From options 15, 16 and 61 (RFC 5970 section 3.3).
pub(super) fn class(message: &Message<'_>) -> Class {
    Class::of(Hints { arch: architecture(message), vendor: vendor(message), ipxe: ipxe(message) })
}

/// Whether it says of itself that it is a client of UEFI HTTP Boot (UEFI specification section 24.7).
pub(super) fn boots_by_http(message: &Message<'_>) -> bool {
    vendor(message) == Vendor::Http
}

/// The first that is known, else the first.
fn architecture(message: &Message<'_>) -> u16 {
    let known = |arch: &u16| {
        [
            arch::BIOS,
            arch::EFI_IA32,
            arch::EFI_X64,
            arch::EFI_X64_ALTERNATE,
            arch::EFI_ARM64,
            arch::EFI_IA32_HTTP,
            arch::EFI_X64_HTTP,
            arch::EFI_ARM64_HTTP,
        ]
        .contains(arch)
    };
    message.architectures().find(known).or_else(|| message.architectures().next()).unwrap_or(NO_ARCH)
}

/// By the vendor class, or, without one, by the architecture: who sends that boots from the network.
fn vendor(message: &Message<'_>) -> Vendor {
    // Enterprise number, strings.
    let class = message.vendor_class.get(4..).unwrap_or_default();
    match strings(class).next() {
        Some(class) if class.starts_with(&pxe::HTTP_CLIENT) => Vendor::Http,
        Some(class) if class.starts_with(&pxe::PXE_CLIENT) => Vendor::Pxe,
        _ => match architecture(message) {
            NO_ARCH => Vendor::Other,
            arch::EFI_IA32_HTTP | arch::EFI_X64_HTTP | arch::EFI_ARM64_HTTP => Vendor::Http,
            _ => Vendor::Pxe,
        },
    }
}

/// Every iPXE that speaks IPv6 can be built with HTTP, and nothing in DHCPv6 says that one was not.
fn ipxe(message: &Message<'_>) -> Ipxe {
    let is = |name: &[u8]| strings(message.user_class).any(|class| class == name);
    match () {
        () if is(&pxe::USER_CLASS_NETBOOT) => Ipxe::Ours,
        () if is(&pxe::USER_CLASS_IPXE) => Ipxe::WithHttp,
        () => Ipxe::No,
    }
}
