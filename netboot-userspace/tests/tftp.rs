//! The TFTP server against real clients over loopback, on both engines.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netboot_userspace::tftp::{Config, Error, Event, Outcome, Server, Stats};
use netboot_userspace::uring::{Choice, Running};

const ENGINES: [Choice; 2] = [Choice::Uring, Choice::Epoll];
/// File sizes around the block sizes of the clients, and one whose blocks of 512 pass 65,535.
const SIZES: [usize; 9] = [0, 1, 511, 512, 513, 1467, 1468, 1469, 200_000];

struct Site {
    server: Server,
    folder: tempfile::TempDir,
    events: Arc<Mutex<Vec<Event>>>,
}

fn site(engine: Choice) -> Site {
    site_with(engine, |_| {})
}

fn site_with(engine: Choice, change: impl FnOnce(&mut Config)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
    config.roots = vec![folder.path().to_owned()];
    config.engine = engine;
    config.transfers_per_client = 1000;
    change(&mut config);
    let sink = events.clone();
    let server = Server::start(config, Arc::new(move |event| sink.lock().unwrap().push(event))).unwrap();
    Site { server, folder, events }
}

impl Site {
    fn put(&self, name: &str, size: usize) -> Vec<u8> {
        let bytes: Vec<u8> =
            (0..size).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        std::fs::write(self.folder.path().join(name), &bytes).unwrap();
        bytes
    }

    fn port(&self) -> String {
        self.server.local_addr().port().to_string()
    }

    fn wait_for(&self, what: &str, condition: impl Fn(&Stats) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !condition(&self.server.stats()) {
            assert!(Instant::now() < end, "{what}: {:?}", self.server.stats());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the next event; events come after the client has already got its last block.
    fn event(&self) -> Event {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut events = self.events.lock().unwrap();
            if !events.is_empty() {
                return events.remove(0);
            }
            assert!(Instant::now() < end, "no event came");
            drop(events);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the client is installed (cargo xtask setup)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

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
                config.sources = vec![(Ipv6Addr::LOCALHOST.into(), 128), (Ipv4Addr::LOCALHOST.into(), 8)];
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

/// A client made by hand.
struct Client(UdpSocket, SocketAddr);

impl Client {
    fn new(site: &Site) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(socket, site.server.local_addr())
    }

    fn ask(&self, request: &[u8]) -> (Vec<u8>, SocketAddr) {
        self.0.send_to(request, self.1).unwrap();
        self.receive()
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) = self.0.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from)
    }
}

fn rrq(name: &[u8], rest: &[u8]) -> Vec<u8> {
    [b"\0\x01", name, b"\0octet\0", rest].concat()
}

#[test]
fn bad_names_get_an_error_and_never_a_byte_from_outside() {
    let long = vec![b'a'; 508];
    let names: [&[u8]; 24] = [
        b"../etc/passwd",
        b"..\\..\\x",
        b"/etc/passwd",
        b"//etc",
        b"C:\\x",
        b"%2e%2e/",
        b"..%c0%af",
        b"a/../../b",
        b"./",
        b"",
        &long,
        b"new\nline",
        b"\x01",
        b"\xc0\xaf",
        b"link",
        b"loop",
        b"fifo",
        b"folder",
        b"/dev/null",
        b"/proc/self/fd/0",
        b"FILE",
        b"folder/../../secret",
        b"nothing \xff",
        b"file/",
    ];
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 10);
        let path = |name: &str| site.folder.path().join(name);
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("link")).unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        succeed(Command::new("mkfifo").arg(path("fifo")));
        for name in names {
            let (answer, _) = Client::new(&site).ask(&rrq(name, b""));
            assert!(
                answer.starts_with(b"\0\x05\0\x01") || answer.starts_with(b"\0\x05\0\x02"),
                "{name:?}: {answer:?}"
            );
        }
        // An embedded NUL makes "octet" the second string: the mode is then something else.
        let (answer, _) = Client::new(&site).ask(&rrq(b"file\0x", b""));
        assert_eq!(answer[..4], *b"\0\x05\0\0");
    }
}

#[test]
fn names_are_mapped() {
    for engine in ENGINES {
        let virtual_file: Arc<[u8]> = Arc::from(&b"#!ipxe\n"[..]);
        let site = site_with(engine, |config| {
            config.files =
                vec![("autoexec.ipxe".into(), Arc::from(&b""[..])), ("boot.ipxe".into(), virtual_file)];
        });
        std::fs::create_dir(site.folder.path().join("52:54:00:00:00:01")).unwrap();
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
            let (answer, from) = Client::new(&site).ask(&rrq(name.as_bytes(), b""));
            assert_eq!((answer.len(), &answer[..4]), (4 + len, &b"\0\x03\0\x01"[..]), "{name}");
            assert_ne!(
                from.port(),
                site.server.local_addr().port(),
                "rfc1350_1: each transfer has its own port"
            );
        }
    }
}

