//! HTTPS: the same bytes as HTTP, to clients of many kinds; and what becomes of those that do not get that far.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netboot_userspace::http::tls::authority::{self, Issued};
use netboot_userspace::http::tls::{self, Engine, Identity, Listener};
use netboot_userspace::http::{Config, Stage};
use netboot_userspace::uring::Choice;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::site::*;

mod ends;

/// One for all: RSA keys take their time.
static AUTHORITY: LazyLock<Issued> = LazyLock::new(|| authority::authority("a test's", now()).unwrap());

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A certificate of [`AUTHORITY`]; its files are read, and gone again.
fn identity(name: &str) -> Arc<Identity> {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    let issued = authority::server(&AUTHORITY, &["127.0.0.1".to_owned(), name.to_owned()], now()).unwrap();
    fs::write(&certificate, issued.certificate).unwrap();
    fs::write(&key, issued.key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    Arc::new(Identity::load(&certificate, &key).unwrap())
}

/// A site by both protocols; clients find the authority's certificate in the file `ca`.
pub(crate) struct Secured {
    pub(crate) site: Site,
    ca: tempfile::NamedTempFile,
}

pub(crate) fn secured(engine: Choice, change: impl FnOnce(&mut Config)) -> Secured {
    let site = site_with(engine, |config| {
        let listen = ([127, 0, 0, 1], 0).into();
        let identity = identity("boot.test");
        config.tls = Some(tls::Config { listen, identity, most: 100, dhe: false, kernel: true });
        change(config);
    });
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), &AUTHORITY.certificate).unwrap();
    Secured { site, ca }
}

impl Secured {
    fn listener(&self) -> &Listener {
        self.site.server.tls().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.listener().local_addr())
    }

    fn ca(&self) -> &str {
        self.ca.path().to_str().unwrap()
    }

    fn curl(&self, arguments: &[&str]) -> Vec<u8> {
        let answer = curl(&[&["--cacert", self.ca()], arguments].concat());
        self.is_as_wanted();
        answer
    }

    /// Where that is wanted, the kernel enciphers every connection that there was; who runs a test says where.
    pub(crate) fn is_as_wanted(&self) {
        let wanted = std::env::var("NETBOOT_TEST_KERNEL_TLS");
        if wanted.is_ok_and(|wanted| wanted == "required") {
            let (engine, counts) = (self.listener().engine(), self.listener().counts());
            assert!(counts.by_kernel > 0 && counts.by_kernel == counts.done, "{engine}: {counts:?}");
        }
    }

    fn is_by_kernel(&self) -> bool {
        matches!(self.listener().engine(), Engine::Kernel { .. })
    }

    /// Of a file, what a worker is done with though its client reads nothing: a pair of sockets takes more than a connection. It is more
    /// than what is on its way on a [`Secured::small`] one.
    fn at_once(&self) -> usize {
        if self.is_by_kernel() { 12 << 10 } else { 200 << 10 }
    }

    /// A connection before its handshake.
    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listener().local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        self.connect_on(self.tcp(), client())
    }

    /// On which little is on its way at a time.
    pub(crate) fn small(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
        setsockopt(&stream, TcpMaxSeg, &536).unwrap();
        rustix::net::connect(&stream, &self.listener().local_addr()).unwrap();
        self.connect_on(stream.into(), client())
    }

    fn connect_on(
        &self,
        stream: TcpStream,
        config: Arc<ClientConfig>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let name = self.listener().local_addr().ip().into();
        StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
    }

    /// `openssl s_client`, which sends nothing.
    fn openssl(&self, arguments: &[&str]) -> Output {
        let address = self.listener().local_addr().to_string();
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &address, "-CAfile", self.ca(), "-verify_return_error"]);
        openssl
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed (cargo xtask setup)")
    }
}

/// Trusts [`AUTHORITY`], and takes sessions up again.
fn client() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
}

const LAST: &[u8] = b"GET /assets/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const GET: &[u8] = b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n";

