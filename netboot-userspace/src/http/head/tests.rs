use super::*;

fn parse_all(text: &str) -> Parsed<'_> {
    parse(text.as_bytes(), 0)
}

fn head(text: &str) -> Head<'_> {
    match parse_all(text) {
        Parsed::Head(head) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(text: &str) -> u16 {
    match parse_all(text) {
        Parsed::Refused(status) => status.code(),
        other => panic!("{text:?}: {other:?}"),
    }
}

fn with(field: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n")
}

#[test]
fn rfc9112_1_host_is_sent_once_and_well() {
    for fields in
        ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host:\r\n", "Host: a/b\r\n", "Host: a@b\r\n"]
    {
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), 400, "{fields:?}");
    }
    assert!(head("GET / HTTP/1.0\r\n\r\n").old);
    assert_eq!(head("GET / HTTP/1.1\r\nhOsT: [fe80::1%25eth0]:80\r\n\r\n").path, Some("/"));
}

#[test]
fn rfc9112_2_absolute_form() {
    assert_eq!(head("GET http://boot:8080/a?b HTTP/1.1\r\nHost: other\r\n\r\n").path, Some("/a"));
    assert_eq!(head("GET HTTP://boot HTTP/1.1\r\nHost: other\r\n\r\n").path, Some("/"));
    assert_eq!(refused("GET http:///a HTTP/1.1\r\nHost: other\r\n\r\n"), 400);
    assert_eq!(head("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").path, None);
}

#[test]
fn the_boot_of_a_query_is_16_hex_digits() {
    let boot = |target: &str| head(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).boot;
    assert_eq!(boot("/k?boot=000000010000000a"), Some(0x1_0000_000a));
    assert_eq!(boot("/k?a=b&boot=000000010000000A"), Some(0x1_0000_000a));
    assert_eq!(boot("http://x/k?boot=000000010000000a"), Some(0x1_0000_000a));
    for other in
        ["/k", "/k?", "/k?boot=", "/k?boot=1", "/k?boot=+00000010000000a", "/k?xboot=000000010000000a"]
    {
        assert_eq!(boot(other), None, "{other}");
    }
}

