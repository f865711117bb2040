use crate::answer::*;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\n";

fn judge(wanted: &Wanted, text: &str) -> Result<(), Failure> {
    Answer::default().take(wanted, text.as_bytes()).map(drop)
}

#[test]
fn a_response_is_read_however_it_is_cut() {
    let whole = format!("{HEAD}hello");
    for cut in 0..whole.len() {
        let mut answer = Answer::default();
        let mut body = Vec::new();
        for part in [&whole[..cut], &whole[cut..]] {
            body.extend_from_slice(answer.take(&Wanted::whole(5), part.as_bytes()).expect("a response"));
        }
        assert_eq!((body.as_slice(), answer.is_whole(), answer.closes()), (&b"hello"[..], true, false));
    }
}

#[test]
fn bytes_may_be_skipped_and_too_many_are_no_success() {
    let mut answer = Answer::default();
    assert_eq!(answer.left(), None);
    assert_eq!(answer.take(&Wanted::whole(5), format!("{HEAD}he").as_bytes()), Ok(&b"he"[..]));
    assert_eq!((answer.left(), answer.skip(3), answer.is_whole()), (Some(3), Ok(()), true));
    assert_eq!(answer.skip(1), Err(Failure::Surplus));
    assert_eq!(judge(&Wanted::whole(5), &format!("{HEAD}hello!")), Err(Failure::Surplus));
    answer.clear();
    assert_eq!((answer.left(), answer.is_whole()), (None, false));
}

#[test]
fn other_responses_than_wanted_are_failures_that_have_names() {
    let whole = Wanted::whole(5);
    let of = |head: &str| judge(&whole, &format!("HTTP/1.1 {head}\r\n\r\n"));
    assert_eq!(of("404 Not Found\r\nContent-Length: 5"), Err(Failure::Status(404)));
    assert_eq!(of("206 Partial Content\r\nContent-Length: 5"), Err(Failure::Status(206)));
    assert_eq!(of("200 OK\r\nContent-Length: 4"), Err(Failure::Length));
    assert_eq!(of("200 OK\r\nContent-Length: x"), Err(Failure::Length));
    assert_eq!(of("200 OK"), Err(Failure::Length));
    assert_eq!(of("200 OK\r\nContent-Length: 5\r\ncontent-length: 5"), Err(Failure::Length));
    assert_eq!(of("200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"), Err(Failure::Length));
    assert_eq!(judge(&whole, "SSH-2.0-OpenSSH\r\n"), Err(Failure::Head));
    assert_eq!(judge(&whole, &format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000))), Err(Failure::Head));
}

#[test]
fn a_range_is_the_one_that_was_asked_for() {
    let wanted = Wanted::range(10, 5, 100);
    assert_eq!(wanted.ends(), "10-14");
    let of = |range: &str| {
        judge(
            &wanted,
            &format!("HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: {range}\r\n\r\n"),
        )
    };
    assert_eq!(of("bytes 10-14/100"), Ok(()));
    for other in ["bytes 11-15/100", "bytes 10-14/101", "bytes 10-14/*"] {
        assert_eq!(of(other), Err(Failure::Range));
    }
}

#[test]
fn a_server_may_say_that_it_closes() {
    let mut answer = Answer::default();
    let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer.take(&Wanted::whole(0), text.as_bytes()), Ok(&b""[..]));
    assert!(answer.closes() && answer.is_whole());
}
