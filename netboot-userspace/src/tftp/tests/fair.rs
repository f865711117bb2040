//! What one client's windows, and packets, cost others, and the server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;

use super::*;
use crate::sys::counted::allocations;
use crate::sys::datagram::{self, Destination, Outgoing};
use crate::sys::net;

/// Clients with windows of one block, beside one with windows of 16.
const SMALL: usize = 100;
const WINDOWS: u64 = 100;
/// What is on its way, at either end.
const AHEAD: u64 = 5;
const WIDE: u16 = 16;

#[derive(Clone, Copy)]
struct Client {
    window: u16,
    transfer: SocketAddr,
    /// The block that it has.
    block: u16,
    windows: u64,
}

fn address(client: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 9, 0, 1).to_bits() + client as u32)
}

/// All clients are one socket, so that what comes is counted in the order in which it was sent. Each acknowledges a window at once.
#[test]
fn between_two_windows_of_one_client_every_other_has_its_own() {
    for engine in [Choice::Uring, Choice::Epoll] {
        let mut config = Config::new((Ipv4Addr::UNSPECIFIED, 0).into());
        (config.workers, config.engine) = (1, engine);
        config.limits.timeout = Duration::from_secs(16);
        let size = 64 * usize::from(WIDE) * (WINDOWS as usize + 1);
        config.files = vec![("file".to_owned(), vec![7; size].into())];
        let server = Server::start(config, Arc::new(|_| {})).unwrap();
        let socket = net::udp_port((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_addr().port()));
        let say = |client: usize, to: SocketAddr, what: &[u8]| {
            let outgoing = Outgoing { from: Some((address(client), 0).into()), ..Outgoing::to(to) };
            datagram::send(&socket, what, &outgoing).unwrap();
        };
        let begun = |window| Client { window, transfer: own, block: 0, windows: 0 };
        let mut clients = vec![begun(1); SMALL + 1];
        clients[0] = begun(WIDE);
        for (at, client) in clients.iter().enumerate() {
            let asked = format!("\0\x01file\0octet\0blksize\x0064\0windowsize\0{}\0", client.window);
            say(at, own, asked.as_bytes());
        }
        // Those who have their OACK wait for the others.
        let mut granted = 0;
        let mut most_ahead = 0;
        while clients.iter().any(|client| client.windows < WINDOWS) {
            let mut buffer = [0; 256];
            let Ok((length, Some(from), to)) = datagram::receive(&socket, &mut buffer) else { continue };
            let Destination::Own(to, _) = to else { panic!("{to:?}") };
            let IpAddr::V4(to) = to.ip() else { panic!("{to}") };
            let at = (to.to_bits() - address(0).to_bits()) as usize;
            match buffer[..length] {
                [0, 6, ..] if clients[at].transfer == own => {
                    clients[at].transfer = from;
                    granted += 1;
                    if granted == clients.len() {
                        clients
                            .iter()
                            .enumerate()
                            .for_each(|(at, client)| say(at, client.transfer, b"\0\x04\0\0"));
                    }
                }
                [0, 3, high, low, ..] if u16::from_be_bytes([high, low]) == clients[at].block + 1 => {
                    let client = &mut clients[at];
                    client.block += 1;
                    if client.block.is_multiple_of(client.window) {
                        client.windows += 1;
                        let [high, low] = client.block.to_be_bytes();
                        say(at, from, &[0, 4, high, low]);
                        let windows = || clients.iter().map(|client| client.windows);
                        most_ahead = most_ahead.max(windows().max().unwrap() - windows().min().unwrap());
                    }
                }
                // Again, where this machine is slow.
                _ => {}
            }
        }
        assert!(most_ahead <= AHEAD, "{most_ahead} windows ahead of another client, {engine:?}");
        server.shutdown();
    }
}

/// How often the worker has asked for memory, at the end of each transfer.
#[test]
fn no_memory_is_asked_for_by_packet() {
    const BLOCKS: usize = 5000;
    for engine in [Choice::Uring, Choice::Epoll] {
        let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
        (config.workers, config.engine) = (1, engine);
        let file = |blocks: usize| Arc::from(vec![7; 512 * blocks - 1]);
        config.files = vec![("small".to_owned(), file(2)), ("large".to_owned(), file(BLOCKS))];
        let (events, ended) = mpsc::channel();
        let observer = move |event: Event| events.send((event.outcome, allocations())).unwrap();
        let server = Server::start(config, Arc::new(observer)).unwrap();
        let client = client();
        let fetch = |name: &str| {
            client.send_to(format!("\0\x01{name}\0octet\0").as_bytes(), server.local_addr()).unwrap();
            for block in 1_u16.. {
                let (data, transfer) = loop {
                    let (data, transfer) = receive(&client);
                    if data[2..4] == block.to_be_bytes() {
                        break (data, transfer);
                    }
                };
                client.send_to(&[&[0, 4][..], &block.to_be_bytes()].concat(), transfer).unwrap();
                if data.len() < 516 {
                    break;
                }
            }
            let (outcome, asked) = ended.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(outcome, Outcome::Done);
            asked
        };
        let begun: Vec<u64> = (0..8).map(|_| fetch("small")).collect();
        let each = begun[7] - begun[6];
        let large = fetch("large") - begun[7];
        assert!(large <= each + 32, "{large} times for {BLOCKS} blocks, {each} for 2, {engine:?}");
        server.shutdown();
    }
}
