//! The agent's network, on real sockets: a server that does as the test says, and gives leases of seconds.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netboot_userspace::agent::hardware::Nic;
use netboot_userspace::agent::net::Network;
use netboot_userspace::sys::netif::bind_to_device;

use crate::lab::{Lab, MAC, Side, run};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Seconds: T1 comes after two, T2 after three and a half.
const SHORT: u8 = 4;
/// Two seconds are between T2 and the end.
const MIDDLE: u8 = 16;
/// T1 comes after the test.
const LONG: u8 = 255;
const PATIENCE: Duration = Duration::from_secs(30);

/// An address, a router, and for how long; `None`: the server is away.
type Given = Arc<Mutex<Option<(Ipv4Addr, Ipv4Addr, u8)>>>;

/// A message that the server got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Option 53: 1 DISCOVER, 3 REQUEST.
    kind: u8,
    ciaddr: Ipv4Addr,
    unicast: bool,
    /// Of the lease in the answer, seconds; `None`: no answer.
    lease: Option<u8>,
}

/// Answers on port 67 for as long as the test runs. One socket gets what is sent to the server alone, the other what is broadcast.
fn serve(lab: &Lab, given: &Given) -> Receiver<Seen> {
    let (seen, messages) = channel();
    for listen in [SERVER, Ipv4Addr::BROADCAST] {
        let (socket, given, seen) = (lab.inside(Side::Server, || open(listen)), given.clone(), seen.clone());
        std::thread::spawn(move || answer(&socket, listen != Ipv4Addr::BROADCAST, &given, &seen));
    }
    messages
}

fn open(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 67)).unwrap();
    bind_to_device(&socket, "eth0").unwrap();
    socket.set_broadcast(true).unwrap();
    socket
}

fn answer(socket: &UdpSocket, unicast: bool, given: &Given, seen: &Sender<Seen>) {
    let mut packet = [0; 1500];
    while let Ok(len) = socket.recv(&mut packet) {
        assert!(len >= 300 && packet[240..242] == [53, 1]);
        let ciaddr = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
        let kind = packet[242];
        let now = *given.lock().unwrap();
        if let Some(given) = now {
            let to = if ciaddr.is_unspecified() { Ipv4Addr::BROADCAST } else { ciaddr };
            let answer = reply(&packet, if kind == 1 { 2 } else { 5 }, given);
            socket.send_to(&answer, (to, 68)).unwrap();
        }
        let _ = seen.send(Seen { kind, ciaddr, unicast, lease: now.map(|(_, _, lease)| lease) });
    }
}

fn reply(request: &[u8], kind: u8, (yiaddr, router, lease): (Ipv4Addr, Ipv4Addr, u8)) -> Vec<u8> {
    let mut reply = request[..240].to_vec();
    reply[0] = 2;
    reply[16..20].copy_from_slice(&yiaddr.octets());
    reply.extend([53, 1, kind, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 0, lease]);
    for (code, address) in [(54, SERVER), (3, router)] {
        reply.extend([code, 4]);
        reply.extend(address.octets());
    }
    reply.push(255);
    reply
}

/// The first message of this kind; those before it are forgotten.
fn await_message(messages: &Receiver<Seen>, wanted: impl Fn(Seen) -> bool) -> Seen {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let seen = messages.recv_timeout(left).expect("the agent sends what is due");
        if wanted(seen) {
            return seen;
        }
    }
}

fn show(lab: &Lab, what: &str) -> String {
    run(lab.command(Side::Clients, "ip").args(["-4", what, "show", "dev", "eth0"]))
}

fn await_shown(lab: &Lab, what: &str, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !show(lab, what).contains(text) {
        assert!(Instant::now() < deadline, "{text} is not in {}", show(lab, what));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a byte there and back.
fn echo((near, far): &mut (TcpStream, TcpStream)) {
    near.write_all(b"x").unwrap();
    far.read_exact(&mut [0]).unwrap();
    far.write_all(b"y").unwrap();
    near.read_exact(&mut [0]).unwrap();
}

#[test]
fn the_agent_keeps_its_lease_and_gets_another_when_it_is_lost() {
    let lab = Lab::new();
    let address = |last| Ipv4Addr::new(10, 77, 0, last);
    let given: Given = Arc::new(Mutex::new(Some((address(50), SERVER, SHORT))));
    let messages = serve(&lab, &given);
    let listener = lab.inside(Side::Server, || TcpListener::bind((SERVER, 8080)).unwrap());
    let notes = Arc::new(Mutex::new(Vec::new()));
    let heard = notes.clone();
    let mut connection = lab.inside(Side::Clients, move || {
        let nic = Nic { name: "eth0".to_owned(), mac: MAC.parse().unwrap(), carrier: true };
        let network = Network::configure(&nic, PATIENCE, |_| ()).unwrap();
        assert_eq!(network.lease().unwrap().address, address(50));
        network.keep(move |note| heard.lock().unwrap().push(note.to_owned()));
        TcpStream::connect((SERVER, 8080)).map(|near| (near, listener.accept().unwrap().0)).unwrap()
    });
    assert!(show(&lab, "address").contains("10.77.0.50/24"));

    // Renewed in time, of its server alone; what goes on over the address is not disturbed.
    for _ in 0..2 {
        let renewal = await_message(&messages, |seen| seen.kind == 3 && seen.ciaddr == address(50));
        assert!(renewal.unicast);
        echo(&mut connection);
    }
    assert_eq!(*notes.lock().unwrap(), [""; 0]);

    *given.lock().unwrap() = Some((address(50), SERVER, MIDDLE));
    await_message(&messages, |seen| seen.lease == Some(MIDDLE));

    // The server is away: anybody is asked, and at the end the address is gone.
    *given.lock().unwrap() = None;
    await_message(&messages, |seen| seen.kind == 3 && !seen.unicast && seen.ciaddr == address(50));
    assert!(show(&lab, "address").contains("10.77.0.50/24"), "it is ours until the lease is over");
    await_message(&messages, |seen| seen.kind == 1);
    assert_eq!(show(&lab, "address"), "");

    // Back, with another address, then with another router.
    *given.lock().unwrap() = Some((address(51), SERVER, SHORT));
    await_shown(&lab, "address", "10.77.0.51/24");
    await_shown(&lab, "route", "default via 10.77.0.1");
    *given.lock().unwrap() = Some((address(51), address(2), LONG));
    await_shown(&lab, "route", "default via 10.77.0.2");
    let deadline = Instant::now() + PATIENCE;
    while show(&lab, "route").contains("default via 10.77.0.1") {
        assert!(Instant::now() < deadline, "the old router stays");
    }

    // An interface that started over has lost all, long before the lease is over.
    let ip = |words: &str| run(lab.command(Side::Clients, "ip").args(words.split(' ')));
    ip("address flush dev eth0");
    ip("link set eth0 down");
    await_shown(&lab, "address", "10.77.0.51/24");
    await_shown(&lab, "route", "default via 10.77.0.2");
    let (gone, got) = ("eth0: the address is gone, asking for another", "eth0: another lease: 10.77.0.51");
    let deadline = Instant::now() + PATIENCE;
    // Whoever looks between the two commands finds it gone twice.
    let told = |notes: &[String]| {
        notes.len() >= 4 && notes[..2] == [gone, got] && notes.ends_with(&[gone.into(), got.into()])
    };
    while !told(&notes.lock().unwrap()) {
        assert!(Instant::now() < deadline, "{notes:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