#[test]
fn rfc9112_3_one_leading_empty_line() {
    let text = "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(head(text).len, text.len());
    assert_eq!(refused("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
}

#[test]
fn rfc9112_4_space_before_colon() {
    assert_eq!(refused(&with("Range : bytes=0-1")), 400);
}

#[test]
fn rfc9112_5_obs_fold_and_leading_space() {
    assert_eq!(refused(&with("A: b\r\n c")), 400);
    assert_eq!(refused(&with("A: b\r\n\tc")), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\n Host: x\r\n\r\n"), 400);
}

#[test]
fn rfc9112_6_7_transfer_encoding() {
    for (field, status) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Transfer-Encoding: chunked, identity", 400),
        ("Transfer-Encoding: chunked, chunked", 400),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
    ] {
        assert_eq!(refused(&with(field)), status, "{field}");
    }
    assert_eq!(head(&with("Transfer-Encoding: Chunked")).body, Body::Chunked);
    assert_eq!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

#[test]
fn rfc9112_8_content_length() {
    for value in ["5,5", "5,6", "+5", "0x5", "5_0", "-1", "18446744073709551616", ""] {
        assert_eq!(refused(&with(&format!("Content-Length: {value}"))), 400, "{value:?}");
    }
    assert_eq!(refused(&with("Content-Length: 5\r\nContent-Length: 6")), 400);
    assert_eq!(
        head(&with("Content-Length: 5 ")).body,
        Body::Length(5),
        "white space around a value is no part of it"
    );
    assert_eq!(head(&with("Content-Length: 0")).body, Body::None);
}

#[test]
fn rfc9112_10_persistence() {
    assert!(head(&with("A: b")).keep_alive);
    assert!(!head(&with("Connection: Close")).keep_alive);
    assert!(!head(&with("Connection: x, close")).keep_alive);
    assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
}

#[test]
fn rfc9112_11_pipelined_heads_are_taken_one_by_one() {
    let one = with("A: b");
    assert_eq!(head(&format!("{one}{one}")).len, one.len());
}

#[test]
fn rfc9112_12_line_ends() {
    for text in [
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\rHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: x\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
        "\n",
    ] {
        assert_eq!(refused(text), 400, "{text:?}");
    }
}

#[test]
fn rfc9112_13_long_lines_and_heads() {
    let long = "a".repeat(MAX_HEAD + 1);
    assert_eq!(refused(&format!("GET /{long}")), 414);
    assert_eq!(refused(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(MAX_LINE))), 414);
    assert_eq!(refused(&with(&format!("A: {long}"))), 431);
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nA: {long}")), 431);
    assert_eq!(refused(&with(&"A: b\r\n".repeat(MAX_FIELDS))[..]), 431);
}

#[test]
fn versions_and_methods() {
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\n"), 505);
    assert_eq!(refused("GET /\r\n\r\n"), 400);
    assert_eq!(head("get / HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::Unknown);
    for text in ["TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"] {
        assert_eq!(head(text).method, Method::Forbidden, "{text:?}");
    }
    for version in ["HTTP/1.32", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9"] {
        assert_eq!(refused(&format!("GET / {version}\r\nHost: x\r\n\r\n")), 505, "{version}");
    }
    for target in ["/a#b", "http://x/a#", "a", "*", "a:1", "?a", "ftp://x/a"] {
        assert_eq!(refused(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")), 400, "{target}");
    }
    assert_eq!(head(&with("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings")).body, Body::None);
}

#[test]
fn rfc9110_7_expectations() {
    assert_eq!(head(&with("Expect: 100-Continue")).body, Body::None);
    assert_eq!(refused(&with("Expect: tea")), 417);
    assert!(head("GET / HTTP/1.0\r\nExpect: tea\r\n\r\n").old, "HTTP/1.0 knows none");
}

#[test]
fn what_may_come_once_is_not_read_twice() {
    for field in ["Range: bytes=0-1", "If-Range: \"a\"", "If-Modified-Since: x", "If-Unmodified-Since: x"] {
        assert_eq!(refused(&with(&format!("{field}\r\n{field}"))), 400, "{field}");
    }
    let text = with("If-None-Match: \"a\"\r\nIf-None-Match: \"b\", \"c\"");
    let lines: Vec<_> = head(&text).conditions.if_none_match.some().unwrap().collect();
    assert_eq!(lines, ["\"a\"", "\"b\", \"c\""]);
    assert_eq!(refused(&with(&["If-Match: *"; 5].join("\r\n"))), 431);
}

#[test]
fn conditions_are_found() {
    let text = with("RANGE: bytes=0-1\r\nIf-None-Match: \"a\"");
    let conditions = head(&text).conditions;
    assert_eq!((conditions.range, conditions.if_none_match), (Some("bytes=0-1"), Lines::one("\"a\"")));
}

#[test]
fn rfc3230_4_want_digest_lists_algorithms_with_their_weights() {
    for (value, wanted) in [
        ("sha-256", true),
        ("SHA-256", true),
        ("MD5;q=0.3, SHA-256;q=0.001", true),
        ("sha;q=1,sha-256 ; q=1", true),
        ("SHA-256;q=0", false),
        ("SHA-256;q=0.000", false),
        ("SHA-256;q=1.5", false),
        ("SHA-256;q=", false),
        ("SHA-256;q=-1", false),
        ("SHA-256;q=inf", false),
        ("SHA-512, MD5", false),
        ("SHA-2567", false),
        ("", false),
    ] {
        let text = with(&format!("Want-Digest: {value}"));
        assert_eq!(head(&text).wants_digest, Wants { repr_digest: false, digest: wanted }, "{value}");
    }
    let both = with("Want-Digest: SHA-256\r\nwant-repr-digest: sha-256=1");
    assert_eq!(head(&both).wants_digest, Wants { repr_digest: true, digest: true });
}

#[test]
fn a_head_that_comes_byte_by_byte_is_the_same_head() {
    let text = with("Range: bytes=1-");
    for end in 0..text.len() {
        assert_eq!(parse(&text.as_bytes()[..end], end.saturating_sub(1)), Parsed::Incomplete, "{end}");
    }
    assert_eq!(parse(text.as_bytes(), text.len() - 1), parse_all(&text));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, scanned in 0usize..300) {
        let _ = parse(&bytes, scanned.min(bytes.len()));
    }

    #[test]
    fn near_requests_are_read_without_panic(
        text in "(GET|HEAD|X) (/|http://|\\*)[ -~]{0,20} HTTP/1\\.[019]\r?\n([A-Za-z-]{1,9} ?: ?[ -~\t]{0,9}\r?\n){0,4}\r?\n"
    ) {
        let _ = parse_all(&text);
    }
}
