//! Which file a name is, and that nothing else is ever served.

use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use netboot_userspace::tftp::{Found, Outcome, Site as NamesOfSite, Turn};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::site::{Client, ENGINES, ack, rrq, site, site_with, succeed};

/// Names from outside, each with the code of its ERROR.
const BAD_NAMES: &[(&[u8], u8)] = &[
    (b"../etc/passwd", 2),
    (b"..\\..\\x", 2),
    (b"/etc/passwd", 1),
    (b"//etc", 1),
    (b"C:\\x", 1),
    (b"%2e%2e/", 1),
    (b"%2e%2e/secret", 1),
    (b"..%c0%af", 1),
    (b"..\xc0\xafsecret", 1),
    (b"a/../../b", 2),
    (b"folder/../../secret", 2),
    (b"..", 2),
    (b".", 1),
    (b"./", 1),
    (b"/", 1),
    (b"", 1),
    (b"new\nline", 1),
    (b"file\n", 1),
    (b"\x01", 1),
    (b"\x1b[2J", 1),
    (b"\xc0\xaf", 1),
    (b"\xfe", 1),
    (b"link", 2),
    (b"link-inside", 2),
    (b"loop", 2),
    (b"out/secret", 2),
    (b"fd/0", 2),
    (b"fifo", 2),
    (b"folder", 2),
    (b"device", 2),
    (b"socket", 2),
    (b"/dev/null", 1),
    (b"/proc/self/fd/0", 1),
    (b"FILE", 1),
    (b"File", 1),
    (b"nothing \xff", 1),
    (b" file", 1),
    (b"file/", 1),
    (b"file/x", 1),
];

#[test]
fn bad_names_get_an_error_and_never_a_byte_from_outside() {
    for engine in ENGINES {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), b"secret").unwrap();
        let site = site(engine);
        site.put("file", 10);
        std::fs::create_dir(site.path("folder")).unwrap();
        symlink("/etc/passwd", site.path("link")).unwrap();
        symlink("file", site.path("link-inside")).unwrap();
        symlink("loop", site.path("loop")).unwrap();
        symlink(outside.path(), site.path("out")).unwrap();
        symlink("/proc/self/fd", site.path("fd")).unwrap();
        succeed(Command::new("mkfifo").arg(site.path("fifo")));
        succeed(Command::new("mknod").arg(site.path("device")).args(["c", "1", "5"]));
        let _listening = std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
        let long = [b'a'; 508];
        for (name, code) in BAD_NAMES.iter().copied().chain([(&long[..], 1)]) {
            let (answer, _) = Client::new(&site).ask(&rrq(name, b""));
            assert_eq!(answer[..4], [0, 5, 0, code], "{:?}: {answer:?}", String::from_utf8_lossy(name));
            assert_eq!(answer.last(), Some(&0), "its message ends");
        }
        // An embedded NUL makes "octet" the second string: the mode is then something else.
        let (answer, _) = Client::new(&site).ask(&rrq(b"file\0x", b""));
        assert_eq!(answer[..4], *b"\0\x05\0\0");
    }
}

#[test]
fn what_shim_leaves_behind_a_name_is_cut_off() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("grubx64.efi", 10);
        for name in [&b"grubx64.efi"[..], b"/grubx64.efi ", b"\\grubx64.efi\xff", b"grubx64.efi \xff\xff  "] {
            let (answer, _) = Client::new(&site).ask(&rrq(name, b""));
            assert_eq!(answer[4..], want, "{name:?}");
        }
    }
}

/// Ends a thread also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Between the look at a name and its open, what it names becomes something else: a link out of the tree, or a folder that is one.
#[test]
fn a_name_that_is_swapped_while_it_is_opened_leads_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    for name in ["file", "swapped"] {
        std::fs::write(outside.path().join(name), b"secret").unwrap();
    }
    let site = site(ENGINES[0]);
    let path = |name: &str| site.path(name);
    std::fs::create_dir_all(path("folder")).unwrap();
    for name in ["folder/file", "swapped"] {
        std::fs::write(path(name), b"inside").unwrap();
    }
    symlink(outside.path(), path("bad")).unwrap();
    symlink(outside.path().join("swapped"), path("link")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let exchange = |one: &str, other: &str| {
                let (one, other, flags) = (path(one), path(other), RenameFlags::EXCHANGE);
                renameat_with(CWD, one, CWD, other, flags).unwrap();
            };
            while !stop.load(Ordering::Relaxed) {
                exchange("folder", "bad");
                exchange("swapped", "link");
            }
        });
        for round in 0..20_000 {
            let name = if round % 2 == 0 { &b"folder/file"[..] } else { b"swapped" };
            let (answer, _) = Client::new(&site).ask(&rrq(name, b""));
            match answer.as_slice() {
                b"\0\x03\0\x01inside" => inside += 1,
                [0, 5, 0, 0..=2, ..] => refused += 1,
                other => panic!("{:?}", String::from_utf8_lossy(other)),
            }
            if inside > 200 && refused > 200 {
                break;
            }
        }
    });
    assert!(inside > 0 && refused > 0, "both were met: {inside}, {refused}");
}

