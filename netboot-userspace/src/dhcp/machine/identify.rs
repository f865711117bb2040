//! Who a request is from: a host of the inventory, and the client that a lease belongs to.

use std::collections::HashMap;
use std::sync::Arc;

use netboot_common::Mac;
use netboot_common::maps::{HostKey, HostValue};
use netboot_common::packet::Slice;
use netboot_common::request::{Request, Span};

use super::super::leases::ClientId;
use crate::inventory::group::Grouped;
use crate::inventory::identity::Uuid;
use crate::inventory::labels::Heard;

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
    pub grouped: Grouped,
}

impl Hosts {
    /// Whether some are known by more than their MAC: then a lease says too little of its client for the kernel's lanes.
    pub fn are_named(&self) -> bool {
        !(self.by_client_id.is_empty() && self.by_uuid.is_empty() && self.by_circuit.is_empty())
    }

    /// Puts these in, beside those that there are.
    pub fn extend(&mut self, more: Self) {
        self.by_mac.extend(more.by_mac);
        self.by_client_id.extend(more.by_client_id);
        self.by_uuid.extend(more.by_uuid);
        self.by_circuit.extend(more.by_circuit);
    }

    pub(super) fn find(&self, packet: &Slice<'_>, request: &Request) -> Option<HostValue> {
        let by_mac = self.by_mac.get(&HostKey::new(request.chaddr, request.headers.vid()));
        by_mac.copied().or_else(|| Some(self.named(packet, request)?.value))
    }

    /// Whether a group asks for it by what DHCP tells of it.
    pub(super) fn are_grouped(&self, packet: &Slice<'_>, request: &Request) -> bool {
        let by_uuid =
            || uuid(packet, request).is_some_and(|uuid| self.grouped.has_uuid(Uuid::from_wire(*uuid)));
        self.grouped.has_mac(Mac(request.chaddr)) || by_uuid()
    }

    /// By what else than its MAC.
    pub(super) fn named(&self, packet: &Slice<'_>, request: &Request) -> Option<&NamedHost> {
        let options = &request.options;
        let by_client_id = || self.by_client_id.get(bytes(packet, options.client_id)?);
        let by_uuid = || self.by_uuid.get(uuid(packet, request)?);
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

/// What puts a machine without an entry into a group.
pub(super) fn heard(packet: &Slice<'_>, request: &Request) -> Heard {
    let uuid = uuid(packet, request).map(|uuid| Uuid::from_wire(*uuid));
    Heard { mac: Some(Mac(request.chaddr)), uuid, class: Some(request.class()) }
}

/// Option 97, behind its type.
fn uuid<'a>(packet: &Slice<'a>, request: &Request) -> Option<&'a [u8; 16]> {
    bytes(packet, request.options.uuid)?.last_chunk()
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
