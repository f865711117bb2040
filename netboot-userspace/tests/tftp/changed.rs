//! Files that change while they are sent: a transfer ends with the bytes that it began with, or with an ERROR.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use netboot_userspace::tftp::Outcome;

use crate::site::{Client, ENGINES, ack, rrq, site};

/// Fetches a file with windows of 16, and changes it halfway: its bytes, or an ERROR.
fn fetch(client: &Client, size: usize, change: impl FnOnce()) -> Result<Vec<u8>, Vec<u8>> {
    let (oack, transfer) = client.ask(&rrq(b"file", b"blksize\x001468\0windowsize\x0016\0"));
    assert_eq!(oack[..2], [0, 6]);
    client.0.send_to(&ack(0), transfer).unwrap();
    let (mut got, mut block, mut change) = (Vec::new(), 0_u16, Some(change));
    loop {
        let (packet, _) = client.receive();
        if packet[1] == 5 {
            return Err(packet);
        }
        // What was sent again meanwhile, it has.
        if packet[2..4] != (block + 1).to_be_bytes() {
            continue;
        }
        (block, got) = (block + 1, [got, packet[4..].to_vec()].concat());
        let is_last = packet.len() < 4 + 1468;
        if got.len() > size / 2
            && let Some(change) = change.take()
        {
            change();
        }
        if is_last || block.is_multiple_of(16) {
            client.0.send_to(&ack(block), transfer).unwrap();
        }
        if is_last {
            return Ok(got);
        }
    }
}

/// Above what is in memory: one that has been there for long, or is just new.
const SIZES: [usize; 2] = [(4 << 20) + 100, 100_000];

fn date_back(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

#[test]
fn a_file_that_is_overwritten_or_shrinks_while_it_is_read_ends_in_an_error_and_is_not_mixed() {
    let overwritten: fn(&File) = |file| file.write_all_at(b"other", 70_000).unwrap();
    let behind: fn(&File) = |file| file.write_all_at(b"other", 10).unwrap();
    let shrinks: fn(&File) = |file| file.set_len(file.metadata().unwrap().len() - 700).unwrap();
    let grows: fn(&File) = |file| file.set_len(file.metadata().unwrap().len() + 700).unwrap();
    for engine in ENGINES {
        for size in SIZES {
            for (what, change) in
                [("ahead", overwritten), ("behind", behind), ("shrinks", shrinks), ("grows", grows)]
            {
                let site = site(engine);
                site.put("file", size);
                date_back(&site.path("file"));
                let change = || change(&OpenOptions::new().write(true).open(site.path("file")).unwrap());
                let ended = fetch(&Client::new(&site), size, change);
                let error = ended.err().unwrap_or_else(|| panic!("{what}, {size}, {engine:?}: it is mixed"));
                assert_eq!(error, b"\0\x05\0\0the file changed\0");
                assert!(matches!(site.event().outcome, Outcome::Failed(_)));
            }
        }
    }
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_goes_on_with_the_bytes_that_it_had() {
    for engine in ENGINES {
        for size in SIZES {
            let site = site(engine);
            let want = site.put("file", size);
            date_back(&site.path("file"));
            site.put("other", size + 7);
            let replace = || std::fs::rename(site.path("other"), site.path("file")).unwrap();
            let got = fetch(&Client::new(&site), size, replace);
            assert!(got.as_ref() == Ok(&want), "{size}, {engine:?}");
            assert_eq!(site.event().outcome, Outcome::Done);
        }
    }
}
