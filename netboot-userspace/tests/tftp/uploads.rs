//! Write requests: refused, unless there is a folder for them.

use std::path::Path;
use std::process::Command;

use netboot_userspace::tftp::{Direction, Outcome, Ports, Uploads};
use netboot_userspace::uring::Choice;

use crate::site::{Client, ENGINES, PORTS, Site, site, site_with, succeed};

/// A server that takes files, of at most 100,000 bytes, and three of a client; and where they go.
fn taking(engine: Choice, ports: Ports) -> (Site, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let site = site_with(engine, |config| {
        config.ports = ports;
        config.uploads = Some(Uploads {
            most: 100_000,
            keep_free: 0,
            files_per_client: 3,
            ..Uploads::new(folder.path().to_owned())
        });
    });
    (site, folder)
}

/// The bytes of every file of our client's.
fn stored(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder.join("127.0.0.1")) else { return Vec::new() };
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn rfc1350_6_write_requests_are_refused_without_a_folder_for_them() {
    for engine in ENGINES {
        let site = site(engine);
        let (answer, _) = Client::new(&site).ask(b"\0\x02new\0octet\0");
        assert_eq!(answer[..4], *b"\0\x05\0\x02");
        let event = site.event();
        assert_eq!(event.outcome, Outcome::Refused("this server is read-only"));
        assert_eq!((event.file.as_str(), event.direction), ("new", Direction::Write { stored: None }));
        assert_eq!(std::fs::read_dir(site.folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn real_clients_upload_and_the_server_names_what_they_sent() {
    for engine in ENGINES {
        for ports in PORTS {
            let (site, folder) = taking(engine, ports);
            let from = site.path("file");
            for size in [0, 1, 511, 512, 513, 100_000] {
                let want = site.put("file", size);
                let port = site.port();
                let mut hpa = Command::new("tftp");
                hpa.args(["-m", "octet", "127.0.0.1", &port, "-c", "put"]).arg(&from).arg("/../../name");
                let mut atftp = Command::new("atftp");
                atftp.args([
                    "--option",
                    "windowsize 4",
                    "--option",
                    "blksize 1000",
                    "-p",
                    "-r",
                    "name",
                    "-l",
                ]);
                atftp.arg(&from).args(["127.0.0.1", &port]);
                let mut busybox = Command::new("busybox");
                busybox.args(["tftp", "-p", "-b", "1428", "-r", "name", "-l"]).arg(&from);
                busybox.args(["127.0.0.1", &port]);
                for mut client in [hpa, atftp, busybox] {
                    succeed(&mut client);
                    let event = site.event();
                    assert_eq!((event.outcome, event.bytes), (Outcome::Done, size as u64), "{client:?}");
                    let Direction::Write { stored: Some(name) } = event.direction else {
                        panic!("{client:?}")
                    };
                    let path = folder.path().join(name);
                    assert!(std::fs::read(&path).unwrap() == want, "{client:?}, {size} bytes, {engine:?}");
                    std::fs::remove_file(path).unwrap();
                }
            }
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the client's folder");
        }
    }
}

#[test]
fn what_is_not_complete_has_no_name_and_what_is_there_is_not_overwritten() {
    for engine in ENGINES {
        let (site, folder) = taking(engine, Ports::Any(64));
        for round in 1..=3 {
            let client = Client::new(&site);
            let (answer, transfer) = client.ask(b"\0\x02same\0octet\0");
            assert_eq!(answer, b"\0\x04\0\0");
            client.0.send_to(&[&b"\0\x03\0\x01"[..], &[round; 512]].concat(), transfer).unwrap();
            assert_eq!(client.receive().0, b"\0\x04\0\x01");
            assert_eq!(stored(folder.path()).len(), usize::from(round) - 1, "half of it is nothing");
            client.0.send_to(&[0, 3, 0, 2, round], transfer).unwrap();
            // The ACK of the last block says that the file is there.
            assert_eq!(client.receive().0, b"\0\x04\0\x02");
            let mut files = stored(folder.path());
            files.sort();
            assert!(files.iter().enumerate().all(|(at, file)| *file == [at as u8 + 1; 513]), "each is whole");
            assert_eq!(files.len(), usize::from(round));
        }
        let (answer, _) = Client::new(&site).ask(b"\0\x02same\0octet\0");
        assert_eq!(answer[..4], *b"\0\x05\0\x03", "a fourth");
        let other = Client(std::net::UdpSocket::bind("127.0.0.2:0").unwrap(), site.server.local_addr());
        assert_eq!(other.ask(b"\0\x02same\0octet\0").0, b"\0\x04\0\0", "another client");
    }
}

#[test]
fn blocks_are_granted_as_they_can_be_received_and_a_part_of_one_is_no_last_block() {
    for engine in ENGINES {
        let (folder, most) = (tempfile::tempdir().unwrap(), 8192);
        let site = site_with(engine, |config| {
            config.limits.block_size = most;
            config.uploads = Some(Uploads::new(folder.path().to_owned()));
        });
        let client = Client::new(&site);
        let (answer, transfer) = client.ask(b"\0\x02f\0octet\0blksize\x008192\0");
        assert_eq!(answer, b"\0\x06blksize\x001900\0");
        let send = |block: u8, size: usize| {
            client.0.send_to(&[&[0, 3, 0, block][..], &vec![block; size]].concat(), transfer).unwrap();
        };
        send(1, usize::from(most));
        send(1, 1900);
        assert_eq!(client.receive().0, b"\0\x04\0\x01");
        send(2, 100);
        assert_eq!(client.receive().0, b"\0\x04\0\x02");
        assert_eq!(site.event().bytes, 2000);
        assert_eq!(stored(folder.path()), [[vec![1; 1900], vec![2; 100]].concat()], "{engine:?}");
    }
}

#[test]
fn what_is_too_large_is_refused_announced_or_not_and_leaves_nothing() {
    for engine in ENGINES {
        let (site, folder) = taking(engine, Ports::Any(64));
        let (answer, _) = Client::new(&site).ask(b"\0\x02f\0octet\0tsize\x00100001\0");
        assert_eq!(answer[..4], *b"\0\x05\0\x03");
        let (answer, _) = Client::new(&site).ask(b"\0\x02f\0octet\0tsize\x00100000\0");
        assert_eq!(answer, b"\0\x06tsize\x00100000\0");
        let client = Client::new(&site);
        let (_, transfer) = client.ask(b"\0\x02f\0octet\0blksize\x001024\0");
        let mut block = 0_u16;
        let answer = loop {
            block += 1;
            client.0.send_to(&[&[0, 3][..], &block.to_be_bytes(), &[7; 1024]].concat(), transfer).unwrap();
            let (answer, _) = client.receive();
            if answer[..2] != [0, 4] {
                break answer;
            }
        };
        assert_eq!((&answer[..4], block), (&b"\0\x05\0\x03"[..], 98), "98 KiB are more than 100,000 bytes");
        assert_eq!(stored(folder.path()), Vec::<Vec<u8>>::new());
        let (answer, _) = Client::new(&site).ask(b"\0\x02f\0netascii\0");
        assert_eq!(answer[..4], *b"\0\x05\0\0");
    }
}
