use super::*;
use crate::uring::{Choice, Reactor};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

const WAIT: Option<Duration> = Some(Duration::from_secs(5));

fn ring(buffers: u16) -> Ring {
    Ring::new(Settings { entries: 8, buffers, buffer_size: 64 }).unwrap()
}

fn event(ring: &mut Ring) -> Event {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(event) = ring.next_event() {
            return event;
        }
        assert!(Instant::now() < end, "no event came");
        ring.wait(WAIT).unwrap();
    }
}

/// Until the kernel has put a completion into the queue, which stays there.
fn await_completion(ring: &mut Ring) {
    let end = Instant::now() + Duration::from_secs(5);
    while ring.ring.completion().is_empty() {
        assert!(Instant::now() < end, "no completion came");
        ring.wait(Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn a_receive_that_is_cancelled_without_a_buffer_left_is_cancelled_and_nothing_else() {
    let mut ring = ring(1);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let socket: Socket = Arc::new(theirs.into());
    ring.receive(&socket, 7);
    ours.write_all(b"a").unwrap();
    let Event { op, more, kind: Kind::Received(Ok(lease)), .. } = event(&mut ring) else {
        panic!("nothing was received")
    };
    let op = if more { op } else { ring.receive(&socket, 7) };
    // The one buffer is out: this byte makes the kernel end the receive.
    ours.write_all(b"b").unwrap();
    await_completion(&mut ring);
    ring.cancel(op);
    let last = event(&mut ring);
    assert_eq!((last.token, last.more), (7, false));
    let Kind::Received(Err(error)) = last.kind else { panic!("{last:?}") };
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    ring.give_back(lease);
}

#[test]
fn a_stream_is_received_by_one_operation_where_the_kernel_has_a_bound_for_it_and_else_buffer_by_buffer() {
    let mut ring = ring(4);
    for receiving in [Receiving::Once, ring.receiving] {
        ring.receiving = receiving;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let socket: Socket = Arc::new(theirs.into());
        // The bound of 64 bytes is reached by the fourth.
        let (mut begun, mut received) = (1, 0);
        ring.receive(&socket, 7);
        for sent in [&[1; 20][..], &[2; 20], &[3; 20], &[4; 20], &[5; 20]] {
            ours.write_all(sent).unwrap();
            let Event { more, kind: Kind::Received(Ok(lease)), .. } = event(&mut ring) else {
                panic!("nothing was received")
            };
            assert_eq!(ring.buffers().bytes(&lease), sent);
            received += lease.len();
            ring.give_back(lease);
            if !more && received < 100 {
                ring.receive(&socket, 7);
                begun += 1;
            }
        }
        assert_eq!(begun, if receiving == Receiving::Once { 5 } else { 2 }, "{receiving:?}");
    }
}

#[test]
fn connections_that_nobody_took_are_closed_with_the_ring() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut ring = ring(1);
    ring.accept(&Arc::new(listener.into()), 1);
    ring.wait(Some(Duration::ZERO)).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    await_completion(&mut ring);
    drop(ring);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "its end was closed");
}

#[test]
fn what_never_reached_the_kernel_does_not_delay_the_end() {
    let mut ring = ring(1);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let socket: Socket = Arc::new(ours.into());
    let index = ring.slots.insert(Slot { token: 1, cancelled: false, op: Op::Receive(socket.clone()) });
    ring.backlog.push_back(opcode::Nop::new().build().user_data(u64::from(index)));
    let start = Instant::now();
    drop(ring);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&socket), 1);
}

#[test]
fn a_ring_that_is_given_up_leaves_alone_what_the_kernel_may_still_write_to() {
    let mut ring = ring(512);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let socket: Socket = Arc::new(ours.into());
    ring.receive(&socket, 1);
    ring.wait(Some(Duration::ZERO)).unwrap();
    ring.breaker().use_up();
    ring.wait(Some(Duration::ZERO)).unwrap_err();
    let published = ring.published.entries.as_ptr() as usize;
    drop(ring);
    // An allocator gives away again what was freed.
    let others: Vec<Vec<u8>> = (0..256).map(|_| Vec::with_capacity(1024)).collect();
    let inside = |other: &Vec<u8>| (published..published + 512 * 16).contains(&(other.as_ptr() as usize));
    assert!(!others.iter().any(inside));
    assert_eq!(Arc::strong_count(&socket), 1, "its peer hears of the end");
}

#[test]
fn a_want_of_memory_is_waited_out_and_one_without_end_is_a_failure() {
    let mut health = Health::default();
    for _ in 0..10 {
        assert!((1..Health::PATIENCE).all(|_| health.may_recover()));
        health.working().unwrap();
    }
    assert!(!(0..Health::PATIENCE).all(|_| health.may_recover()));

    let mut health = Health::default();
    for result in [-libc::ENOMEM, 5, -libc::ECONNRESET, -libc::ENOBUFS].repeat(100) {
        health.completed(result);
        health.working().unwrap();
    }
    (0..Health::MOST_FAILURES).for_each(|_| health.completed(-libc::ENOMEM));
    assert_eq!(health.working().unwrap_err().raw_os_error(), Some(libc::ENOMEM));
}

