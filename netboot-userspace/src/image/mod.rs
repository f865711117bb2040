//! Images: what to write ([`protocol`]), and how.

pub mod protocol;