#[test]
fn names_are_mapped() {
    for engine in ENGINES {
        let virtual_file: Arc<[u8]> = Arc::from(&b"#!ipxe\n"[..]);
        let site = site_with(engine, |config| {
            config.files =
                vec![("autoexec.ipxe".into(), Arc::from(&b""[..])), ("boot.ipxe".into(), virtual_file)];
        });
        std::fs::create_dir(site.path("52:54:00:00:00:01")).unwrap();
        site.put("52:54:00:00:00:01/own", 3);
        site.put("file", 4);
        for (name, len) in [
            ("file", 4),
            ("/file", 4),
            ("52-54-00-00-00-02/file", 4),
            ("52:54:00:00:00:01/own", 3),
            ("/boot.ipxe", 7),
            ("52:54:00:00:00:01/boot.ipxe", 7),
            ("autoexec.ipxe", 0),
        ] {
            let (answer, _) = Client::new(&site).ask(&rrq(name.as_bytes(), b""));
            assert_eq!((answer.len(), &answer[..4]), (4 + len, &b"\0\x03\0\x01"[..]), "{name}");
        }
    }
}

#[test]
fn rfc1350_7_netascii_is_translated() {
    for engine in ENGINES {
        let site = site(engine);
        std::fs::write(site.folder.path().join("text"), b"a\nb\rc").unwrap();
        let (answer, _) = Client::new(&site).ask(b"\0\x01text\0NetASCII\0tsize\x000\0");
        assert_eq!(answer, b"\0\x06tsize\x007\0");
        let (answer, _) = Client::new(&site).ask(b"\0\x01text\0netascii\0");
        assert_eq!(answer, b"\0\x03\0\x01a\r\nb\r\0c");
    }
}

#[test]
fn a_file_cut_short_ends_with_an_error() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 5 << 20);
        let client = Client::new(&site);
        let (_, transfer) = client.ask(&rrq(b"file", b""));
        std::fs::write(site.folder.path().join("file"), b"short").unwrap();
        client.0.send_to(&ack(1), transfer).unwrap();
        assert_eq!(client.receive().0[..4], *b"\0\x05\0\0");
        assert!(matches!(site.event().outcome, Outcome::Failed(_)));
    }
}

/// A site that knows a few names, and says nothing before it may.
#[derive(Debug)]
struct Knows(Mutex<Receiver<()>>);

impl NamesOfSite for Knows {
    fn turn(&self, name: &str) -> Turn {
        match name {
            "mapped" | "unmapped" | "out" => Turn::First,
            "made" | "slow" | "panics" => Turn::Last,
            _ => Turn::Never,
        }
    }

    fn find(&self, name: &str, client: IpAddr) -> Found {
        match name {
            "mapped" => Found::File("/folder/file".to_owned()),
            "out" => Found::File("../../etc/passwd".to_owned()),
            "made" => Found::Bytes(format!("for {client}\n").into_bytes().into()),
            "slow" => {
                self.0.lock().unwrap().recv().unwrap();
                Found::Nothing
            }
            "panics" => panic!("as it is told"),
            _ => Found::Nothing,
        }
    }
}