#[test]
fn many_datagrams_at_once_take_the_memory_of_few_and_what_comes_meanwhile_is_not_lost() {
    let mut ring = ring(1);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    ring.receive(&Arc::new(theirs.into()), 7);
    let sender = Arc::new(OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()));
    let outgoing = Outgoing::to(crate::sys::net::local_address(&sender).unwrap());
    ours.write_all(b"a").unwrap();
    let fill = |out: &mut Vec<u8>| {
        out.resize(1000, 0);
        Ok(())
    };
    (1000..3000).for_each(|token| ring.send_to(&sender, &outgoing, Some(token), fill).unwrap());
    assert!(ring.messages.len() <= MOST_SENDING && ring.sending <= MOST_SENDING);
    assert!(ring.slots.end() as usize <= MOST_SENDING + 2, "each has been used again: {}", ring.slots.end());
    let mut tokens: Vec<u64> = (0..2001).map(|_| event(&mut ring).token).collect();
    tokens.sort_unstable();
    assert!(tokens.iter().copied().eq([7].into_iter().chain(1000..3000)));
}

/// The process that the next test starts has it.
const INSIDE: &str = "NETBOOT_TEST_FULL";
const FULL: &str = "uring::ring::tests::what_a_full_socket_has_no_room_for_is_lost_and_waits_nowhere";

/// In a network namespace of its own, to a neighbour that never answers: what is sent to it waits for its address, in the socket's buffer.
#[test]
fn what_a_full_socket_has_no_room_for_is_lost_and_waits_nowhere() {
    if std::env::var_os(INSIDE).is_some() {
        return send_to_nobody();
    }
    let link = "ip link add near type veth peer name far && ip link set far up && ip link set near up && \
                ip address add 10.9.0.1/24 dev near";
    let script = format!("{link} && exec \"$0\" --exact {FULL} --nocapture");
    let mut inside = std::process::Command::new("unshare");
    inside.args(["-rn", "sh", "-c", &script]).arg(std::env::current_exe().unwrap());
    let output = inside.env(INSIDE, "1").output().unwrap();
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && told[0].contains("1 passed"), "{}", told.concat());
}

fn send_to_nobody() {
    let mut ring = ring(1);
    let sender = Arc::new(OwnedFd::from(std::net::UdpSocket::bind("10.9.0.1:0").unwrap()));
    rustix::net::sockopt::set_socket_send_buffer_size(&sender, 1).unwrap();
    let outgoing = Outgoing::to("10.9.0.2:9".parse().unwrap());
    let fill = |out: &mut Vec<u8>| {
        out.resize(1000, 0);
        Ok(())
    };
    for token in 0..2000 {
        ring.send_to(&sender, &outgoing, Some(token), fill).unwrap();
        assert!(ring.sending <= MOST_SENDING && ring.messages.len() <= MOST_SENDING, "{}", ring.sending);
    }
    ring.wait(Some(Duration::ZERO)).unwrap();
    let told: Vec<Event> = std::iter::from_fn(|| ring.next_event()).collect();
    let is_lost = |event: &&Event| matches!(&event.kind, Kind::Sent(Err(error)) if error.kind() == io::ErrorKind::WouldBlock);
    assert_eq!((told.len(), ring.sending), (2000, 0), "whoever sent them is told");
    assert!(told.iter().filter(is_lost).count() > 1900);
    for choice in [Choice::Uring, Choice::Epoll] {
        let settings = Settings { entries: 8, buffers: 2, buffer_size: 64 };
        let mut reactor = Reactor::new(choice, settings).unwrap();
        for _ in 0..100 {
            reactor.send_to(&sender, &outgoing, None, fill).unwrap();
        }
        reactor.wait(Some(Duration::ZERO)).unwrap();
        let told: Vec<Event> = std::iter::from_fn(|| reactor.next_event()).collect();
        assert!(told.len() > 90, "that something was lost is told also without a token: {}", told.len());
        assert!(told.iter().all(|event| event.token == 0 && is_lost(&event)));
    }
}

#[test]
fn a_wait_is_for_something_else_than_that_datagrams_are_sent() {
    let mut ring = ring(1);
    // Whatever came of making it.
    ring.wait(Some(Duration::ZERO)).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    ring.receive(&Arc::new(theirs.into()), 7);
    let sender = Arc::new(OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()));
    let outgoing = Outgoing::to(crate::sys::net::local_address(&sender).unwrap());
    for _ in 0..3 {
        let fill = |out: &mut Vec<u8>| {
            out.push(1);
            Ok(())
        };
        ring.send_to(&sender, &outgoing, None, fill).unwrap();
    }
    let answer = std::thread::spawn(move || {
        // The datagram is there: whoever waits has sent it.
        std::net::UdpSocket::from(sender.try_clone().unwrap()).recv(&mut [0; 8]).unwrap();
        ours.write_all(b"a").unwrap();
        ours
    });
    // One wait is enough for both.
    ring.wait(WAIT).unwrap();
    let event = ring.next_event().unwrap();
    assert!(event.token == 7 && matches!(event.kind, Kind::Received(Ok(_))), "{event:?}");
    assert_eq!(ring.sending, 0);
    let Kind::Received(Ok(lease)) = event.kind else { panic!() };
    ring.give_back(lease);
    drop(answer.join().unwrap());
}

#[test]
fn what_comes_while_events_are_taken_waits_for_the_next_turn() {
    let mut ring = ring(4);
    let mut ends: Vec<UnixStream> = (1..=2)
        .map(|token| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            ring.receive(&Arc::new(theirs.into()), token);
            ours
        })
        .collect();
    ends[0].write_all(b"a").unwrap();
    await_completion(&mut ring);
    // As when the queue is full while events are taken: what is there by now is brought in.
    ends[1].write_all(b"b").unwrap();
    while ring.ring.completion().len() < 2 {
        ring.ring.submit_and_wait(2).unwrap();
    }
    let mut tokens = Vec::new();
    for _ in 0..2 {
        while let Some(event) = ring.next_event() {
            tokens.push(event.token);
        }
        tokens.push(0);
        ring.wait(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(tokens, [1, 0, 2, 0]);
}
