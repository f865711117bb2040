//! Images: what to write ([`protocol`]), and how.
//!
//! [`install`] is the whole path: fetch → decode → hash and write → read back → head. [`fetch`], [`format`] and
//! [`decode`] are its source side, [`write`], [`head`] and [`device`] its disk side.

#[cfg(feature = "agent")]
pub mod decode;
#[cfg(feature = "agent")]
pub mod device;
pub mod digest;
#[cfg(feature = "agent")]
pub mod fetch;
pub mod format;
#[cfg(feature = "agent")]
pub mod head;
pub mod http;
#[cfg(feature = "agent")]
pub mod install;
pub mod protocol;
#[cfg(all(test, feature = "agent"))]
pub(crate) mod testing;
#[cfg(feature = "agent")]
mod transfers;
#[cfg(feature = "agent")]
pub mod write;