#[test]
fn what_the_site_knows_is_asked_without_holding_anybody_up() {
    for engine in ENGINES {
        let (release, released) = channel();
        let knows: Arc<dyn NamesOfSite> = Arc::new(Knows(Mutex::new(released)));
        let site = site_with(engine, |config| (config.site, config.workers) = (Some(knows), 1));
        std::fs::create_dir(site.path("folder")).unwrap();
        site.put("file", 5);
        std::fs::write(site.path("folder/file"), "mapped").unwrap();
        std::fs::write(site.path("unmapped"), "as asked").unwrap();
        let ask = |name: &[u8], mode: &[u8]| {
            Client::new(&site).ask(&[b"\0\x01", name, b"\0", mode, b"\0"].concat()).0
        };
        for (name, mode, answer) in [
            ("mapped", "octet", &b"\0\x03\0\x01mapped"[..]),
            ("52:54:00:00:00:01/mapped", "octet", b"\0\x03\0\x01mapped"),
            ("unmapped", "octet", b"\0\x03\0\x01as asked"),
            ("made", "octet", b"\0\x03\0\x01for 127.0.0.1\n"),
            ("made", "netascii", b"\0\x03\0\x01for 127.0.0.1\r\n"),
        ] {
            assert_eq!(ask(name.as_bytes(), mode.as_bytes()), answer, "{name}, {engine:?}");
        }
        assert_eq!(
            ask(b"out", b"octet")[..4],
            *b"\0\x05\0\x02",
            "what the site says leads nowhere else either"
        );
        // A file is before what is only made where there is none.
        std::fs::write(site.path("made"), "file").unwrap();
        assert_eq!(ask(b"made", b"octet"), b"\0\x03\0\x01file");

        assert_eq!(ask(b"panics", b"octet")[..4], *b"\0\x05\0\x01", "and it goes on");

        let slow = Client::new(&site);
        for _ in 0..3 {
            slow.0.send_to(&rrq(b"slow", b""), slow.1).unwrap(); // repeated while it waits: asked once
        }
        assert_eq!(ask(b"file", b"octet").len(), 9, "others are served meanwhile");
        release.send(()).unwrap();
        assert_eq!(slow.receive().0[..4], *b"\0\x05\0\x01");
        site.wait_for("one refusal", |stats| stats.not_found == 2);
    }
}

#[test]
fn a_client_whose_request_waits_for_the_site_is_served_what_it_asks_for_meanwhile() {
    for engine in ENGINES {
        let (release, released) = channel();
        let knows: Arc<dyn NamesOfSite> = Arc::new(Knows(Mutex::new(released)));
        let site = site_with(engine, |config| (config.site, config.workers) = (Some(knows), 1));
        let want = site.put("file", 600);
        let client = Client::new(&site);
        client.0.send_to(&rrq(b"slow", b""), client.1).unwrap();
        let (data, transfer) = client.ask(&rrq(b"file", b""));
        assert_eq!(data, [b"\0\x03\0\x01", &want[..512]].concat(), "{engine:?}");
        release.send(()).unwrap();
        // What is asked after it is answered after it.
        assert_eq!(Client::new(&site).ask(&rrq(b"made", b"")).0[..4], *b"\0\x03\0\x01");
        client.0.send_to(&ack(1), transfer).unwrap();
        assert_eq!(
            client.block(2).0,
            want[512..],
            "the answer that nobody waits for any more disturbs nothing"
        );
        client.0.send_to(&ack(2), transfer).unwrap();
        site.wait_for("the end", |stats| (stats.done, stats.not_found) == (1, 0));
    }
}

#[test]
fn one_address_has_its_share_of_the_questions_to_the_site() {
    for engine in ENGINES {
        let (release, released) = channel();
        let knows: Arc<dyn NamesOfSite> = Arc::new(Knows(Mutex::new(released)));
        let site = site_with(engine, |config| {
            (config.site, config.workers, config.transfers_per_client) = (Some(knows), 1, 3);
        });
        let clients: Vec<_> = (0..10).map(|_| Client::new(&site)).collect();
        for client in &clients {
            client.0.send_to(&rrq(b"slow", b""), client.1).unwrap();
        }
        site.wait_for("the refusals", |stats| (stats.requests, stats.client_full) == (10, 7));
        let other = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
        other.send_to(&rrq(b"slow", b""), clients[0].1).unwrap();
        site.wait_for("another one", |stats| stats.requests == 11);
        (0..4).for_each(|_| release.send(()).unwrap());
        site.wait_for("the answers", |stats| (stats.not_found, stats.client_full) == (4, 7));
        // Who asks again is answered.
        release.send(()).unwrap();
        assert_eq!(clients[9].ask(&rrq(b"slow", b"")).0[..4], *b"\0\x05\0\x01");
    }
}
