//! The clients of `cargo xtask bench tftp` and `http`: what measures must be right itself.
#![allow(dead_code, reason = "the benches use the rest")]

#[path = "http/answer.rs"]
mod answer;
#[path = "http/bare.rs"]
mod bare;
#[path = "../bpffs.rs"]
mod bpffs;
#[path = "http/caller.rs"]
mod caller;
#[path = "tftp/clients.rs"]
mod clients;
#[path = "tftp/fetch.rs"]
mod fetch;
#[path = "tftp/frames.rs"]
mod frames;
#[path = "http/histogram.rs"]
mod histogram;
#[path = "../netns/lab.rs"]
mod lab;
#[path = "tftp/link.rs"]
mod link;
#[path = "http/load.rs"]
mod load;
#[path = "tftp/machine.rs"]
mod machine;
#[path = "samples.rs"]
mod samples;
#[path = "http/score.rs"]
mod score;
#[path = "tftp/tally.rs"]
mod tally;
#[path = "tftp/transfers.rs"]
mod transfers;
#[path = "wire.rs"]
mod wire;

mod tests {
    mod answer;
    mod clients;
    mod frames;
    mod histogram;
    mod link;
    mod load;
    mod machine;
    mod transfers;
    mod wire;
}
