//! Files on their way here.

use super::*;

/// An upstream that sends so much of `body`, and the rest when it is told to.
fn in_two_parts(body: &[u8], first: usize, head: &str) -> (Fake, Sender<()>) {
    let (go, wait) = channel();
    let (body, head, wait) = (body.to_vec(), head.to_owned(), Mutex::new(wait));
    let fake = Fake::start(move |_, _, stream| {
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body[..first])?;
        // Nobody who could say so is as good as being told.
        let _ = wait.lock().unwrap().recv();
        stream.write_all(&body[first..])
    });
    (fake, go)
}

fn head(body: &[u8]) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"a\"\r\n\r\n"
    )
}

fn patient(fake: &Fake) -> Upstream {
    let mut upstream = fake.upstream();
    upstream.deadlines.read = Duration::from_secs(30);
    upstream
}

#[test]
fn fifty_who_ask_at_once_are_one_request_and_are_served_while_it_arrives() {
    let body = bytes(3_000_000);
    let (fake, go) = in_two_parts(&body, 1_000_000, &head(&body));
    let site = Site::new(vec![patient(&fake)]);
    let mut clients: Vec<TcpStream> = (0..50).map(|_| site.ask("/assets/up/dir/linux", "")).collect();
    let mut begun: Vec<(TcpStream, Vec<u8>)> = Vec::new();
    for mut client in clients.drain(..) {
        let head = read_head(&mut client).unwrap().to_ascii_lowercase();
        assert!(
            head.starts_with("http/1.1 200 ok\r\n") && head.contains("content-length: 3000000\r\n"),
            "{head}"
        );
        assert!(head.contains("last-modified: sun, 06 nov 1994 08:49:37 gmt"), "{head}");
        let mut first = vec![0; 900_000];
        client.read_exact(&mut first).unwrap();
        begun.push((client, first));
    }
    assert_eq!((fake.count(), site.stat("joined"), site.stat("arriving")), (1, 49, 1));
    go.send(()).unwrap();
    for (mut client, mut got) in begun {
        let mut rest = vec![0; 2_100_000];
        client.read_exact(&mut rest).unwrap();
        got.append(&mut rest);
        assert!(got == body, "each has the same bytes");
    }
    assert_eq!(site.outcome(), Outcome::Fetched { bytes: 3_000_000 });
    site.assert_kept(&["up/dir/linux"]);
    // From now on it is the engine's.
    let handed_over = site.server.stats().handed_over;
    for path in ["/assets/up/dir/linux", "/images/up//dir/./linux"] {
        let said = site.get(path);
        assert!(said.body == body && said.field("ETag").is_some(), "{}", said.head);
        assert_eq!(said.field("Last-Modified").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    }
    assert_eq!((site.server.stats().handed_over, fake.count()), (handed_over, 1));
    let access = site.accesses.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!((access.status, access.bytes, access.stage), (200, 3_000_000, http::Stage::Done));
}

#[test]
fn a_range_waits_for_what_has_not_arrived_yet() {
    let body = bytes(2_000_000);
    let (fake, go) = in_two_parts(&body, 1_000_000, &head(&body));
    let site = Site::new(vec![patient(&fake)]);
    // What is there is there at once.
    let said = Said::read(&mut site.ask("/assets/up/x", "Range: bytes=10-19\r\n"));
    assert_eq!((said.status, &said.body[..]), (206, &body[10..20]));
    assert_eq!(said.field("Content-Range").as_deref(), Some("bytes 10-19/2000000"));
    let said = Said::read(&mut site.ask("/assets/up/x", "Range: bytes=2000000-\r\n"));
    assert_eq!((said.status, said.field("Content-Range").as_deref()), (416, Some("bytes */2000000")));
    let said = Said::read(&mut site.send("HEAD /assets/up/x HTTP/1.0\r\n\r\n"));
    assert_eq!((said.status, said.field("Content-Length").as_deref()), (200, Some("2000000")));
    let mut late = site.ask("/assets/up/x", "Range: bytes=-10\r\n");
    let mut across = site.ask("/assets/up/x", "Range: bytes=900000-1100000\r\n");
    let head = read_head(&mut across).unwrap();
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    late.set_nonblocking(true).unwrap();
    assert_eq!(late.peek(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "it waits");
    late.set_nonblocking(false).unwrap();
    go.send(()).unwrap();
    let mut got = vec![0; 200_001];
    across.read_exact(&mut got).unwrap();
    assert!(got == body[900_000..1_100_001]);
    let said = Said::read(&mut late);
    assert_eq!((said.status, &said.body[..]), (206, &body[1_999_990..]));
    assert_eq!(fake.count(), 1);
}

#[test]
fn who_is_being_served_when_the_upstream_breaks_off_is_cut_off_and_gets_nothing_made_up() {
    let body = bytes(100_000);
    let (fake, go) = in_two_parts(&body[..60_000], 50_000, &head(&body));
    let site = Site::new(vec![patient(&fake)]);
    let mut client = site.ask("/assets/up/x", "");
    let mut rest = site.ask("/assets/up/x", "Range: bytes=55000-\r\n");
    assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    let mut got = vec![0; 40_000];
    client.read_exact(&mut got).unwrap();
    drop(go);
    let _ = client.read_to_end(&mut got);
    assert!(got.len() < 60_000 && got == body[..got.len()], "{} bytes", got.len());
    let said = Said::read(&mut rest);
    assert!(said.status == 502 || !said.is_whole, "{}", said.head);
    site.outcome();
    site.assert_kept(&[]);
}

#[test]
fn the_last_byte_is_held_back_until_all_is_known_to_be_right() {
    let body = bytes(100_000);
    // All of the body but its last byte.
    let (fake, go) = in_two_parts(&body, body.len() - 1, &head(&body));
    let mut upstream = patient(&fake);
    upstream.digests.insert("x".to_owned(), "0".repeat(64));
    let site = Site::new(vec![upstream]);
    let mut client = site.ask("/assets/up/x", "");
    assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    let mut got = vec![0; body.len() - 2];
    client.read_exact(&mut got).unwrap();
    go.send(()).unwrap();
    // A reset is an end, too.
    let _ = client.read_to_end(&mut got);
    assert!(got.len() < body.len() && got == body[..got.len()], "{} bytes", got.len());
    assert!(matches!(site.outcome(), Outcome::Failed { cause, .. } if cause.contains("SHA-256")));
    site.assert_kept(&[]);
}

#[test]
fn who_can_not_tell_the_end_of_a_body_gets_one_with_a_length() {
    let body = bytes(50_000);
    let chunked = [b"c350\r\n", &body[..], b"\r\n0\r\n\r\n"].concat();
    let fake = Fake::of([&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &chunked].concat());
    let site = Site::new(vec![fake.upstream()]);
    let said = Said::read(&mut site.send("GET /assets/up/a HTTP/1.0\r\n\r\n"));
    assert_eq!(said.field("Content-Length").as_deref(), Some("50000"), "{}", said.head);
    assert!(said.body == body);
    site.outcome();
    let said = site.get("/assets/up/b");
    assert_eq!(said.field("Content-Length").as_deref(), Some("50000"), "{}", said.head);
    assert!(said.body == body);
    site.outcome();
    site.assert_kept(&["up/a", "up/b"]);
}

#[test]
fn an_upstream_is_asked_for_so_many_files_at_once() {
    let body = bytes(10);
    let (fake, go) = in_two_parts(&body, 5, &head(&body));
    let mut upstream = patient(&fake);
    upstream.connections = 2;
    let site = Site::new(vec![upstream]);
    let mut clients: Vec<_> = (0..4).map(|n| site.ask(&format!("/assets/up/{n}"), "")).collect();
    while site.stat("arriving") < 4 || fake.count() < 2 {
        std::thread::yield_now();
    }
    assert_eq!(fake.count(), 2);
    drop(go);
    for client in &mut clients {
        assert_eq!(Said::read(client).body, body);
    }
    assert_eq!(fake.count(), 4);
}

#[test]
fn who_goes_on_by_range_gets_the_same_file_or_the_whole_of_the_new_one() {
    let (old, new) = (bytes(100_000), vec![7; 100_000]);
    let (fake, go) = in_two_parts(&old, 50_000, &head(&old));
    let site = Site::new(vec![patient(&fake)]);
    let mut client = site.ask("/assets/up/x", "");
    let begun =
        Said { status: 200, head: read_head(&mut client).unwrap(), body: Vec::new(), is_whole: false };
    let date = begun.field("Last-Modified").unwrap();
    let on = format!("Range: bytes=40000-\r\nIf-Range: {date}\r\n");
    drop((client, go));
    // The same, whether it arrives, or is kept.
    for is_kept in [false, true] {
        let said = Said::read(&mut site.ask("/assets/up/x", &on));
        assert!(said.status == 206 && said.body == old[40_000..], "{is_kept}: {}", said.head);
        if !is_kept {
            assert_eq!(site.outcome(), Outcome::Fetched { bytes: 100_000 });
        }
    }
    let (fake, go) = in_two_parts(&new, 50_000, &head(&new).replace("1994", "1995"));
    site.mirror.shelf.remove("up/x").unwrap();
    let site = site.again(vec![patient(&fake)]);
    let mut arriving = site.ask("/assets/up/x", &on);
    assert!(read_head(&mut arriving).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    drop(go);
    let mut got = vec![0; new.len()];
    arriving.read_exact(&mut got).unwrap();
    assert!(got == new);
    site.outcome();
    let said = Said::read(&mut site.ask("/assets/up/x", &on));
    assert!(said.status == 200 && said.body == new, "{}", said.head);
}

#[test]
fn what_is_right_is_kept_however_long_the_disk_takes() {
    let body = bytes(100_000);
    let (fake, go) = in_two_parts(&body, 50_000, &head(&body));
    let mut upstream = patient(&fake);
    upstream.deadlines.total = Duration::from_secs(3);
    let total = upstream.deadlines.total;
    let site = Site::new(vec![upstream]);
    let mut client = site.ask("/assets/up/x", "");
    assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    let mut got = vec![0; 40_000];
    client.read_exact(&mut got).unwrap();
    // There is room for the rest already.
    let slow = site.mirror.shelf.slow();
    go.send(()).unwrap();
    let mut rest = vec![0; 60_000];
    client.read_exact(&mut rest).unwrap();
    assert!([got, rest].concat() == body, "nobody waits for the disk");
    let told = site.told.recv_timeout(total + Duration::from_secs(1));
    assert!(told.is_err(), "the upstream has done its part: {told:?}");
    drop(slow);
    assert_eq!(site.outcome(), Outcome::Fetched { bytes: 100_000 });
    site.assert_kept(&["up/x"]);
}
