//! What is sent as one datagram, or as several.

use crate::sys::datagram::{Control, NAME_LEN, Outgoing, SEND_CONTROL_LEN, write_control, write_name};

/// One outgoing message with the headers that point into it; lives in a box, so that its address stays.
pub(super) struct Message {
    pub(super) header: libc::msghdr,
    vector: libc::iovec,
    /// A sockaddr of either family; its length is the header's.
    name: [u8; NAME_LEN],
    control: Control<SEND_CONTROL_LEN>,
    pub(super) bytes: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Message {
    pub(super) fn new() -> Box<Self> {
        // SAFETY: msghdr and iovec are plain C structures for which all zeroes is a valid value.
        let (header, vector) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let (name, control) = ([0; NAME_LEN], Control([0; SEND_CONTROL_LEN]));
        Box::new(Self { header, vector, name, control, bytes: Vec::new() })
    }

    /// Points the headers at the bytes; call it when the box and the bytes have their final place.
    pub(super) fn aim(&mut self, outgoing: &Outgoing) {
        self.header.msg_namelen = write_name(outgoing.to, &mut self.name) as libc::socklen_t;
        self.header.msg_controllen = write_control(outgoing, &mut self.control) as _;
        self.header.msg_control = (&raw mut self.control).cast();
        self.vector = libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: self.bytes.len() };
        self.header.msg_name = (&raw mut self.name).cast();
        self.header.msg_iov = &raw mut self.vector;
        self.header.msg_iovlen = 1;
    }
}
