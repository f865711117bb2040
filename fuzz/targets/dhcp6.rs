//! The reader of DHCPv6, relay agents' envelopes included: never a panic, and of one mind with dhcproto.

use dhcproto::v6::{DhcpOption, Message, MessageType as Theirs, OptionCode, RelayMessage};
use dhcproto::{Decodable as _, Decoder};
use netboot_userspace::dhcp6::wire::{Envelope, HOP_COUNT_LIMIT, strings};

use super::input::first_option as first;

pub(crate) fn reader(data: &[u8]) {
    let Ok(envelope) = Envelope::read(data) else { return };
    assert!(envelope.relays.iter().count() <= HOP_COUNT_LIMIT + 1, "nesting is bounded");
    let mut inner = data;
    for relay in envelope.relays.iter() {
        let theirs = only(inner, 34, &[18]);
        let theirs = RelayMessage::decode(&mut Decoder::new(&theirs)).expect("dhcproto reads what we read");
        assert_eq!(theirs.msg_type(), Theirs::RelayForw);
        let heads = (theirs.hop_count(), theirs.link_addr(), theirs.peer_addr());
        assert_eq!(heads, (relay.hop_count, relay.link, relay.peer));
        // Of options that came twice the first counts, and dhcproto sorts: only single ones can be compared.
        if let Some([DhcpOption::InterfaceId(id)]) = theirs.opts().get_all(OptionCode::InterfaceId) {
            assert_eq!(relay.interface_id, Some(&id[..]));
        }
        inner = first(&inner[34..], 9).expect("a relayed message has a message");
    }
    let message = &envelope.message;
    let theirs = only(inner, 4, &[1, 2]);
    let theirs = Message::decode(&mut Decoder::new(&theirs)).expect("dhcproto reads what we read");
    assert_eq!(message.transaction, theirs.xid());
    assert_eq!(message.client_id, first(&inner[4..], 1));
    assert_eq!(message.server_id, first(&inner[4..], 2));
    if let Some([DhcpOption::ClientId(id)]) = theirs.opts().get_all(OptionCode::ClientId) {
        assert_eq!(message.client_id, Some(&id[..]));
    }
    if let Some([DhcpOption::ServerId(id)]) = theirs.opts().get_all(OptionCode::ServerId) {
        assert_eq!(message.server_id, Some(&id[..]));
    }
    if let Some(ia) = first(&inner[4..], 3) {
        assert!(message.ias.iter().any(|ours| ours.iaid.to_be_bytes() == ia[..4]));
    }
    let _ = (strings(message.user_class).count(), strings(message.vendor_class).count());
    let _ = (message.architectures().count(), message.asks_for(59));
    for ia in message.ias.iter() {
        let _ = ia.addresses().count();
    }
}

/// The message with those of its options alone: dhcproto 0.15 itself panics at a status of less than two bytes.
fn only(message: &[u8], header: usize, codes: &[u16]) -> Vec<u8> {
    let (head, mut options) = message.split_at(header);
    let mut kept = head.to_vec();
    while let [c, d, l, m, rest @ ..] = options {
        let Some((value, behind)) = rest.split_at_checked(u16::from_be_bytes([*l, *m]).into()) else { break };
        if codes.contains(&u16::from_be_bytes([*c, *d])) {
            kept.extend([&[*c, *d, *l, *m], value].concat());
        }
        options = behind;
    }
    kept
}
