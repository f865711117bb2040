//! The reader of DHCPv6, relay agents' envelopes included: never a panic, and of one mind with dhcproto.

use dhcproto::v6::{DhcpOption, Message, MessageType as Theirs, OptionCode, RelayMessage};
use dhcproto::{Decodable as _, Decoder};
use netboot_userspace::dhcp6::wire::{Envelope, HOP_COUNT_LIMIT, strings};

use super::input::first_option as first;

pub(crate) fn reader(data: &[u8]) {
    let Ok(envelope) = Envelope::read(data) else { return };
    assert!(envelope.relays.iter().count() <= HOP_COUNT_LIMIT + 1, "nesting is bounded");
    let mut inner = data.to_vec();
    for relay in envelope.relays.iter() {
        let theirs = RelayMessage::decode(&mut Decoder::new(&inner)).expect("dhcproto reads what we read");
        assert_eq!(theirs.msg_type(), Theirs::RelayForw);
        assert_eq!(
            (theirs.hop_count(), theirs.link_addr(), theirs.peer_addr()),
            (relay.hop_count, relay.link, relay.peer)
        );
        // Of options that came twice the first counts, and dhcproto sorts: only single ones can be compared.
        if let Some([DhcpOption::InterfaceId(id)]) = theirs.opts().get_all(OptionCode::InterfaceId) {
            assert_eq!(relay.interface_id, Some(&id[..]));
        }
        let Some(value) = first(&inner[34..], 9) else { panic!("a relayed message without a message") };
        inner = value.to_vec();
    }
    let message = &envelope.message;
    let theirs = Message::decode(&mut Decoder::new(&inner)).expect("dhcproto reads what we read");
    assert_eq!(message.transaction, theirs.xid());
    assert_eq!(message.client_id, first(&inner[4..], 1));
    assert_eq!(message.server_id, first(&inner[4..], 2));
    if let Some([DhcpOption::ClientId(id)]) = theirs.opts().get_all(OptionCode::ClientId) {
        assert_eq!(message.client_id, Some(&id[..]));
    }
    if let Some([DhcpOption::IANA(ia)]) = theirs.opts().get_all(OptionCode::IANA) {
        assert!(message.ias.iter().any(|ours| ours.iaid == ia.id));
    }
    let _ = (strings(message.user_class).count(), strings(message.vendor_class).count());
    let _ = (message.architectures().count(), message.asks_for(59));
    for ia in message.ias.iter() {
        let _ = ia.addresses().count();
    }
}