#[test]
fn requests_that_are_not_reads_are_refused() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 4);
        for (packet, code) in [
            (&b"\0\x02file\0octet\0"[..], 2), // rfc1350_6
            (b"\0\x01file\0mail\0", 0),
            (b"\0\x01file\0octet", 4),
            (b"\0\x01file", 4),
            (b"\0\x00", 4),
            (b"\0\x07", 4),
            (b"\xff\xff", 4),
        ] {
            let (answer, _) = Client::new(&site).ask(packet);
            assert_eq!(answer[..4], [0, 5, 0, code], "{packet:?}");
        }
        // Nothing answers an ACK, an ERROR or half a packet at the request port.
        let client = Client::new(&site);
        for packet in [&b"\0\x04\0\x01"[..], b"\0\x05\0\x00x\0", b"\0\x03\0\x01x", b"", b"\0"] {
            client.0.send_to(packet, client.1).unwrap();
        }
        let (answer, _) = client.ask(&rrq(b"file", b""));
        assert_eq!(answer[..4], *b"\0\x03\0\x01");
    }
}

#[test]
fn netascii_is_translated() {
    for engine in ENGINES {
        let site = site(engine);
        std::fs::write(site.folder.path().join("text"), b"a\nb\rc").unwrap();
        let (answer, _) = Client::new(&site).ask(b"\0\x01text\0NetASCII\0tsize\x000\0");
        assert_eq!(answer, b"\0\x06tsize\x007\0");
    }
}

#[test]
fn rfc1350_2_wrong_tid() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 600);
        let (client, stranger) = (Client::new(&site), Client::new(&site));
        let (_, transfer) = client.ask(&rrq(b"file", b""));
        stranger.0.send_to(b"\0\x04\0\x01", transfer).unwrap();
        assert_eq!(stranger.receive().0[..4], *b"\0\x05\0\x05");
        client.0.send_to(b"\0\x04\0\x01", transfer).unwrap();
        assert_eq!(client.receive().0.len(), 4 + 88, "the transfer goes on");
    }
}

#[test]
fn a_spoofed_request_yields_at_most_four_packets() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.limits.timeout = Duration::from_millis(100));
        site.put("file", 60_000);
        let client = Client::new(&site);
        let request = rrq(b"file", b"windowsize\x0016\0");
        client.0.send_to(&request, client.1).unwrap();
        client.0.send_to(&request, client.1).unwrap(); // repeated by the firmware: no second transfer
        assert_eq!(site.event().outcome, Outcome::Failed("the client never answered".into()));
        client.0.set_nonblocking(true).unwrap();
        let mut packets = 0;
        while client.0.recv_from(&mut [0; 2048]).is_ok() {
            packets += 1;
        }
        assert_eq!(packets, 4);
    }
}

