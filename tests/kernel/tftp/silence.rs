//! Transfers that do not end by an ACK or an ERROR: what userspace finds of them, and what the program tells.

use netboot_common::limit::Budget;
use netboot_common::tftp::maps::{SESSIONS_MAX, Serving};
use netboot_common::tftp::stats::{Done, Leave};
use netboot_userspace::fastpath::files::boot_time;

use super::frames::{Draft, ack, error, rrq, sound};
use super::lab::{Bench, LISTEN, TIDS};
use crate::site::RESERVED;

const MINUTE: u64 = 60_000_000_000;

fn from(port: u16, to: u16, payload: Vec<u8>) -> Vec<u8> {
    Draft::new([0, 0], RESERVED, [port, to], payload).frame()
}

/// Asks for a file of 1433 bytes, in blocks of 512, and acknowledges the first blocks; our port.
fn begun(bench: &Bench, port: u16, strings: &[&str], acked: u16) -> u16 {
    let asked =
        bench.run(&from(port, LISTEN, rrq("file-1433", &[&["octet"], strings].concat()))).expect("an answer");
    let (ports, _) = sound(&asked.1[0]);
    for block in 1..=acked {
        bench.run(&from(port, ports[0], ack(block))).expect("it is the kernel's");
    }
    ports[0]
}

#[test]
fn a_transfer_whose_client_vanishes_is_told_of_once_and_then_forgotten() {
    let mut bench = Bench::new();
    let tid = begun(&bench, 3000, &[], 2);
    begun(&bench, 3001, &[], 0);
    begun(&bench, 3002, &[], 3);
    let last = begun(&bench, 3003, &["windowsize", "3"], 0);
    bench.run(&from(3003, last, ack(0))).unwrap();
    assert_eq!(bench.files().sweep(boot_time()).unwrap(), []);
    assert_eq!(bench.files().transfers().under_way, 3, "one of four is done");
    let mut silent = bench.files().sweep(boot_time() + MINUTE).unwrap();
    silent.sort_by_key(|one| one.client.port());
    let told = silent.iter().map(|one| {
        let session = one.session;
        (one.client.to_string(), session.bytes(), session.answered(), session.sent() == session.blocks())
    });
    let want =
        |port: u16, bytes, answered, all_sent| (format!("10.77.0.51:{port}"), bytes, answered, all_sent);
    let wanted = [want(3000, 1024, true, true), want(3001, 0, false, false), want(3003, 0, true, true)];
    assert_eq!(told.collect::<Vec<_>>(), wanted);
    assert_eq!(bench.files().sweep(boot_time() + MINUTE).unwrap(), []);
    let counts = bench.files().transfers();
    assert_eq!((counts.under_way, counts.silent, counts.evicted), (0, 3, 0));
    assert_eq!(bench.run(&from(3000, tid, ack(3))), Err(Leave::UnknownTransfer), "userspace says so");
}

#[test]
fn a_transfer_that_its_client_leaves_for_another_is_told_of() {
    let mut bench = Bench::new();
    begun(&bench, 3000, &[], 2);
    let second = begun(&bench, 3000, &["blksize", "600"], 0);
    bench.run(&from(3000, second, ack(0))).unwrap();
    (1..=3).for_each(|block| drop(bench.run(&from(3000, second, ack(block))).unwrap()));
    begun(&bench, 3000, &[], 0);
    let told: Vec<_> = bench.transfers().iter().map(|one| (one.done(), one.bytes(), one.port())).collect();
    assert_eq!(told, [(Some(Done::Aborted), 1024, 3000), (Some(Done::Finished), 1433, 3000)]);
}

#[test]
fn who_asks_for_the_size_alone_and_says_so_has_used_up_nothing() {
    let mut bench = Bench::new();
    bench.files().serve(Serving::new(LISTEN, TIDS, 1468, 16, Budget::new(1, 3))).unwrap();
    for port in 3000..3020 {
        let tid = begun(&bench, port, &["tsize", "0"], 0);
        assert_eq!(bench.run(&from(port, tid, error(8))), Ok((Done::Aborted, vec![])));
        assert_eq!(bench.run(&from(port, tid, error(8))), Ok((Done::Ignored, vec![])), "gives nothing back");
    }
    for port in 4000..4003 {
        begun(&bench, port, &["tsize", "0"], 0);
    }
    let more = bench.run(&from(4003, LISTEN, rrq("file-1433", &["octet", "tsize", "0"])));
    assert_eq!(more, Err(Leave::RateLimited), "who is silent has");
}

#[test]
fn what_the_kernel_loses_between_two_looks_is_counted() {
    let mut bench = Bench::new();
    begun(&bench, 3000, &[], 2);
    begun(&bench, 3001, &[], 3);
    bench.files().sweep(boot_time()).unwrap();
    let (first, last) = (4000, 4000 + SESSIONS_MAX as u16 + 4000);
    for port in first..last {
        begun(&bench, port, &[], 0);
    }
    bench.files().sweep(boot_time()).unwrap();
    let counts = bench.files().transfers();
    assert!(counts.evicted >= 4000, "{counts:?}");
    assert_eq!(counts.evicted + counts.under_way, 1 + u64::from(last - first), "{counts:?}");
}
