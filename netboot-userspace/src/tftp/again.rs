//! What the kernel sent last in a transfer, once more: for clients that wait for it, and do not say so.

use netboot_common::tftp::answer::place;
use netboot_common::tftp::reply::Oack;
use netboot_common::tftp::session::{Send, Session};
use netboot_common::wire::tftp::{DATA_HEADER, data_header};

/// Has each of these packets sent, as the program made it: the OACK, or the blocks of the window. `content`: of the transfer's file.
pub fn packets(session: &Session, content: &[u8], mut send: impl FnMut(&[u8])) {
    let size = content.len() as u32;
    match session.outstanding() {
        Send::Nothing => {}
        Send::Oack => {
            let mut oack = Oack::NEW;
            oack.fill(&session.granted(size));
            send(oack.bytes.get(..usize::from(oack.length())).unwrap_or_default());
        }
        Send::Window => {
            let mut packet = Vec::with_capacity(DATA_HEADER + usize::from(session.block_size()));
            for n in 1..=session.sent().wrapping_sub(session.acked()) {
                let block = session.acked().wrapping_add(n);
                let (at, length) = place(block, session.block_size(), size);
                // What is not there is no block: an empty one would be the file's end.
                let bytes = content.get(at as usize..).and_then(|rest| rest.get(..usize::from(length)));
                let Some(bytes) = bytes else { return };
                packet.clear();
                packet.extend_from_slice(&data_header(block));
                packet.extend_from_slice(bytes);
                send(&packet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netboot_common::tftp::maps::FileRef;
    use netboot_common::tftp::reply::{Granted, Terms};
    use netboot_common::tftp::session::Agreed;

    use super::*;

    /// The numbers and lengths of the blocks of a whole file in one window: the session says three, of 512 bytes.
    fn sent(size: usize) -> Vec<(u8, usize)> {
        let terms = Terms::of(Granted { window_size: 4, ..Granted::default() });
        let (file, mac, own, port) = (FileRef::new(1, 1), [2; 6], [10, 0, 0, 1], 0xf000);
        let mut session = Session::NONE;
        session.begin(Agreed { file, mac, own, port, blocks: 3, terms }, 1);
        session.ack(0, 2);
        let mut sent = Vec::new();
        packets(&session, &vec![7; size], |packet| sent.push((packet[3], packet.len() - DATA_HEADER)));
        sent
    }

    #[test]
    fn an_empty_block_is_sent_where_a_file_ends_behind_a_full_one_and_nowhere_else() {
        assert_eq!(sent(1024), [(1, 512), (2, 512), (3, 0)]);
        assert_eq!(sent(1025), [(1, 512), (2, 512), (3, 1)]);
        assert_eq!(sent(600), [(1, 512), (2, 88)], "a content that is not the session's");
    }
}
