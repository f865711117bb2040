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
                let bytes = content.get(at as usize..).and_then(|rest| rest.get(..usize::from(length)));
                packet.clear();
                packet.extend_from_slice(&data_header(block));
                packet.extend_from_slice(bytes.unwrap_or_default());
                send(&packet);
            }
        }
    }
}