#[test]
fn only_allowed_sources_are_answered() {
    for engine in ENGINES {
        let sources = vec![(Ipv4Addr::new(10, 0, 0, 0).into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
        let site = site_with(engine, |config| config.sources = sources);
        let client = Client::new(&site);
        client.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client.0.send_to(&rrq(b"file", b""), client.1).unwrap();
        assert!(client.0.recv_from(&mut [0; 16]).is_err());
        assert_eq!(site.server.stats().dropped, 1);
        let file = site.put("file", 1);
        site.server.serve_only(vec![(Ipv4Addr::LOCALHOST.into(), 8)]);
        assert_eq!(client.ask(&rrq(b"file", b"")).0, [b"\0\x03\0\x01", &file[..]].concat());
    }
}

/// Which answers with a block, or with an ERROR, come from which of our addresses.
fn answers_from(listen: SocketAddr, asked: &str, engine: Choice) {
    let site = site_with(engine, |config| config.listen = listen);
    site.put("file", 600);
    let asked = SocketAddr::new(asked.parse().unwrap(), site.server.local_addr().port());
    let any: SocketAddr =
        if asked.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let client = Client(UdpSocket::bind(any).unwrap(), asked);
    client.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for (name, start) in [("nothing", b"\0\x05\0\x01"), ("file", b"\0\x03\0\x01")] {
        let (answer, from) = client.ask(&rrq(name.as_bytes(), b""));
        assert_eq!((&answer[..4], from.ip()), (&start[..], asked.ip()), "{listen}, {name}, {engine:?}");
        assert_ne!(from.port(), asked.port());
    }
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let (any4, any6) = ((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into());
    for engine in ENGINES {
        // All of 127.0.0.0/8 is ours; without being told, the kernel answers from 127.0.0.1.
        answers_from(any4, "127.0.0.2", engine);
        answers_from(any6, "127.7.7.7", engine);
        answers_from((Ipv4Addr::new(127, 0, 0, 9), 0).into(), "127.0.0.9", engine);
        answers_from(any6, "::1", engine);
    }
}

#[test]
fn rfc1123_4_2_3_5_broadcast_requests_are_ignored_and_counted() {
    for (listen, engine) in
        [(IpAddr::from(Ipv4Addr::UNSPECIFIED), Choice::Uring), (Ipv6Addr::UNSPECIFIED.into(), Choice::Epoll)]
    {
        let site = site_with(engine, |config| {
            // A broadcast is for the socket of each worker.
            (config.workers, config.listen) = (1, (listen, 0).into());
        });
        site.put("file", 10);
        let client = Client::new(&site);
        client.0.set_broadcast(true).unwrap();
        let port = site.server.local_addr().port();
        client.0.send_to(&rrq(b"file", b""), (Ipv4Addr::new(127, 255, 255, 255), port)).unwrap();
        site.wait_for("the request", |stats| stats.broadcast == 1);
        // The first answer is to the second request.
        client.0.send_to(&rrq(b"file", b"tsize\x000\0"), (Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(client.receive().0, b"\0\x06tsize\x0010\0");
    }
}

#[test]
fn a_flood_of_forged_requests_does_not_lock_clients_out() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.workers, config.transfers) = (1, 20);
            config.listen = (Ipv4Addr::UNSPECIFIED, 0).into();
        });
        let want = site.put("file", 5000);
        let port = site.server.local_addr().port();
        let forged = |from: u32| {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + from);
            let socket = UdpSocket::bind((address, 0)).unwrap();
            socket.send_to(&rrq(b"file", b""), (Ipv4Addr::LOCALHOST, port)).unwrap();
            socket
        };
        // Clients that are there answer the first block; what follows must not cost them their place.
        let clients: Vec<_> = (0..5)
            .map(|_| Client(UdpSocket::bind("127.0.0.1:0").unwrap(), (Ipv4Addr::LOCALHOST, port).into()))
            .collect();
        let mut transfers = Vec::new();
        for client in &clients {
            client.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let (block, transfer) = client.ask(&rrq(b"file", b""));
            client.0.send_to(b"\0\x04\0\x01", transfer).unwrap();
            let (next, _) = client.receive();
            transfers.push((transfer, [&block[4..], &next[4..]].concat()));
        }
        let flood: Vec<_> = (0..200).map(forged).collect();
        // A request is counted before what becomes of it.
        site.wait_for("the flood", |stats| (stats.requests, stats.active, stats.evicted) == (205, 20, 185));
        let to = site.folder.path().join("got");
        succeed(
            Command::new("curl")
                .args(["-sS", "--max-time", "20", "-o"])
                .arg(&to)
                .arg(format!("tftp://127.0.0.1:{port}/file")),
        );
        assert!(std::fs::read(&to).unwrap() == want, "a client that comes now, {engine:?}");
        for (client, (transfer, mut got)) in clients.iter().zip(transfers) {
            for block in 2..=10_u16 {
                client.0.send_to(&[&[0, 4][..], &block.to_be_bytes()].concat(), transfer).unwrap();
                if block < 10 {
                    let (data, _) = client.receive();
                    got.extend_from_slice(&data[4..]);
                }
            }
            assert!(got == want, "a client that was there before, {engine:?}");
        }
        drop(flood);
    }
}

#[test]
fn one_address_has_its_share_of_the_transfers_and_what_finds_no_room_is_not_answered() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.workers, config.transfers, config.transfers_per_client) = (1, 4, 3)
        });
        site.put("file", 5000);
        // Answered, and so never given up for others.
        let begin = |site: &Site| {
            let client = Client::new(site);
            let (_, transfer) = client.ask(&rrq(b"file", b""));
            client.0.send_to(b"\0\x04\0\x01", transfer).unwrap();
            client.receive();
            client
        };
        let held: Vec<_> = (0..3).map(|_| begin(&site)).collect();
        let silent = Client::new(&site);
        silent.0.send_to(&rrq(b"file", b""), silent.1).unwrap();
        site.wait_for("the refusal", |stats| stats.client_full == 1);
        let other = UdpSocket::bind("127.0.0.2:0").unwrap();
        other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let other = Client(other, silent.1);
        let (_, transfer) = other.ask(&rrq(b"file", b""));
        other.0.send_to(b"\0\x04\0\x01", transfer).unwrap();
        other.receive();
        let third = UdpSocket::bind("127.0.0.3:0").unwrap();
        third.send_to(&rrq(b"file", b""), silent.1).unwrap();
        site.wait_for("the refusal", |stats| stats.full == 1);
        for socket in [&silent.0, &third] {
            socket.set_nonblocking(true).unwrap();
            assert!(socket.recv_from(&mut [0; 2048]).is_err(), "silence, {engine:?}");
        }
        drop(held);
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
        client.0.send_to(b"\0\x04\0\x01", transfer).unwrap();
        assert_eq!(client.receive().0[..4], *b"\0\x05\0\0");
        assert!(matches!(site.event().outcome, Outcome::Failed(_)));
    }
}

#[test]
fn start_errors_name_the_object() {
    let site = site(Choice::Auto);
    assert_eq!(site.server.engine(), Running::Uring);
    let observer = || Arc::new(|_| {});
    let error = Server::start(Config::new(site.server.local_addr()), observer()).unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    assert_eq!(error.to_string(), format!("TFTP: {}: port in use", site.server.local_addr()));
    let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
    config.roots = vec!["/no/such/folder".into()];
    let error = Server::start(config, observer()).unwrap_err();
    assert!(error.to_string().starts_with("TFTP: folder /no/such/folder: "), "{error}");
    site.server.shutdown();
}
