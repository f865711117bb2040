//! What is rendered for one machine: boot scripts of three loaders, its metadata, and its configurations. Pure: what is known in,
//! text out. Which files that is read from, and who may have it, is `api`'s to say.

pub mod asked;
pub mod bootcfg;
pub mod config;
pub mod loaders;
pub mod machine;
pub mod matchbox;
pub mod metadata;
pub mod trial;

/// A kernel, and what it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// As its loader takes it: a URL, or a path on the server that its script came from.
    pub kernel: String,
    /// The same; iPXE's words may stand before it (`--name main http://…`).
    pub initrd: Vec<String>,
    pub args: Vec<String>,
}