/// All of an answer but its time.
fn undated(answer: Vec<u8>) -> String {
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head: Vec<&str> =
        head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date: ")).collect();
    format!("{}\n\n{body}", head.join("\n"))
}

#[test]
fn answers_by_https_are_those_by_http_in_both_versions() {
    for engine in ENGINES {
        let site = secured(engine, |_| {});
        for (name, size) in [("file", 200_000), ("small", 300)] {
            site.site.put_long_ago(name, size);
        }
        let requests: [&[&str]; 15] = [
            &["/assets/file"],
            &["/assets/small"],
            &["-I", "/assets/file"],
            &["-r", "0-0", "/assets/file"],
            &["-r", "-5", "/assets/file"],
            &["-r", "70000-", "/assets/file"],
            &["-r", "500000-", "/assets/file"],
            &["-r", "10-20", "/assets/small"],
            &["/assets/none"],
            &["--path-as-is", "/assets/../x"],
            &["-H", "If-None-Match: *", "/assets/file"],
            &["-X", "DELETE", "/assets/file"],
            &["/api/x?y=z"],
            &["--data", "a body", "/api/x"],
            &["-H", "Transfer-Encoding: chunked", "--data", "a body", "/api/x"],
        ];
        for request in requests {
            let (path, options) = request.split_last().unwrap();
            let plain = undated(curl(&[&["-i"], options, &[&site.site.url(path)]].concat()));
            for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
                let url = site.url(path);
                let sealed = undated(site.curl(&[&["-i"], &version[..], options, &[&url]].concat()));
                assert!(sealed == plain, "{engine:?} {request:?} {version:?}\n{sealed:.500}\n{plain:.500}");
            }
        }
        site.site.wait_for("all done", |site| site.server.stats().open == 0);
        let stats = site.site.server.stats();
        assert_eq!((stats.broken, stats.accepted), (0, 45), "of both listeners");
        let counts = site.listener().counts();
        assert_eq!((counts.done, counts.failed), (30, 0), "{counts:?}");
    }
}

#[test]
fn files_of_all_sizes_arrive_whole_by_https() {
    for engine in ENGINES {
        let site = secured(engine, |_| {});
        for size in SIZES {
            let want = site.site.put("file", size);
            assert!(site.curl(&[&site.url("/assets/file")]) == want, "{size} bytes, {engine:?}");
        }
        let want = site.site.put("file", 8 << 20);
        let wget = Command::new("wget")
            .args(["-q", "-O", "-", "--ca-certificate", site.ca(), &site.url("/assets/file")])
            .output()
            .expect("wget is installed (cargo xtask setup)");
        assert!(wget.stdout == want, "{}", String::from_utf8_lossy(&wget.stderr));
        site.site.wait_for("all done", |site| site.server.stats().open == 0);
        assert_eq!(site.site.server.stats().broken, 0);
    }
}

