//! The clients of `cargo xtask bench tftp`: what measures must be right itself.
#![allow(dead_code, reason = "the benches use the rest")]

#[path = "../bpffs.rs"]
mod bpffs;
#[path = "tftp/clients.rs"]
mod clients;
#[path = "tftp/fetch.rs"]
mod fetch;
#[path = "tftp/frames.rs"]
mod frames;
#[path = "../netns/lab.rs"]
mod lab;
#[path = "tftp/link.rs"]
mod link;
#[path = "tftp/machine.rs"]
mod machine;
#[path = "samples.rs"]
mod samples;
#[path = "tftp/tally.rs"]
mod tally;
#[path = "tftp/transfers.rs"]
mod transfers;
#[path = "wire.rs"]
mod wire;

mod tests {
    mod clients;
    mod frames;
    mod link;
    mod machine;
    mod transfers;
    mod wire;
}
