//! Who a request is from: a host of the inventory, and the client that a lease belongs to.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use netboot_common::maps::{HostKey, HostValue};
use netboot_common::packet::Slice;
use netboot_common::request::{Request, Span};

use super::super::leases::ClientId;

/// A host that is known by more than its MAC.
#[derive(Clone, Debug)]
pub struct NamedHost {
    pub value: HostValue,
    pub name: Arc<str>,
}

/// The hosts of the inventory, by each of their identities. Where several match, the first of these wins.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    pub by_mac: HashMap<HostKey, HostValue>,
    /// Option 61.
    pub by_client_id: HashMap<Vec<u8>, NamedHost>,
    /// Option 97, as it is on the wire.
    pub by_uuid: HashMap<[u8; 16], NamedHost>,
    /// Sub-option 1 of option 82.
    pub by_circuit: HashMap<Vec<u8>, NamedHost>,
    /// MACs that groups ask for: those machines are no strangers.
    pub grouped_macs: HashSet<[u8; 6]>,
    /// The same of UUIDs, as they are on the wire.
    pub grouped_uuids: HashSet<[u8; 16]>,
}

impl Hosts {
    /// Whether some are known by more than their MAC: then a lease says too little of its client for the kernel's lanes.
    pub fn are_named(&self) -> bool {
        !(self.by_client_id.is_empty() && self.by_uuid.is_empty() && self.by_circuit.is_empty())
    }

    /// Takes `before` out, and puts `after` in.
    pub fn change(&mut self, before: &Self, after: Self) {
        fn change<K: Eq + Hash, V>(all: &mut HashMap<K, V>, before: &HashMap<K, V>, after: HashMap<K, V>) {
            before.keys().for_each(|key| drop(all.remove(key)));
            all.extend(after);
        }
        change(&mut self.by_mac, &before.by_mac, after.by_mac);
        change(&mut self.by_client_id, &before.by_client_id, after.by_client_id);
        change(&mut self.by_uuid, &before.by_uuid, after.by_uuid);
        change(&mut self.by_circuit, &before.by_circuit, after.by_circuit);
    }

    pub(super) fn find(&self, packet: &Slice<'_>, request: &Request) -> Option<HostValue> {
        let by_mac = self.by_mac.get(&HostKey::new(request.chaddr, request.headers.vid()));
        by_mac.copied().or_else(|| Some(self.named(packet, request)?.value))
    }

    /// Whether a group asks for it by what DHCP tells of it.
    pub(super) fn are_grouped(&self, packet: &Slice<'_>, request: &Request) -> bool {
        let uuid = || bytes(packet, request.options.uuid)?.last_chunk::<16>();
        let by_uuid = || uuid().is_some_and(|uuid| self.grouped_uuids.contains(uuid));
        self.grouped_macs.contains(&request.chaddr) || by_uuid()
    }

    /// By what else than its MAC.
    pub(super) fn named(&self, packet: &Slice<'_>, request: &Request) -> Option<&NamedHost> {
        let options = &request.options;
        let by_client_id = || self.by_client_id.get(bytes(packet, options.client_id)?);
        let by_uuid = || self.by_uuid.get(bytes(packet, options.uuid)?.last_chunk::<16>()?);
        // A relay agent's word: of a client's own the request would have been left (`reply::addressed_to`).
        let by_circuit = || self.by_circuit.get(bytes(packet, options.circuit)?);
        by_client_id().or_else(by_uuid).or_else(by_circuit)
    }
}

/// Option 61, else the hardware type and the MAC: what RFC 2132 section 9.14 suggests for option 61, so that a machine whose
/// firmware sends it and whose system does not is one client.
pub(super) fn client_id(packet: &Slice<'_>, request: &Request) -> ClientId {
    match bytes(packet, request.options.client_id) {
        Some(id) => id.to_vec(),
        None => std::iter::once(1).chain(request.chaddr).collect(),
    }
}

/// Option 12, as far as it is a host name: letters, digits, dashes and dots (RFC 2132 section 3.14).
pub(super) fn text(packet: &Slice<'_>, span: Span) -> String {
    let text = std::str::from_utf8(bytes(packet, span).unwrap_or_default()).unwrap_or_default();
    let text = text.trim_end_matches('\0');
    let valid = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if valid { text.to_owned() } else { String::new() }
}

fn bytes<'a>(packet: &Slice<'a>, span: Span) -> Option<&'a [u8]> {
    let at = usize::from(span.at);
    packet.bytes.get(at..at + usize::from(span.length)).filter(|bytes| !bytes.is_empty())
}