#[test]
fn one_tls_connection_goes_across_the_border_and_back() {
    for engine in ENGINES {
        let site = secured(engine, |_| {});
        let want = site.site.put("file", 100_000);
        let mut stream = site.connect();
        for _ in 0..20 {
            stream.write_all(GET).unwrap();
            stream.write_all(b"GET /api/x HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream.write_all(GET).unwrap();
            assert!(read_answer(&mut stream).1 == want, "{engine:?}");
            assert_eq!(read_answer(&mut stream).1, b"axum: GET /api/x ");
            assert!(read_answer(&mut stream).1 == want, "{engine:?}");
        }
        site.is_as_wanted();
        let stats = site.site.server.stats();
        assert_eq!((stats.accepted, stats.handed_over, stats.returned, stats.open), (1, 20, 20, 1));
        // The end is told, as RFC 8446 section 6.1 wants it: a read to the end is no error.
        stream.write_all(b"GET /assets/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut last = String::new();
        stream.read_to_string(&mut last).unwrap();
        assert_eq!(status(&last), 404);
    }
}

#[test]
fn a_forged_record_ends_its_connection_and_no_other() {
    for engine in ENGINES {
        let site = secured(engine, |_| {});
        let want = site.site.put("file", 1000);
        let mut streams = [site.connect(), site.connect()];
        for stream in &mut streams {
            stream.write_all(GET).unwrap();
            assert!(read_answer(stream).1 == want);
        }
        let [forged, other] = &mut streams;
        forged.sock.write_all(&[&[23, 3, 3, 0, 40][..], &[7; 40]].concat()).unwrap();
        site.site.wait_for("ended", |site| site.server.stats().open == 1);
        assert_eq!(forged.sock.read(&mut [0; 100]).map_or(0, |alert| alert / 100), 0);
        other.write_all(GET).unwrap();
        assert!(read_answer(other).1 == want, "{engine:?}");
        // While it is answered, it is the client that breaks off.
        site.site.put_hole("file", 64 << 20);
        other.write_all(GET).unwrap();
        other.read_exact(&mut [0; 1000]).unwrap();
        other.sock.write_all(&[&[23, 3, 3, 0, 40][..], &[7; 40]].concat()).unwrap();
        if site.is_by_kernel() {
            site.site.wait_for("broken", |site| site.server.stats().broken == 1);
        }
        site.is_as_wanted();
        drop(streams);
        site.site.wait_for("left", |site| (site.server.stats().broken, site.server.stats().open) == (1, 0));
        let events = site.site.events.lock().unwrap();
        let broken = events.iter().find(|event| event.stage == Stage::Broken).unwrap();
        assert_eq!(broken.cause, None, "{engine:?}");
    }
}

/// The kernel has no keys but the first (before Linux 6.14): a connection on which there are others ends as any that is done.
#[test]
fn another_key_of_a_client_is_taken_or_ends_its_connection() {
    for engine in ENGINES {
        let site = secured(engine, |_| {});
        let want = site.site.put("file", 1000);
        let mut stream = site.connect();
        stream.write_all(GET).unwrap();
        assert!(read_answer(&mut stream).1 == want);
        stream.conn.refresh_traffic_keys().unwrap();
        stream.write_all(GET).unwrap();
        if site.is_by_kernel() {
            // With what was asked and not read, its end is a reset.
            assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "{engine:?}");
            site.site.wait_for("ended", |site| site.server.stats().open == 0);
        } else {
            assert!(read_answer(&mut stream).1 == want, "{engine:?}");
        }
    }
}

/// With the end of the handshake or after it, in records and segments of whatever size.
#[test]
fn nothing_of_a_first_request_is_lost_however_it_comes() {
    for engine in ENGINES {
        let site = secured(engine, |_| {});
        let want = site.site.put("file", 1000);
        for pieces in [1, 2, 6, 4000] {
            let StreamOwned { mut conn, mut sock } = site.connect();
            sock.set_nodelay(true).unwrap();
            while conn.is_handshaking() {
                if conn.wants_write() {
                    conn.write_tls(&mut sock).unwrap();
                } else {
                    conn.read_tls(&mut sock).unwrap();
                    conn.process_new_packets().unwrap();
                }
            }
            // Our end of the handshake is not sent yet; each piece is a record.
            for piece in GET.chunks(GET.len().div_ceil(pieces)) {
                conn.writer().write_all(piece).unwrap();
            }
            let mut bytes = Vec::new();
            while conn.wants_write() {
                conn.write_tls(&mut bytes).unwrap();
            }
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                sock.write_all(piece).unwrap();
                if pieces < 10 {
                    std::thread::sleep(Duration::from_millis(30));
                }
            }
            let mut stream = StreamOwned::new(conn, sock);
            assert!(read_answer(&mut stream).1 == want, "{engine:?}, {pieces}");
        }
        site.is_as_wanted();
    }
}

