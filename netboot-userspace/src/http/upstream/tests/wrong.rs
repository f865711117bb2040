//! What must not be kept, and what must not be asked for.

use super::*;

/// What clients of an upstream with this answer get; nothing of it may be kept.
fn said_of(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> (Said, Outcome) {
    let fake = Fake::of(answer);
    let site = Site::new(vec![fake.upstream()]);
    let said = site.get("/assets/up/x");
    let outcome = site.outcome();
    site.assert_kept(&[]);
    (said, outcome)
}

#[test]
fn what_an_upstream_answers_wrongly_ends_in_an_error_with_its_cause_and_is_not_kept() {
    for (answer, status, cause) in [
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 502, "answered 500"),
        ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, "404 Not Found"),
        ("HTTP/1.1 206 Part\r\nContent-Length: 1\r\n\r\nx", 502, "answered 206"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 502, "answered 304"),
        ("HTTP/1.1 two hundred\r\n\r\n", 502, "invalid HTTP status-code"),
        ("220 mail.example ESMTP\r\n", 502, "invalid HTTP version"),
        ("", 502, "connection closed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello", 502, "content-length"),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
            502,
            "encoded as gzip",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nhello",
            502,
            "encoded as br",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", 502, "identity, and not chunked"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            502,
            "gzip, chunked, and not chunked",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            502,
            "gzip, and not chunked",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", 502, "where it ends"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nhello", 502, "has more than 67108864 bytes"),
        ("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", 502, "to nowhere"),
        ("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/x\r\n\r\n", 502, "no upstream is configured"),
        ("HTTP/1.1 302 Found\r\nLocation: /files/x?token=1\r\n\r\n", 502, "has a query"),
        ("HTTP/1.1 302 Found\r\nLocation: /files/y\r\n\r\n", 502, "sent on more than 5 times"),
        ("HTTP/1.1 301 Moved\r\nLocation: /files/x/\r\n\r\n", 404, "a folder"),
        ("HTTP/1.1 301 Moved\r\nLocation: /api/secret\r\n\r\n", 502, "no upstream is configured"),
    ] {
        let (said, outcome) = said_of(answer);
        assert_eq!((said.status, said.is_whole), (status, true), "{answer:?}: {}", said.text());
        let Outcome::Failed { status: told, cause: text } = outcome else { panic!("{outcome:?}") };
        let is_told = text.to_ascii_lowercase().contains(&cause.to_ascii_lowercase());
        assert!(told == status && is_told && text.len() < 400, "{answer:?}: {told} {text}");
        // Who has it is nobody's business.
        assert!(!said.text().contains("127.0.0.1") && !text.contains("token"), "{} {text}", said.text());
    }
}

#[test]
fn a_body_that_goes_wrong_on_the_way_ends_the_connection_and_is_not_kept() {
    let start = "HTTP/1.1 200 OK\r\n";
    for (answer, want) in [
        (format!("{start}Content-Length: 100\r\n\r\n{}", "x".repeat(99)), &["end of file", "closed"][..]),
        (
            format!("{start}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            &["end of file", "closed", "chunk"],
        ),
        (format!("{start}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"), &["chunk"]),
        (format!("{start}Transfer-Encoding: chunked\r\n\r\n5\r\nhello00\r\n\r\n"), &["chunk"]),
    ] {
        let (said, outcome) = said_of(answer.clone());
        // Whether the first byte was on its way by then is a matter of luck.
        assert!(said.is_refused_or_cut(), "{answer:?}: {} {}", said.status, said.text());
        let Outcome::Failed { status: 502, cause } = outcome else { panic!("{outcome:?}") };
        assert!(want.iter().any(|want| cause.to_ascii_lowercase().contains(want)), "{answer:?}: {cause}");
    }
}

#[test]
fn an_upstream_that_is_slow_or_never_ends_is_given_up() {
    let (_hold, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let fake = Fake::start(move |path, _, stream| match path {
        "/files/silent" => wait.lock().unwrap().recv().map_err(io::Error::other),
        "/files/stalled" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")?;
            drop(stream.read(&mut [0]));
            Ok(())
        }
        _ => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                stream.write_all(b"4000\r\n")?;
                stream.write_all(&[7; 0x4000])?;
                stream.write_all(b"\r\n")?;
            }
        }
    });
    let mut upstream = fake.upstream();
    (upstream.most, upstream.deadlines.least) = (4 << 20, 1 << 10);
    let site = Site::new(vec![upstream]);
    let said = site.get("/assets/up/silent");
    assert_eq!(said.status, 504, "{}", said.text());
    let said = site.get("/assets/up/stalled");
    assert!(said.status == 200 && !said.is_whole);
    let said = site.get("/assets/up/endless");
    // Nobody is sent what has no known end.
    assert_eq!(said.status, 502);
    let causes: Vec<_> = (0..3).map(|_| site.outcome()).collect();
    let has =
        |at: usize, text: &str| matches!(&causes[at], Outcome::Failed { cause, .. } if cause.contains(text));
    assert!(
        has(0, "no answer within 1 s")
            && has(1, "less than 1024 a second")
            && has(2, "more than 4194304 bytes"),
        "{causes:?}"
    );
    site.assert_kept(&[]);
}

#[test]
fn all_of_a_file_has_its_deadline() {
    let fake = Fake::start(|_, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        // Fast enough for every other limit, for as long as anybody listens.
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        loop {
            stream.write_all(b"1\r\nx\r\n")?;
            match stream.read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return Ok(()),
            }
        }
    });
    let mut upstream = fake.upstream();
    upstream.deadlines.total = Duration::from_secs(2);
    let site = Site::new(vec![upstream]);
    let said = site.get("/assets/up/x");
    assert_eq!(said.status, 504);
    let outcome = site.outcome();
    assert!(
        matches!(&outcome, Outcome::Failed { status: 504, cause } if cause.contains("not whole")),
        "{outcome:?}"
    );
    site.assert_kept(&[]);
}

