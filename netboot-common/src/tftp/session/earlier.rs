//! What is remembered of the transfer that a client had before: a network may still deliver what was sent for it.

use super::{Agreed, Session, flag};
use crate::tftp::maps::FileRef;

/// See the top of this file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Earlier {
    file: FileRef,
    port: [u8; 2],
    block_size: [u8; 2],
    window: u8,
    has_options: u8,
}

impl Earlier {
    /// It had none.
    pub(super) const NONE: Self =
        Self { file: FileRef::new(0, 0), port: [0; 2], block_size: [0; 2], window: 0, has_options: 0 };

    #[inline(always)]
    pub(super) const fn of(session: &Session) -> Self {
        Self {
            file: session.file,
            port: session.port,
            block_size: session.block_size,
            window: session.window,
            has_options: session.is(flag::OPTIONS) as u8,
        }
    }

    /// This one was asked for its file's size alone, and has acknowledged nothing: what is late is for the one before it.
    #[inline(always)]
    pub(super) const fn keep_port(&mut self, before: &Self) {
        self.port = before.port;
    }

    /// Whether this was agreed on for it, but for the port.
    #[inline(always)]
    pub(super) fn is_of(&self, agreed: &Agreed) -> bool {
        self.file == agreed.file
            && u16::from_be_bytes(self.block_size) == agreed.terms.block_size
            && self.window == agreed.terms.window
            && (self.has_options != 0) == agreed.terms.has_options
    }

    /// Our TID where the client has acknowledged something; 0: there was none.
    #[inline(always)]
    pub(super) const fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }
}
