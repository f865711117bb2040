//! What the RFCs say, on the wire.

use std::io::{Read as _, Write as _};

use super::site::*;

#[test]
fn validators_are_honoured() {
    for engine in ENGINES {
        let site = site(engine);
        site.put_long_ago("file", 1000);
        let first = site.get("/assets/file", "");
        let (etag, modified) = (field(&first, "ETag").unwrap(), field(&first, "Last-Modified").unwrap());
        assert!(field(&first, "Date").is_some(), "rfc9110_6");
        let same = site.get("/assets/file", &format!("If-None-Match: {etag}\r\n"));
        assert_eq!((status(&same), field(&same, "ETag"), body(&same)), (304, Some(etag), ""));
        assert_eq!(status(&site.get("/assets/file", &format!("If-Modified-Since: {modified}\r\n"))), 304);
        assert_eq!(status(&site.get("/assets/file", "If-Match: \"x\"\r\n")), 412);
        let part = site.get("/assets/file", &format!("Range: bytes=10-19\r\nIf-Range: {etag}\r\n"));
        assert_eq!((status(&part), field(&part, "Content-Range")), (206, Some("bytes 10-19/1000")));
        // Somebody has set it: others can have it as well.
        let by_date = site.get("/assets/file", &format!("Range: bytes=10-19\r\nIf-Range: {modified}\r\n"));
        assert_eq!(status(&by_date), 200);
        let later = format!("If-Modified-Since: {}\r\n", field(&first, "Date").unwrap());
        assert_eq!(status(&site.get("/assets/file", &later)), 200, "what was put back is no copy of it");
        let past = site.get("/assets/file", "Range: bytes=1000-\r\n");
        assert_eq!((status(&past), field(&past, "Content-Range")), (416, Some("bytes */1000")));
        assert_eq!(status(&site.get("/assets/file", "Range: bytes=0-1,5-6\r\n")), 200);
        let many = format!(
            "Range: bytes={}\r\n",
            (0..1000).map(|i| format!("{i}-{i}")).collect::<Vec<_>>().join(",")
        );
        assert_eq!(status(&site.get("/assets/file", &many)), 200);
    }
}

/// Each ends its connection.
const REQUESTS: &[(&str, u16)] = &[
    ("GET /assets/a HTTP/1.1\r\n\r\n", 400),
    ("GET /assets/a HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    ("GET /assets/a HTTP/1.1\nHost: x\n\n", 400),
    (
        "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("GET /assets/../a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    ("GET /assets/%2e%2e/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    ("GET /assets/a%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    ("GET /assets/%252e%252e/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    ("GET /assets/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    ("DELETE /assets/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
    ("BREW /assets/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 501),
    ("PUT /assets/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
    ("GET /assets/a HTTP/1.0\r\n\r\n", 200),
    ("GET /assets/a HTTP/1.32\r\nHost: x\r\n\r\n", 505),
    ("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\nConnection: close\r\n\r\n", 405),
    ("TRACE /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
    ("BREW /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 501),
    ("GET /api HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", 417),
    ("GET /assets/a%2Fb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    ("GET /assets/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n", 200),
];

/// Of `/assets/a`, which has three bytes.
const FIELDS: [(&str, u16); 9] = [
    ("", 200),
    ("Range: bytes=1-\r\n", 206),
    ("Range: bytes=3-\r\n", 416),
    ("Range: bytes=0-0,2-2\r\n", 200),
    ("Range: bytes=1-\r\nIf-Range: \"x\"\r\n", 200),
    ("If-None-Match: *\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304),
    ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 200),
    ("If-Match: \"x\"\r\n", 412),
    ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 412),
];

/// The clauses of a request, on a connection that somebody else has had.
#[test]
fn a_connection_that_came_back_is_answered_as_a_new_one() {
    for engine in ENGINES {
        let site = site(engine);
        site.put_long_ago("a", 3);
        let close = |method: &str, fields: &str| {
            format!("{method} /assets/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n")
        };
        let sound = FIELDS.iter().flat_map(|(fields, code)| {
            // HEAD has no ranges.
            let of_head = if matches!(*code, 206 | 416) { 200 } else { *code };
            [(close("GET", fields), *code), (close("HEAD", fields), of_head)]
        });
        let all = REQUESTS.iter().map(|(request, code)| ((*request).to_owned(), *code)).chain(sound);
        let without_date = |answer: &str| {
            let lines = answer.split("\r\n").filter(|line| !line.starts_with("Date: "));
            lines.collect::<Vec<_>>().join("\r\n")
        };
        let mut came_back = 0;
        for (request, code) in all {
            let new = site.exchange(request.as_bytes());
            assert_eq!(status(&new), code, "{request:?}: {new}");
            let mut stream = site.connect();
            stream.write_all(b"GET /api/x HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let (head, body) = read_answer(&mut stream);
            assert!(body.starts_with(b"axum: ") && field(&head, "Date").is_some(), "rfc9110_6: {head}");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(without_date(&answer), without_date(&new), "{engine:?}: {request:?}");
            came_back += 1;
        }
        assert_eq!(site.server.stats().returned, came_back);
    }
}

#[test]
fn malformed_requests_are_refused_and_the_connection_closed() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("a", 3);
        for &(request, code) in REQUESTS {
            let answer = site.exchange(request.as_bytes());
            assert_eq!(status(&answer), code, "{request:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
        }
        let long = format!("GET /{}", "a".repeat(40_000));
        assert_eq!(status(&site.exchange(long.as_bytes())), 414);
        std::os::unix::fs::symlink("/etc/passwd", site.folder.path().join("link")).unwrap();
        assert_eq!(status(&site.get("/assets/link", "")), 404);
    }
}
