//! The codecs of options 43 and 82, and of what an operator writes as an option.

use netboot_common::packet::Slice;
use netboot_common::request::{OPTIONS_ALL, Request};
use netboot_userspace::inventory::options::Options;

use super::frame::around;
use super::input::Input;

/// Option 82 in a relayed DISCOVER: the circuit is that of dhcproto's reading, and nothing of it runs over.
pub(crate) fn relay_agent(data: &[u8]) {
    let value = &data[..data.len().min(255)];
    let mut message = vec![1, 1, 6, 1, 1, 2, 3, 4, 0, 0, 0, 0];
    message.extend([[0; 4], [0; 4], [0; 4], [10, 9, 0, 1]].concat());
    message.extend([0x52, 0x54, 0, 0x77, 0, 1]);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, 1, 82, value.len() as u8]);
    message.extend(value);
    message.push(255);
    let frame = around(&message, [2, 0, 0, 0, 0, 9], [10, 9, 0, 1], [10, 0, 0, 1], (67, 67));
    let packet = Slice { bytes: &frame, offloaded_vlan: 0, ifindex: 1 };
    let request =
        Request::read(&packet, OPTIONS_ALL).expect("whatever a relay agent says is no fault of the message");
    let options = &request.options;
    let (mut circuit, mut link) = (None, None);
    let mut rest = value;
    // RFC 3046 section 2: sub-options have no pads; 0 and 255 are read as elsewhere, which harms nobody.
    loop {
        match rest {
            [0, behind @ ..] => rest = behind,
            [] | [255, ..] | [_] => break,
            [code, length, behind @ ..] => {
                let Some((value, behind)) = behind.split_at_checked((*length).into()) else { break };
                match (code, value.len()) {
                    (1, 1..) => circuit = Some(value),
                    (5, 4) => link = Some(value),
                    _ => {}
                }
                rest = behind;
            }
        }
    }
    let at = usize::from(options.circuit.at);
    let ours = &frame[at..at + usize::from(options.circuit.length)];
    assert_eq!(ours, circuit.unwrap_or_default());
    assert_eq!(options.link[..], link.unwrap_or(&[0; 4])[..]);
    let at = usize::from(options.relay_agent.at);
    assert_eq!(&frame[at..at + usize::from(options.relay_agent.length)], value, "it comes back whole");
}

/// Options as an operator writes them, option 43's among them.
pub(crate) fn written(data: &[u8]) {
    let mut input = Input::new(data);
    let mut options = Options::default();
    let is_vendor = input.byte() & 1 == 1;
    let key = String::from_utf8_lossy(input.string()).into_owned();
    let value = String::from_utf8_lossy(input.rest()).into_owned();
    let values: Vec<&str> = value.split('\n').collect();
    let set = if is_vendor { options.set_vendor(&key, &values) } else { options.set(&key, &values) };
    match set {
        Err(reason) => assert!(!reason.is_empty() && options.is_empty()),
        Ok(()) => {
            assert_eq!(options.iter().count(), 1);
            for (code, value) in options.iter() {
                assert!(!value.is_empty() && (1..255).contains(&code), "{code}: {value:?}");
            }
        }
    }
}
