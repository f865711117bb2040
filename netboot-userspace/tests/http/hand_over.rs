//! Across the border.

use super::site::*;
use std::io::{Read, Write};
use std::net::Shutdown;

#[test]
fn rfc9112_11_pipelined_answers_in_order_and_across_the_hand_over() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("a", 3);
        site.put("b", 100_000);
        let paths = ["/assets/a", "/assets/b", "/assets/none", "/assets/a", "/api/x", "/assets/a"];
        let requests: String = paths.iter().map(|p| format!("GET {p} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        let mut stream = site.connect();
        stream.write_all(requests.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let positions: Vec<_> = [
            "HTTP/1.1 200 OK",
            "100000\r\n",
            "HTTP/1.1 404",
            "slow lane: GET /api/x",
            "slow lane: GET /assets/a",
        ]
        .iter()
        .map(|part| answer.find(part).unwrap_or_else(|| panic!("{part} is missing")))
        .collect();
        assert!(positions.is_sorted(), "{positions:?}");
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 5);
    }
}


#[test]
fn what_is_not_a_static_file_is_handed_over() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("a", 3);
        let long = format!("POST /api/v1/x HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(9000));
        for (request, want) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "slow lane: GET / HTTP/1.1"),
            (&*long, "slow lane: POST /api/v1/x HTTP/1.1"),
            ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "slow lane: OPTIONS * HTTP/1.1"),
        ] {
            let mut stream = site.connect();
            // Byte by byte at first: the hand-over must not lose what came in several reads.
            for byte in &request.as_bytes()[..10] {
                stream.write_all(&[*byte]).unwrap();
            }
            stream.write_all(&request.as_bytes()[10..]).unwrap();
            stream.write_all(b"GET /assets/a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(want), "{answer}");
            assert!(answer.contains("slow lane: GET /assets/a"), "the connection stays there");
        }
        // Their ends close before their places are given back.
        site.wait_for("handed over", |site| {
            site.server.stats().handed_over == 3 && site.server.stats().open == 0
        });
    }
}

