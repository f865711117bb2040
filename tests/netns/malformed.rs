//! Frames as no sound client sends them, over the wire: nothing stops, and each is counted by a named reason.

use std::time::{Duration, Instant};

use netboot_common::wire::checksum;
use netboot_userspace::sys::interface::interfaces;
use netboot_userspace::sys::packet::{ALL, Only, PacketSocket, Received};
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::AsFd as _;

use crate::clients::SITE;
use crate::lab::{MAC, Side};
use crate::site::Site;

/// A packet socket on the clients' end of the veth: only of use within [`crate::lab::Lab::inside`].
pub(crate) struct Wire {
    socket: PacketSocket,
}

impl Wire {
    pub(crate) fn open() -> Self {
        let eth0 = interfaces().unwrap().remove("eth0").expect("the clients' end of the veth");
        Self { socket: PacketSocket::open(eth0.index, ALL, Only::Udp([68, 4011])).unwrap() }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.socket.send(frame).unwrap();
    }

    /// Sends `request`, and waits for the reply with its `xid`.
    pub(crate) fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        self.ask_for(request, Duration::from_secs(1))
    }

    /// The same, with so much patience.
    pub(crate) fn ask_for(&self, request: &[u8], patience: Duration) -> Option<Vec<u8>> {
        self.send(request);
        let xid = |frame: &[u8]| message_of(frame).get(4..8).map(<[u8]>::to_vec);
        let deadline = Instant::now() + patience;
        loop {
            let reply = self.next(deadline.checked_duration_since(Instant::now())?)?;
            if xid(&reply) == xid(request) {
                return Some(reply);
            }
        }
    }

    /// The next reply, if there is one in time.
    pub(crate) fn next(&self, timeout: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        let mut frame = [0; 2048];
        loop {
            match self.socket.receive(&mut frame).unwrap() {
                Received::Frame(length) => return Some(frame[..length].to_vec()),
                Received::Foreign => continue,
                Received::Nothing => {}
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let timeout = rustix::time::Timespec::try_from(left).unwrap();
            poll(&mut [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)], Some(&timeout))
                .unwrap();
        }
    }

    /// DISCOVER, OFFER, REQUEST, ACK; the address.
    pub(crate) fn lease(&self, mac: [u8; 6]) -> Option<[u8; 4]> {
        let offer = self.ask(&discover(mac, 1))?;
        let ip: [u8; 4] = *offer[58..].first_chunk()?;
        let ack =
            self.ask(&message(mac, 2, &[&[53, 1, 3, 50, 4], &ip[..], &[54, 4, 10, 77, 0, 1]].concat()))?;
        (ack[282..285] == [53, 1, 5] && ack[58..62] == ip).then_some(ip)
    }
}

/// The BOOTP message of a frame, whose tags are jumped over.
pub(crate) fn message_of(frame: &[u8]) -> &[u8] {
    let tags = frame[12..].chunks(4).take_while(|tag| matches!(tag[..2], [0x81, 0] | [0x88, 0xa8])).count();
    &frame[42 + 4 * tags..]
}

/// A sound DISCOVER.
pub(crate) fn discover(mac: [u8; 6], xid: u32) -> Vec<u8> {
    message(mac, xid, &[53, 1, 1])
}

/// A broadcast message with these options, END behind them.
pub(crate) fn message(mac: [u8; 6], xid: u32, options: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; 240];
    payload[..4].copy_from_slice(&[1, 1, 6, 0]);
    payload[4..8].copy_from_slice(&xid.to_be_bytes());
    payload[10] = 0x80;
    payload[28..34].copy_from_slice(&mac);
    payload[236..].copy_from_slice(&[99, 130, 83, 99]);
    payload.extend(options);
    payload.push(255);
    payload.resize(payload.len().max(300), 0);
    frame(mac, &payload)
}

/// The same to port 4011 of our server, by a client that has `ip`.
pub(crate) fn to_4011(mac: [u8; 6], ip: [u8; 4], xid: u32, options: &[u8]) -> Vec<u8> {
    let mut frame = message(mac, xid, options);
    frame[26..30].copy_from_slice(&ip);
    frame[30..34].copy_from_slice(&[10, 77, 0, 1]);
    put_checksum(&mut frame);
    frame[36..38].copy_from_slice(&4011_u16.to_be_bytes());
    frame[54..58].copy_from_slice(&ip);
    frame
}

