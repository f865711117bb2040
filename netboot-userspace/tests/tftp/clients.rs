//! Real clients, which compare what they got.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use netboot_userspace::tftp::{Outcome, Served};

use crate::site::{ENGINES, Site, site, site_with, succeed};

/// File sizes around the block sizes of the clients.
const SIZES: [usize; 9] = [0, 1, 511, 512, 513, 1467, 1468, 1469, 200_000];

fn tftp_hpa(site: &Site, name: &str, to: &Path) {
    succeed(Command::new("tftp").args(["-m", "octet", "127.0.0.1", &site.port(), "-c", "get", name]).arg(to));
}

fn atftp(site: &Site, options: &[&str], name: &str, to: &Path) {
    let mut command = Command::new("atftp");
    for option in options {
        command.args(["--option", option]);
    }
    succeed(command.args(["-g", "-r", name, "-l"]).arg(to).args(["127.0.0.1", &site.port()]));
}

fn curl(site: &Site, options: &[&str], name: &str, to: &Path) {
    let url = format!("tftp://127.0.0.1:{}/{name}", site.port());
    succeed(Command::new("curl").args(["-sS", "--max-time", "60"]).args(options).arg("-o").arg(to).arg(url));
}

fn busybox(site: &Site, options: &[&str], name: &str, to: &Path) {
    let mut command = Command::new("busybox");
    command.args(["tftp", "-g"]).args(options).args(["-r", name, "-l"]).arg(to);
    succeed(command.args(["127.0.0.1", &site.port()]));
}

/// Perl's client.
fn net_tftp(site: &Site, options: &str, name: &str, to: &Path) {
    let (port, to) = (site.port(), to.display());
    let new = format!("Net::TFTP->new('127.0.0.1', Port => {port}, Mode => 'octet'{options})");
    let script = format!("use Net::TFTP; my $c = {new}; $c->get('{name}', '{to}') or die $c->error;");
    succeed(Command::new("perl").args(["-e", &script]));
}

#[test]
fn real_clients_get_the_same_bytes() {
    for engine in ENGINES {
        let site = site(engine);
        let to = site.folder.path().join("got");
        for size in SIZES {
            let want = site.put("file", size);
            let check = |client: &str| {
                assert!(std::fs::read(&to).unwrap() == want, "{client}, {size} bytes, {engine:?}");
                std::fs::remove_file(&to).unwrap();
                let event = site.event();
                assert_eq!(event.outcome, Outcome::Done, "{client}, {size} bytes, {engine:?}");
                assert_eq!((event.size, event.bytes), (size as u64, size as u64));
            };
            tftp_hpa(&site, "file", &to);
            check("tftp-hpa");
            atftp(&site, &["windowsize 8", "blksize 1468"], "file", &to);
            check("atftp");
            atftp(&site, &["blksize 65464", "tsize 0"], "file", &to);
            check("atftp with a large block");
            atftp(&site, &[], "file", &to);
            check("atftp without options");
            busybox(&site, &[], "file", &to);
            check("busybox");
            busybox(&site, &["-b", "1428"], "file", &to);
            check("busybox with a block size");
            net_tftp(&site, "", "file", &to);
            check("Net::TFTP");
            net_tftp(&site, ", BlockSize => 1024", "file", &to);
            check("Net::TFTP with a block size");
            if size == 0 {
                continue; // curl 7.88 fails on every server's empty files ("getpeername() failed")
            }
            curl(&site, &[], "file", &to);
            check("curl");
            curl(&site, &["--tftp-no-options"], "file", &to);
            check("curl without options");
        }
    }
}

#[test]
fn clients_of_both_families_are_served_over_ipv6() {
    let any = (Ipv6Addr::UNSPECIFIED, 0).into();
    for (listen, url) in [((Ipv6Addr::LOCALHOST, 0).into(), "[::1]"), (any, "[::1]"), (any, "127.0.0.1")] {
        for engine in ENGINES {
            let site = site_with(engine, |config| {
                config.listen = listen;
                let sources = vec![(Ipv6Addr::LOCALHOST.into(), 128), (Ipv4Addr::LOCALHOST.into(), 8)];
                config.sources = Served::These(sources);
            });
            let (want, to) = (site.put("file", 200_000), site.folder.path().join("got"));
            let url = format!("tftp://{url}:{}/file", site.port());
            succeed(Command::new("curl").args(["-sS", "--max-time", "60", "-o"]).arg(&to).arg(&url));
            assert!(std::fs::read(&to).unwrap() == want, "{url}, {engine:?}");
            assert_eq!(site.event().outcome, Outcome::Done, "{url}, {engine:?}");
        }
    }
}

#[test]
fn rfc1350_8_block_numbers_wrap() {
    for engine in ENGINES {
        let site = site(engine);
        let to = site.folder.path().join("got");
        let want = site.put("file", 65536 * 512 + 700);
        curl(&site, &["--tftp-blksize", "512"], "file", &to);
        assert!(std::fs::read(&to).unwrap() == want);
        atftp(&site, &["blksize 512", "windowsize 16"], "file", &to);
        assert!(std::fs::read(&to).unwrap() == want);
        assert_eq!(site.event().outcome, Outcome::Done);
        assert_eq!(site.event().outcome, Outcome::Done);
    }
}

#[test]
fn two_hundred_transfers_at_once() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("file", 300_000);
        let clients: Vec<_> = (0..200)
            .map(|i| {
                let to = site.folder.path().join(format!("got-{i}"));
                let url = format!("tftp://127.0.0.1:{}/file", site.port());
                let mut command = Command::new("curl");
                command.args(["-sS", "--max-time", "100", "--tftp-blksize", "1468", "-o"]).arg(&to).arg(url);
                (command.spawn().expect("curl is installed"), to)
            })
            .collect();
        for (mut client, to) in clients {
            assert!(client.wait().unwrap().success());
            assert!(std::fs::read(to).unwrap() == want);
        }
        let end = Instant::now() + Duration::from_secs(20);
        while site.server.stats().done < 200 {
            assert!(Instant::now() < end, "{:?}", site.server.stats());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(site.server.stats().active, 0);
    }
}
