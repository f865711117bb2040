//! What both engines do alike.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;

const SETTINGS: Settings = Settings { entries: 8, buffers: 2, buffer_size: 64 };

/// What arrives of a payload that is larger than the socket's buffer.
fn arrived(choice: Choice, payload: Payload) -> Vec<u8> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let len = payload.len();
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; len];
        theirs.read_exact(&mut bytes).map(|()| bytes)
    });
    let mut reactor = Reactor::new(choice, SETTINGS).unwrap();
    let socket: Socket = Arc::new(ours.into());
    let op = reactor.send(&socket, payload, false, 7);
    loop {
        reactor.wait(Some(Duration::from_secs(10))).unwrap();
        while let Some(event) = reactor.next_event() {
            if let Kind::Sent(outcome) = event.kind {
                assert_eq!((event.op, event.token, outcome.unwrap(), event.more), (op, 7, len, false));
                assert_eq!(Arc::strong_count(&socket), 1, "it is let go");
                return reader.join().unwrap().unwrap();
            }
        }
    }
}

#[test]
fn a_head_and_what_others_read_arrive_as_one() {
    let body: Arc<[u8]> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    for choice in [Choice::Uring, Choice::Epoll] {
        for range in [0..0, 0..1, 5..100, 1..2_999_999, 0..body.len()] {
            for head in [0, 1, 300] {
                let head = vec![b'h'; head];
                let payload = Payload::Headed(head.clone(), body.clone(), range.clone());
                if payload.len() > 0 {
                    let want = [&head, &body[range.clone()]].concat();
                    assert!(arrived(choice, payload) == want, "{choice:?}, {}, {range:?}", head.len());
                }
            }
        }
        assert_eq!(Arc::strong_count(&body), 1, "nobody holds it");
    }
}

#[test]
fn what_is_left_of_a_payload_begins_where_it_was_sent_to() {
    let body: Arc<[u8]> = Arc::from(&b"0123456789"[..]);
    let payload = Payload::Headed(b"head".to_vec(), body, 2..6);
    assert_eq!(payload.len(), 8);
    for (sent, rest) in
        [(0, ["head", "2345"]), (3, ["d", "2345"]), (4, ["", "2345"]), (7, ["", "5"]), (8, ["", ""])]
    {
        assert_eq!(payload.rest(sent), rest.map(str::as_bytes), "{sent}");
    }
}

/// Who has not heard yet that an operation is over may cancel it by its number: that must be nobody else's.
#[test]
fn a_number_is_not_used_again_before_its_last_event_is_taken() {
    for choice in [Choice::Uring, Choice::Epoll] {
        let mut reactor = Reactor::new(choice, SETTINGS).unwrap();
        let ((ours, mut theirs), (other, _its_peer)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        ours.set_nonblocking(true).unwrap();
        let (socket, other): (Socket, Socket) = (Arc::new(ours.into()), Arc::new(other.into()));
        let op = reactor.receive(&socket, 1);
        std::io::Write::write_all(&mut theirs, b"bytes").unwrap();
        drop(theirs);
        let mut is_over = false;
        while !is_over {
            reactor.wait(Some(Duration::from_secs(10))).unwrap();
            // Begun while the last event is queued, perhaps behind others.
            let new = reactor.writable(&other, 2);
            while let Some(event) = reactor.next_event() {
                if event.token == 1 {
                    assert_ne!(new, op, "{choice:?}");
                    is_over |= !event.more;
                }
                if let Kind::Received(Ok(lease)) = event.kind {
                    reactor.give_back(lease);
                }
            }
        }
    }
}

#[test]
fn of_a_stream_less_than_two_buffers_come_between_two_waits_however_much_was_sent() {
    for choice in [Choice::Uring, Choice::Epoll] {
        let mut reactor = Reactor::new(choice, Settings { buffers: 64, ..SETTINGS }).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket: Socket = Arc::new(ours.into());
        let sent: Vec<u8> = (0..6400_u32).map(|at| (at % 251) as u8).collect();
        std::io::Write::write_all(&mut theirs, &sent).unwrap();
        let mut received = Vec::new();
        reactor.receive(&socket, 1);
        while received.len() < sent.len() {
            reactor.wait(Some(Duration::from_secs(10))).unwrap();
            let before = received.len();
            while let Some(event) = reactor.next_event() {
                let Kind::Received(Ok(lease)) = event.kind else { panic!("{event:?}") };
                received.extend_from_slice(reactor.bytes(&lease));
                reactor.give_back(lease);
                if !event.more {
                    reactor.receive(&socket, 1);
                }
            }
            assert!(received.len() - before < 2 * SETTINGS.buffer_size, "{choice:?}: {}", received.len());
        }
        assert!(received == sent, "{choice:?}");
    }
}
