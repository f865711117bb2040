//! What the kernel's TFTP program leaves to userspace, which then answers it; and what it does not leave though it is large.

use netboot_common::wire::checksum;

use crate::lab::{Side, run};
use crate::malformed::{HOST, Wire, put_checksum};
use crate::tftp_kernel::{CLIENT, Client, content, count, datagram, requests, site, site_over};

/// A file by windows of 16 blocks, from first to last, whoever sends it.
fn fetch(client: &mut Client, name: &str, block_size: usize) -> Vec<u8> {
    let asked = client.request(name, &["blksize", &block_size.to_string(), "windowsize", "16"]);
    let granted = format!("\0\x06blksize\0{block_size}\0windowsize\x0016\0");
    assert_eq!(String::from_utf8_lossy(&asked), granted);
    let (mut got, mut last) = (Vec::new(), 0_u64);
    client.ack(0);
    loop {
        let (packet, _) = client.receive();
        // What comes twice is passed over.
        if packet[..4] != [[0, 3], ((last + 1) as u16).to_be_bytes()].concat() {
            continue;
        }
        last += 1;
        got.extend_from_slice(&packet[4..]);
        let is_over = packet.len() < 4 + block_size;
        if is_over || last.is_multiple_of(16) {
            client.ack(last as u16);
        }
        if is_over {
            return got;
        }
    }
}

#[test]
fn rfc1350_8_a_file_has_as_many_blocks_as_there_are_numbers_or_is_userspace_s() {
    let (most, more) = (content(65_535 * 8 - 1, 1), content(65_535 * 8, 2));
    let site = site(&[("most", &most), ("more", &more)]);
    assert!(fetch(&mut Client::new(&site), "most", 8) == most);
    assert_eq!((count(&site, "many_blocks"), requests(&site)), (0, 0));
    assert!(fetch(&mut Client::new(&site), "more", 8) == more, "the numbers begin anew");
    assert_eq!((count(&site, "many_blocks"), requests(&site)), (1, 1));
    assert_eq!((count(&site, "oacks"), count(&site, "blocks")), (1, 65_535));
}

/// Across the ends of chunks, and to the last bytes of one; also where the program has to make the checksum, for the client's kernel, which
/// verifies it, has made its own.
#[test]
fn rfc2348_2_jumbo_blocks_come_whole_and_with_sound_checksums() {
    const CHUNK: usize = 1 << 16;
    let files = [content(2 * CHUNK - 4, 1), content(2 * CHUNK, 2), content(CHUNK + 1, 3)];
    let names = ["first", "second", "third"];
    let named: Vec<(&str, &[u8])> = names.into_iter().zip(files.iter().map(|file| &file[..])).collect();
    let site = site_over("9216", ", blksize: 65464", &named);
    for checksums in ["on", "off"] {
        run(site.lab.command(Side::Clients, "ethtool").args(["-K", "eth0", "tx", checksums]));
        for (name, file) in &named {
            for block_size in [8968, 8192, 4097] {
                let got = fetch(&mut Client::new(&site), name, block_size);
                assert!(got == *file, "{name}: {block_size}, checksums {checksums}");
            }
        }
    }
    assert_eq!((requests(&site), count(&site, "unsent")), (0, 0));
}

#[test]
fn fragments_and_ip_options_are_passed_up_and_answered_by_userspace() {
    let loader = content(3000, 1);
    let site = site(&[("loader.efi", &loader)]);
    let address = CLIENT.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let request = |client: &Client| {
        let port = client.socket.local_addr().unwrap().port();
        datagram(&site, (HOST, address), [port, 69], b"\0\x01loader.efi\0octet\0blksize\x001000\0")
    };
    let send = |frames: &[Vec<u8>]| {
        site.lab.inside(Side::Clients, || {
            let wire = Wire::open();
            frames.iter().for_each(|frame| wire.send(frame));
        });
    };
    let ends = |client: &mut Client| {
        let (oack, tid) = client.receive();
        assert_eq!(oack, b"\0\x06blksize\x001000\0");
        client.tid = tid;
        client.ack(0);
        for (block, bytes) in loader.chunks(1000).enumerate() {
            let data = client.after(block as u16);
            assert!(data[4..] == *bytes, "block {}", block + 1);
            client.ack(block as u16 + 1);
        }
        assert_eq!(client.after(3), [0, 3, 0, 4]);
        client.ack(4);
    };

    let mut client = Client::new(&site);
    let mut options = request(&client);
    drop(options.splice(34..34, [1, 1, 1, 0]));
    options[14] = 0x46;
    let length = (options.len() as u16 - 14).to_be_bytes();
    options[16..18].copy_from_slice(&length);
    let sum = checksum::add(0, &[&options[14..24], &options[26..38]].concat());
    let sum = checksum::finish(sum);
    options[24..26].copy_from_slice(&sum.to_be_bytes());
    send(&[options]);
    ends(&mut client);
    assert_eq!((count(&site, "ip_options"), requests(&site)), (1, 1));

    let mut client = Client::new(&site);
    let whole = request(&client);
    // After 24 bytes of UDP.
    let part = |range: std::ops::Range<usize>, at: u16| {
        let mut frame = [&whole[..34], &whole[range]].concat();
        let length = (frame.len() as u16 - 14).to_be_bytes();
        frame[16..18].copy_from_slice(&length);
        frame[18..20].copy_from_slice(&[0x12, 0x34]);
        frame[20..22].copy_from_slice(&at.to_be_bytes());
        put_checksum(&mut frame);
        frame
    };
    send(&[part(34..58, 0x2000), part(58..whole.len(), 3)]);
    ends(&mut client);
    assert_eq!((count(&site, "fragment"), requests(&site)), (2, 2));
    assert_eq!(count(&site, "oacks") + count(&site, "blocks"), 0, "the kernel has sent nothing");
}
