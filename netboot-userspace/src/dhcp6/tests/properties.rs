//! Whatever comes in: no panic, and what goes out is a sound message.

use proptest::prelude::*;

use super::*;

/// Bytes that look like options: codes that we read, and any other.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        4 => prop::sample::select(vec![1_u16, 2, 3, 4, 5, 6, 13, 14, 15, 16, 18, 25, 61, 62, 79]),
        1 => any::<u16>(),
    ];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(SERVER_ID.to_vec()),
        Just([&[0, 0, 0, 1][..], &[0; 8], &[0, 5, 0, 24, 0x20, 1, 0xd, 0xb8], &[0; 20]].concat()),
    ];
    prop::collection::vec((code, value, 0..=1_u16), 0..8).prop_map(|options| {
        let mut bytes = Vec::new();
        for (code, value, lie) in options {
            bytes.extend(code.to_be_bytes());
            bytes.extend((value.len() as u16 + lie * 3).to_be_bytes());
            bytes.extend(value);
        }
        bytes
    })
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let message =
        || (0..14_u8, options()).prop_map(|(kind, options)| [&[kind, 1, 2, 3][..], &options].concat());
    let relayed = (message(), options(), 0..12_usize).prop_map(|(message, options, depth)| {
        (0..depth).fold(message, |inner, hops| {
            let length = (inner.len() as u16).to_be_bytes();
            let head = [&[12, hops as u8][..], &[0; 32], &[0, 9], &length].concat();
            [head, inner, options.clone()].concat()
        })
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), message(), relayed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_datagram_stops_the_machine(datagrams in prop::collection::vec(datagram(), 1..6), to_group: bool) {
        let mut site = Site::new();
        site.to_group = to_group;
        for (interface, datagram) in datagrams.into_iter().enumerate() {
            site.interface = interface % 3;
            let made = site.send(&datagram, link_local(STRANGER));
            if made.actions.send.is_some() {
                let reply = made.reply.as_slice();
                prop_assert!([2, 7, 13].contains(&reply[0]));
                if reply[0] != 13 {
                    decode(reply);
                }
            }
        }
    }
}

#[test]
fn every_prefix_of_a_message_is_refused_or_answered() {
    let mut site = Site::new();
    let whole =
        bytes(&message(STRANGER, MessageType::Solicit, [iana(1, &[]), oro(&[23, 59]), raw(61, &[0, 7])]));
    for length in 0..=whole.len() {
        let made = site.send(&whole[..length], link_local(STRANGER));
        if length == whole.len() {
            assert!(made.actions.send.is_some());
        }
    }
}