/// Of the IPv4 header of an untagged frame.
pub(crate) fn put_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum::finish(checksum::add(0, &frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A broadcast UDP datagram from port 68 to port 67. The UDP checksum is left out, as IPv4 allows.
fn frame(mac: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let mut ip =
        [&[0x45, 0][..], &(28 + payload.len() as u16).to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
    ip.extend([0; 4]);
    ip.extend([255; 4]);
    let length = (8 + payload.len() as u16).to_be_bytes();
    let mut frame = [&[0xff; 6][..], &mac, &[8, 0], &ip, &[0, 68, 0, 67], &length, &[0, 0], payload].concat();
    put_checksum(&mut frame);
    frame
}

/// Every outcome that a lane counted, summed.
fn counted(site: &Site, lane: &str) -> u64 {
    let status = site.json(&["status", "--json"]);
    let counters = status["counters"][lane].as_object().cloned().unwrap_or_default();
    counters.values().filter_map(serde_json::Value::as_u64).sum()
}

/// Sends all of them; XDP must have counted each, and the server must still be there.
fn survives(frames: &[Vec<u8>]) {
    let site = Site::start(SITE);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    let before = counted(&site, "xdp");
    site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        frames.iter().for_each(|frame| wire.send(frame));
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    while counted(&site, "xdp") < before + frames.len() as u64 {
        assert!(
            Instant::now() < deadline,
            "{} of {} were counted",
            counted(&site, "xdp") - before,
            frames.len()
        );
    }
    let offer =
        site.lab.inside(Side::Clients, || Wire::open().ask(&discover([0x52, 0x54, 0, 0x77, 0, 1], 9)));
    assert!(offer.is_some(), "the server answers as before: {}", site.log());
    assert!(!site.log().contains("panicked"), "{}", site.log());
}

pub(crate) const HOST: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];
const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 2];

#[test]
fn frames_of_every_length_from_the_ethernet_header_to_600() {
    let frames: Vec<_> = [HOST, STRANGER]
        .into_iter()
        .flat_map(|mac| {
            let whole = message(mac, 3, &[&[53, 1, 1, 60, 9][..], b"PXEClient", &[0; 300]].concat());
            (14..=600.min(whole.len())).map(move |length| whole[..length].to_vec())
        })
        .collect();
    survives(&frames);
}

#[test]
fn datagrams_of_every_length_whose_headers_agree() {
    let whole = message(STRANGER, 4, &[&[53, 1, 1][..], &[0; 57]].concat());
    let frames: Vec<_> = (0..=300).map(|length| frame(STRANGER, &whole[42..42 + length])).collect();
    survives(&frames);
}

#[test]
fn each_option_cut_short_at_each_byte() {
    let options: Vec<(u8, Vec<u8>)> = vec![
        (12, b"node-1".to_vec()),
        (43, vec![6, 1, 8, 255]),
        (50, vec![10, 77, 0, 51]),
        (52, vec![1]),
        (54, vec![10, 77, 0, 1]),
        (55, vec![1, 3, 6, 12, 15]),
        (57, vec![5, 192]),
        (60, b"PXEClient:Arch:00007:UNDI:003000".to_vec()),
        (61, vec![1, 0x52, 0x54, 0, 0x77, 0, 1]),
        (77, b"iPXE".to_vec()),
        (82, vec![1, 4, 0, 0, 0, 9]),
        (93, vec![0, 7]),
        (94, vec![1, 3, 0]),
        (97, vec![0; 17]),
        (175, vec![177, 2, 1, 2, 19, 1, 1]),
    ];
    let mut frames = Vec::new();
    for (code, value) in options {
        for mac in [HOST, STRANGER] {
            for length in 0..=value.len() {
                // The message ends within the option, and, once more, the option says that it is shorter than it should be.
                let mut payload = message(mac, 5, &[53, 1, 1])[42..42 + 243].to_vec();
                payload.extend([code, value.len() as u8]);
                payload.extend(&value[..length]);
                frames.push(frame(mac, &payload));
                let short = [&[53, 1, 1, code, length as u8][..], &value[..length]].concat();
                frames.push(message(mac, 6, &short));
            }
        }
    }
    survives(&frames);
}
