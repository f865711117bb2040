//! The pure parts of the generators: what measures must be right itself.
#![allow(dead_code, reason = "the benches use the rest")]

#[path = "tftp/clients.rs"]
mod clients;
#[path = "tftp/frames.rs"]
mod frames;
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

mod tests {
    mod clients;
    mod frames;
    mod link;
    mod machine;
    mod transfers;
}
