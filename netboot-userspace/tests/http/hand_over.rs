//! Across the border between the data plane and axum, in both directions, on one connection.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::site::*;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn rfc9112_11_pipelined_answers_in_order_and_across_the_border() {
    for engine in ENGINES {
        let site = site(engine);
        let (a, b) = (site.put("a", 3), site.put("b", 100_000));
        let paths = [
            "/assets/a",
            "/assets/b",
            "/assets/none",
            "/api/x",
            "/assets/a",
            "/api/y",
            "/api/z",
            "/assets/b",
        ];
        let mut stream = site.connect();
        // All at once, and so often that neither side's buffers take it.
        for _ in 0..20 {
            stream.write_all(paths.map(get).concat().as_bytes()).unwrap();
            for path in paths {
                let (head, body) = read_answer(&mut stream);
                match path {
                    "/assets/a" => assert!(body == a, "{head}"),
                    "/assets/b" => assert!(body == b, "{head}"),
                    "/assets/none" => assert_eq!(status(&head), 404),
                    path => assert_eq!(body, format!("axum: GET {path} ").into_bytes()),
                }
            }
        }
        let stats = site.server.stats();
        assert_eq!(
            (stats.accepted, stats.handed_over, stats.returned, stats.open),
            (1, 60, 60, 1),
            "{engine:?}"
        );
    }
}

#[test]
fn what_is_not_a_static_file_is_handed_over_and_comes_back() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("a", 3);
        let long = format!("POST /api/v1/x HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(9000));
        let smuggled = format!(
            "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}",
            get("/api/z").len(),
            get("/api/z")
        );
        for (request, answer) in [
            (get("/"), "axum: GET / ".to_owned()),
            (long, "axum: POST /api/v1/x ".to_owned()),
            (smuggled, format!("axum: POST /api {}", get("/api/z"))),
            ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "axum: OPTIONS * ".to_owned()),
            // What it offers instead nobody takes up (RFC 9113 section 3.1).
            (
                "GET /api/h2c HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned(),
                "axum: GET /api/h2c ".to_owned(),
            ),
        ] {
            let mut stream = site.connect();
            // Byte by byte at first: the hand-over must not lose what came in several reads.
            for byte in &request.as_bytes()[..10] {
                stream.write_all(&[*byte]).unwrap();
            }
            stream.write_all(&request.as_bytes()[10..]).unwrap();
            assert_eq!(String::from_utf8(read_answer(&mut stream).1).unwrap(), answer);
            stream.write_all(get("/assets/a").as_bytes()).unwrap();
            assert_eq!(read_answer(&mut stream).1, want, "the connection has come back");
        }
        site.wait_for("all left", |site| site.server.stats().open == 0);
        assert_eq!((site.server.stats().handed_over, site.server.stats().returned), (5, 5));
    }
}

#[test]
fn a_connection_that_can_t_come_back_is_closed_after_its_answer() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("a", 3);
        for request in [
            "GET /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "GET /api HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ] {
            let answer = site.exchange(request.as_bytes());
            assert!(answer.contains("\r\n\r\naxum: "), "{answer}");
        }
        site.wait_for("all left", |site| site.server.stats().open == 0);
        assert_eq!(site.server.stats().returned, 0);
    }
}

#[test]
fn a_client_that_has_closed_its_half_gets_all_answers() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("a", 3);
        let mut stream = site.connect();
        stream.write_all([get("/assets/a"), get("/api/x"), get("/api/slow")].concat().as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{engine:?}: {answer}");
        site.wait_for("it left", |site| site.server.stats().open == 0);
    }
}

#[test]
fn a_client_that_goes_on_sending_gets_the_end_of_the_last_answer_all_the_same() {
    for engine in ENGINES {
        let site = site(engine);
        let mut stream = site.connect();
        stream.write_all(b"GET /api/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = vec![0; 1000];
        stream.read_exact(&mut answer).unwrap();
        // Nobody reads this as a request.
        stream.write_all(&[b'x'; 5000]).unwrap();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.len() - (LARGE.len() << 20);
        assert!(answer[end..] == *LARGE.repeat(1 << 20).as_bytes(), "{engine:?}: {} bytes", answer.len());
        assert_eq!(site.server.stats().returned, 0);
    }
}

#[test]
fn expect_100_continue_is_honoured_by_who_reads_the_body() {
    for engine in ENGINES {
        let site = site(engine);
        let url = site.url("/api/upload");
        // curl waits for the word before it sends, and fails here if it has to wait longer than it may take in all.
        let answer =
            curl(&["-H", "Expect: 100-continue", "--expect100-timeout", "60", "--data-binary", "body", &url]);
        assert_eq!(String::from_utf8(answer).unwrap(), "axum: POST /api/upload body");
    }
}