#[test]
fn addresses_that_are_nobody_s_on_the_internet_are_not_connected_to_by_whatever_name() {
    let fake = Fake::of(ok(b"secret", ""));
    let port = fake.address.port();
    for (host, allow_private) in [
        ("127.0.0.1", false),
        ("localhost", false),
        ("0.0.0.0", false),
        ("::ffff:127.0.0.1", false),
        ("::1", false),
        // A name may lead to a site's own network, and no further.
        ("localhost", true),
    ] {
        let mut upstream = upstream("up/", Origin { is_https: false, host: host.to_owned(), port }, "/");
        upstream.allow_private = allow_private;
        let site = Site::new(vec![upstream]);
        let said = site.get("/assets/up/x");
        assert_eq!(said.status, 502, "{host}: {}", said.text());
        let outcome = site.outcome();
        assert!(
            matches!(&outcome, Outcome::Failed { cause, .. } if cause.contains("allow_private")),
            "{outcome:?}"
        );
        site.assert_kept(&[]);
    }
    assert_eq!(fake.count(), 0);
}

/// An API on this host, by a name of its own: the name of a virtual host goes there as it was typed.
#[test]
fn a_server_that_the_operator_has_named_may_be_this_host_by_whatever_name() {
    let fake = Fake::of(ok(b"yes", ""));
    let port = fake.address.port();
    let mut upstream = upstream("up/", Origin { is_https: false, host: "localhost".to_owned(), port }, "/");
    (upstream.allow_private, upstream.is_named) = (false, true);
    let site = Site::new(vec![upstream]);
    let said = site.get("/assets/up/x");
    assert_eq!((said.status, said.text().as_str()), (200, "yes"));
    assert!(
        fake.heads()[0].to_ascii_lowercase().contains(&format!("host: localhost:{port}")),
        "{:?}",
        fake.heads()
    );
}

#[test]
fn a_redirect_leads_to_another_upstream_by_that_one_s_own_rules() {
    let inside = Fake::of(ok(b"inside", ""));
    let location = format!("http://{}/y", inside.address);
    let outside =
        Fake::of(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
    let mut other = upstream("other/", inside.origin(), "/");
    let site = Site::new(vec![outside.upstream(), other.clone()]);
    let said = site.get("/assets/up/x");
    assert_eq!((said.status, said.text().as_str()), (200, "inside"));
    assert!(inside.heads()[0].starts_with("GET /y HTTP/1.1\r\n"));
    other.allow_private = false;
    let site = Site::new(vec![outside.upstream(), other]);
    let said = site.get("/assets/up/x");
    let outcome = site.outcome();
    assert!(said.status == 502 && format!("{outcome:?}").contains("allow_private"), "{outcome:?}");
    assert_eq!(inside.count(), 1);
}

#[test]
fn nothing_that_a_client_sends_goes_to_the_upstream_but_the_path() {
    let fake = Fake::of(ok(b"yes", ""));
    let site = Site::new(vec![fake.upstream()]);
    let fields = "Cookie: secret\r\nAuthorization: Basic secret\r\nX-Forwarded-For: secret\r\nReferer: http://secret/\r\nUser-Agent: secret\r\nRange: bytes=0-0\r\n";
    let said = Said::read(&mut site.ask("/assets//up/./a%20b%3Fc?secret=1", fields));
    assert_eq!((said.status, said.text().as_str()), (206, "y"));
    let head = &fake.heads()[0];
    assert!(head.starts_with("GET /files/a%20b%3Fc HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("secret") && !head.to_ascii_lowercase().contains("\r\nrange"), "{head}");
    site.outcome();
    site.assert_kept(&["up/a b?c"]);
}

#[test]
fn only_what_is_below_a_prefix_is_asked_for_and_only_by_get_and_head() {
    let fake = Fake::of(ok(b"yes", ""));
    let site = Site::new(vec![fake.upstream()]);
    for (path, status) in [
        ("/assets/other/x", 404),
        ("/assets/up", 404),
        ("/assets/up/", 404),
        ("/assets/up/dir/", 404),
        ("/assets/upper/x", 404),
        ("/assets/up/../up/x", 400),
        ("/assets/up/%2e%2e/x", 400),
        ("/assets/up/a%2fb", 400),
        ("/assets/up/a%00b", 400),
        ("/assets/up/a%5cb", 404),
        ("/assets/up/a%0ab", 404),
        ("/assets/up/..%3bx/y", 404),
        ("/assets/up/.%3b/y", 404),
        ("/other/up/x", 404),
        ("/http://192.0.2.1/x", 404),
    ] {
        assert_eq!(site.get(path).status, status, "{path}");
    }
    let absolute = format!("GET http://{}/files/x HTTP/1.1\r\nHost: x\r\n\r\n", fake.address);
    assert_eq!(Said::read(&mut site.send(&absolute)).status, 404);
    for method in ["PUT", "POST", "DELETE"] {
        let said = Said::read(&mut site.send(&format!("{method} /assets/up/x HTTP/1.1\r\nHost: x\r\n\r\n")));
        assert_eq!((said.status, said.field("Allow").as_deref()), (405, Some("GET, HEAD")));
    }
    assert_eq!(fake.count(), 0);
    // What is in the folder itself is nobody else's.
    std::fs::create_dir(site.folder.path().join("assets/up")).unwrap();
    std::fs::write(site.folder.path().join("assets/up/own"), b"own").unwrap();
    assert_eq!(site.get("/assets/up/own").text(), "own");
    assert_eq!(fake.count(), 0);
}
