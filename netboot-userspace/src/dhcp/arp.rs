//! ARP (RFC 826), as far as it tells whether an address is in use (RFC 5227 section 2.1).
//!
//! ```text
//!  0 htype 1 │ 2 ptype 0800 │ 4 hlen 6 │ 5 plen 4 │ 6 op │ 8 sender MAC │ 14 sender IP │ 18 target MAC │ 24 target IP
//! ```

use std::net::Ipv4Addr;

use netboot_common::Mac;
use netboot_common::wire::{ethernet, vlan};

const TYPE: u16 = 0x0806;
const REQUEST: u16 = 1;
const LENGTH: usize = 28;

/// A probe: who has `ip`? From an address of 0.0.0.0, so that nobody's cache changes. `tags` as in the frame that asks for it.
pub(super) fn probe(ip: Ipv4Addr, sender: Mac, tags: &[u8]) -> Vec<u8> {
    let mut frame = [&Mac::BROADCAST.0[..], &sender.0, tags, &TYPE.to_be_bytes()].concat();
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(REQUEST.to_be_bytes());
    frame.extend(sender.0);
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame.resize(frame.len().max(ethernet::FRAME_MIN), 0);
    frame
}

/// Who uses which address, by an ARP frame of any kind.
pub(super) fn user(frame: &[u8]) -> Option<(Mac, Ipv4Addr)> {
    let mut at = ethernet::field::ETHERTYPE;
    let word = |at: usize| frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    while vlan::is_tpid(word(at)?) {
        at += vlan::TAG;
    }
    if word(at)? != TYPE {
        return None;
    }
    let packet = frame.get(at + 2..at + 2 + LENGTH)?;
    let (mac, ip) = (packet[8..14].first_chunk()?, packet[14..18].first_chunk::<4>()?);
    let sound = packet[..6] == [0, 1, 8, 0, 6, 4] && *ip != [0; 4];
    sound.then_some((Mac(*mac), Ipv4Addr::from(*ip)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_probe_names_no_user_and_an_answer_does() {
        for tags in [&[][..], &[0x81, 0, 0, 77], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]] {
            let mut frame = probe(Ipv4Addr::new(10, 0, 0, 9), SENDER, tags);
            assert!(frame.len() >= 60);
            assert_eq!(user(&frame), None, "a probe comes from 0.0.0.0");
            let at = 14 + tags.len();
            frame[at + 7] = 2;
            frame[at + 14..at + 18].copy_from_slice(&[10, 0, 0, 9]);
            assert_eq!(user(&frame), Some((SENDER, Ipv4Addr::new(10, 0, 0, 9))));
            for length in 0..at + LENGTH {
                assert_eq!(user(&frame[..length]), None);
            }
        }
    }
}