#[test]
fn the_kernel_is_let_alone_where_that_is_asked_for() {
    let site = secured(Choice::Auto, |config| config.tls.as_mut().unwrap().kernel = false);
    let want = site.site.put("file", 100_000);
    let mut stream = site.connect();
    stream.write_all(GET).unwrap();
    assert!(read_answer(&mut stream).1 == want);
    assert_eq!(site.listener().counts().by_kernel, 0);
    assert_eq!(site.listener().engine().to_string(), "this process (kernel TLS: switched off)");
}

#[test]
fn events_name_the_client_of_a_tls_connection() {
    let site = secured(Choice::Auto, |_| {});
    site.site.put("file", 10);
    let mut stream = site.connect();
    stream.write_all(GET).unwrap();
    read_answer(&mut stream);
    site.site.wait_for("told", |site| !site.events.lock().unwrap().is_empty());
    let events = site.site.events.lock().unwrap();
    assert_eq!(events[0].peer, stream.get_ref().local_addr().unwrap());
}

#[test]
fn old_versions_and_suites_without_forward_secrecy_are_refused() {
    let site = secured(Choice::Auto, |_| {});
    for suite in ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"]
    {
        // What iPXE (x25519) and firmware (P-256) have of curves.
        for curve in ["X25519", "P-256", "P-384"] {
            let done = site.openssl(&["-tls1_2", "-cipher", suite, "-curves", curve]);
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            assert!(done.status.success() && said.contains(suite), "{suite} {curve}: {said}");
        }
    }
    let refused: [(&[&str], &str); 5] = [
        // Ours says what is missing, which of these is the first.
        (&["-tls1"], "alert handshake failure"),
        (&["-tls1_1"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "AES128-SHA"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"], "alert handshake failure"),
    ];
    for (arguments, alert) in refused {
        let old = if arguments.len() == 1 { &["-cipher", "DEFAULT@SECLEVEL=0"][..] } else { &[] };
        let refused = site.openssl(&[arguments, old].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(alert), "{arguments:?}: {said}");
    }
    let counts = site.listener().counts();
    assert_eq!((counts.done, counts.failed), (9, 5), "{counts:?}");
}

#[test]
fn firmware_without_curves_is_served_where_that_is_asked_for() {
    let site = secured(Choice::Auto, |config| config.tls.as_mut().unwrap().dhe = true);
    // Often: a secret that begins with zeros is one in 256 (RFC 5246 section 8.1.2).
    for suite in ["DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384"].repeat(2) {
        let done = site.openssl(&["-tls1_2", "-cipher", suite]);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && said.contains(suite), "{suite}: {said}");
    }
    // Others have what they had.
    for (arguments, words) in [(["-tls1_2", "-msg"], "ECDHE-RSA-"), (["-tls1_3", "-msg"], "TLS_AES_")] {
        let done = site.openssl(&arguments);
        assert!(String::from_utf8_lossy(&done.stdout).contains(words), "{arguments:?}");
    }
    let refused = site.openssl(&["-tls1_2", "-cipher", "DHE-RSA-AES128-SHA256"]);
    assert!(!refused.status.success(), "nothing without AEAD");
}

#[test]
fn who_does_not_shake_hands_is_closed_in_time_and_counted() {
    let site = secured(Choice::Auto, |config| config.limits.patience.head = Duration::from_secs(2));
    site.site.put("file", 10);
    let mut plain = site.tcp();
    plain.write_all(GET).unwrap();
    let mut silent = site.tcp();
    let mut halting = site.tcp();
    halting.write_all(&[0x16, 0x03, 0x01]).unwrap();
    for stream in [&mut plain, &mut silent, &mut halting] {
        let mut answer = Vec::new();
        // An alert, at most.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 10, "{answer:?}");
    }
    site.site.wait_for("counted", |site| {
        let counts = site.server.tls().unwrap().counts();
        (counts.failed, counts.late) == (1, 2)
    });
    let last = site.listener().counts().last_failure.unwrap();
    assert!(last.starts_with(&plain.local_addr().unwrap().to_string()), "{last}");
    site.site.wait_for("nobody has a place any more", |site| site.server.stats().open == 0);
    assert_eq!(site.curl(&[&site.url("/assets/file")]).len(), 10);
}

#[test]
fn a_peer_shakes_so_many_hands_at_once_and_no_more() {
    let site = secured(Choice::Auto, |_| {});
    let silent: Vec<TcpStream> = (0..65).map(|_| site.tcp()).collect();
    site.site.wait_for("one too many", |site| site.server.tls().unwrap().counts().over_limit == 1);
    site.site.wait_for("closed", |site| site.server.stats().open == 64);
    drop(silent);
    site.site.wait_for("left", |site| site.server.stats().open == 0);
}

#[test]
fn an_untrusted_authority_is_told_of() {
    let site = secured(Choice::Auto, |_| {});
    let refused = try_curl(&[&site.url("/assets/file")]);
    assert_eq!(refused.status.code(), Some(60), "{}", String::from_utf8_lossy(&refused.stderr));
    site.site.wait_for("counted", |site| site.server.tls().unwrap().counts().failed == 1);
    let last = site.listener().counts().last_failure.unwrap();
    assert!(last.contains("UnknownCA"), "{last}");
}

#[test]
fn tls_connections_are_limited_and_their_room_comes_back() {
    type Change = fn(&mut Config);
    let limits: [Change; 3] = [
        |config| config.tls.as_mut().unwrap().most = 2,
        |config| config.limits.per_peer = 2,
        |config| config.limits.total = 2,
    ];
    for change in limits {
        let site = secured(Choice::Auto, change);
        site.site.put("file", 10);
        let mut held = [site.connect(), site.connect()];
        for stream in &mut held {
            stream.write_all(GET).unwrap();
            read_answer(stream);
        }
        assert_eq!(site.tcp().read(&mut [0]).unwrap_or(0), 0, "closed at once");
        site.site.wait_for("counted", |site| site.server.tls().unwrap().counts().over_limit == 1);
        drop(held);
        site.site.wait_for("left", |site| site.server.stats().open == 0);
        // Its descriptors are free a little later than its place.
        let url = site.url("/assets/file");
        let again = ["--retry", "9", "--retry-delay", "1", "--retry-all-errors", &url];
        assert_eq!(site.curl(&again).len(), 10);
    }
}

#[test]
fn another_certificate_is_shown_to_those_who_come_then() {
    let site = secured(Choice::Auto, |_| {});
    let want = site.site.put("file", 100_000);
    let shown = |site: &Secured| {
        let mut stream = site.connect();
        stream.write_all(GET).unwrap();
        assert!(read_answer(&mut stream).1 == want);
        let chain = stream.conn.peer_certificates().unwrap();
        assert_eq!(chain.len(), 2, "the authority's is behind it");
        (tls::Facts::of(&chain[0]).unwrap().names, stream)
    };
    let (names, mut running) = shown(&site);
    assert_eq!(names, ["127.0.0.1", "boot.test"]);
    let other = identity("other.test");
    assert!(site.listener().replace(other.clone()).unwrap());
    assert!(!site.listener().replace(other).unwrap(), "it is shown already");
    assert_eq!(shown(&site).0, ["127.0.0.1", "other.test"]);
    running.write_all(GET).unwrap();
    assert!(read_answer(&mut running).1 == want, "it goes on");
}

#[test]
fn a_session_is_taken_up_again_until_there_is_another_certificate() {
    let site = secured(Choice::Auto, |_| {});
    site.site.put("file", 10);
    let config = client();
    let kind = || {
        let mut stream = site.connect_on(site.tcp(), config.clone());
        stream.write_all(LAST).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream.conn.handshake_kind().unwrap()
    };
    assert_eq!([kind(), kind()], [HandshakeKind::Full, HandshakeKind::Resumed]);
    site.is_as_wanted();
    site.listener().replace(identity("other.test")).unwrap();
    assert_eq!([kind(), kind()], [HandshakeKind::Full, HandshakeKind::Resumed]);
}
