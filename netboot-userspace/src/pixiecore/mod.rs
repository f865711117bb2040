//! Pixiecore's boot API (danderson/netboot), both ways: what an API's answer means, the iPXE script that it becomes, the sealed names of
//! the files in that script, and the answer that we give ourselves. Pure: bytes, time and random numbers are arguments.
//!
//! **Invariant:** a file's name in a URL is either one that the operator gave, or sealed: nobody fetches through us what no API has named.

pub mod answer;
pub mod base64;
pub mod cmdline;
pub mod cpu;
pub mod offer;
pub mod place;
pub mod script;
pub mod seal;

pub use cpu::Cpu;
pub use place::{Base, Place};

/// What a machine boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    Linux(Linux),
    /// A whole iPXE script, sent as it is.
    Script(String),
}

/// A kernel and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linux {
    pub kernel: Place,
    /// In the order in which the kernel unpacks them.
    pub initrd: Vec<Place>,
    pub cmdline: Vec<cmdline::Part>,
    /// Shown on the machine's console; empty: nothing.
    pub message: String,
}

/// What is wrong with what somebody typed or answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {cause}")]
pub struct Fault {
    /// `kernel`, `initrd[1]`, `cmdline`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub cause: String,
}

impl Fault {
    pub fn new(field: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { field: field.into(), cause: cause.into() }
    }
}
