#![allow(clippy::unwrap_used)]

use netboot_common::datagram::Datagram;
use netboot_common::tftp::maps::FileRef;
use netboot_common::tftp::reply::{Granted, Terms};
use netboot_common::tftp::session::{Agreed, Send};

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const BEGIN: u64 = 1_000 * SECOND;
const BLOCKS: u16 = 600;

fn key(port: u16) -> SessionKey {
    let datagram = Datagram { source: [10, 0, 0, 9], source_port: port, ..Datagram::NONE };
    SessionKey::new(3, &datagram)
}

/// A transfer that was asked for at [`BEGIN`]; with a window, if it is not one block.
fn begun(window: u16, timeout: u8) -> Session {
    let window_size = if window > 1 { window } else { 0 };
    let granted = Granted { window_size, timeout, ..Granted::default() };
    let (file, mac, own, port) = (FileRef::new(1, 1), [2; 6], [10, 0, 0, 1], 0xf000);
    let mut session = Session::NONE;
    session.begin(Agreed { file, mac, own, port, blocks: BLOCKS, terms: Terms::of(granted) }, BEGIN);
    session
}

/// What is under way: when it arrives, and the number of the block. An OACK has the number 0.
type Link = Vec<(u64, u16)>;

/// A transfer to a client that never repeats what it said, as GRUB does not: it acknowledges what it gets, also what it has.
struct World {
    session: Session,
    again: Again,
    down: Link,
    up: Link,
    /// What a datagram takes, now and from the hundredth block on.
    takes: [u64; 2],
    /// Of a thousand, so many are lost.
    lost: u32,
    random: u32,
    got: u16,
    sent: u64,
}

impl World {
    fn new(window: u16, takes: [u64; 2], lost: u32, seed: u32) -> Self {
        let (session, again) = (begun(window, 0), Again::default());
        let mut world = Self {
            session,
            again,
            down: Link::new(),
            up: Link::new(),
            takes,
            lost,
            random: seed,
            got: 0,
            sent: 0,
        };
        world.send(BEGIN);
        world
    }

    fn is_lost(&mut self) -> bool {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 8) % 1000 < self.lost
    }

    /// What the session says is out, by the program or by us.
    fn send(&mut self, now: u64) {
        let blocks = match self.session.outstanding() {
            Send::Nothing => return,
            Send::Oack => 0..=0,
            Send::Window => self.session.acked() + 1..=self.session.sent(),
        };
        for block in blocks {
            self.sent += 1;
            if !self.is_lost() {
                self.down.push((now + self.takes[usize::from(self.got >= 100)], block));
            }
        }
    }

    fn get(&mut self, block: u16, now: u64) {
        let is_next = block == self.got + 1;
        self.got += u16::from(is_next);
        let is_full = self.got.is_multiple_of(Terms::of(self.session.granted(0)).window.into());
        // RFC 7440 section 4: what is not in order is answered by what is; and each DATA that comes again (RFC 1350).
        if (!is_next || is_full || self.got == BLOCKS) && !self.is_lost() {
            self.up.push((now + self.takes[usize::from(self.got >= 100)], self.got));
        }
    }

    /// Until the session has ended; how many packets were sent, and how long it took.
    fn run(mut self) -> (u64, u64) {
        let first = |link: &Link| link.iter().map(|mail| mail.0).min().unwrap_or(u64::MAX);
        let mut look = BEGIN;
        while !self.session.ended() {
            let now = first(&self.down).min(first(&self.up)).min(look);
            assert!(now < BEGIN + 3600 * SECOND, "block {} of {BLOCKS} never comes", self.got + 1);
            if let Some(i) = self.down.iter().position(|mail| mail.0 == now) {
                let (_, block) = self.down.remove(i);
                self.get(block, now);
            } else if let Some(i) = self.up.iter().position(|mail| mail.0 == now) {
                let (_, block) = self.up.remove(i);
                if self.session.ack(block, now).send == Send::Window {
                    self.send(now);
                }
            } else {
                look = now + 100 * MS;
                let sessions = HashMap::from([(key(1), self.session)]);
                if self.again.due(&sessions, 1, now) == [key(1)] {
                    self.send(now);
                }
            }
        }
        assert_eq!(self.got, BLOCKS);
        (self.sent, look - BEGIN)
    }
}

#[test]
fn a_client_that_never_repeats_gets_every_block_where_each_tenth_packet_is_lost_both_ways() {
    for window in [1, 4, 16] {
        for seed in 0..20 {
            let (sent, took) = World::new(window, [MS; 2], 100, seed).run();
            // Of each window that something of is lost, all is sent again.
            let most = u64::from(BLOCKS) * (3 + u64::from(window) / 4);
            assert!(sent < most, "window {window}, seed {seed}: {sent} packets");
            assert!(took < 400 * SECOND, "window {window}, seed {seed}: {} s", took / SECOND);
        }
    }
}

#[test]
fn rfc1123_1_who_is_only_slow_is_not_sent_everything_twice() {
    for window in [1, 4, 16] {
        for takes in [[40, 40], [400, 400], [1500, 1500], [1, 300], [1, 1200], [1200, 1]] {
            let (sent, _) = World::new(window, takes.map(|ms| ms * MS), 0, 1).run();
            let most = u64::from(BLOCKS) + 1 + 12 * u64::from(window);
            assert!(sent <= most, "window {window}, {takes:?} ms: {sent} packets for {BLOCKS} blocks");
        }
    }
}

/// Milliseconds after [`BEGIN`] at which what the session says is sent again.
fn times(session: Session) -> Vec<u64> {
    let (mut again, sessions) = (Again::default(), HashMap::from([(key(1), session)]));
    let looks = (0..1200).map(|n| BEGIN + n * 100 * MS);
    looks.filter(|now| !again.due(&sessions, 1, *now).is_empty()).map(|now| (now - BEGIN) / MS).collect()
}

#[test]
fn rfc1123_2_waits_grow_and_have_an_end() {
    assert_eq!(times(begun(4, 0)), [1000, 3000, 5000], "who answers nothing has four packets in all");
    assert_eq!(times(begun(4, 2)), [2000, 4000, 6000], "as its client asked (RFC 2349)");
    let mut heard = begun(4, 0);
    heard.ack(0, BEGIN);
    assert_eq!(times(heard), [500, 1500, 3500, 5500, 7500, 9500, 11_500, 13_500]);
    let mut patient = begun(4, 1);
    patient.ack(0, BEGIN);
    assert_eq!(times(patient), [1000, 3000, 5000, 7000, 9000, 11_000, 13_000]);
    let mut over = begun(1, 0);
    over.error();
    assert_eq!((times(over), times(Session::NONE)), (vec![], vec![]));
}

#[test]
fn what_goes_on_waits_anew_and_what_was_silent_for_a_minute_is_over() {
    let (mut again, mut session) = (Again::default(), begun(1, 0));
    let mut due = |session: Session, ms: u64| {
        !again.due(&HashMap::from([(key(1), session)]), 1, BEGIN + ms * MS).is_empty()
    };
    session.ack(1, BEGIN);
    assert!(!due(session, 499) && due(session, 500) && !due(session, 1400));
    session.ack(2, BEGIN + 1400 * MS);
    assert!(!due(session, 4100) && due(session, 4200), "a new window, and a longer round trip");
    // Its client asks for it itself.
    session.ack(2, BEGIN + 9000 * MS);
    assert!(!due(session, 9200));
    assert!(!due(session, 70_000), "the sweep's");
}

#[test]
fn nothing_is_looked_at_where_no_transfer_is_under_way() {
    let (mut again, mut session) = (Again::default(), begun(1, 0));
    let mut look = |session: Session, begun: u64, is_idle: u64| {
        again.due(&HashMap::from([(key(1), session)]), begun, BEGIN);
        again.is_idle(is_idle)
    };
    assert!(!look(session, 1, 1), "one is");
    session.error();
    assert!(look(session, 1, 1) && !look(session, 1, 2), "another one was begun");
}

#[test]
fn what_was_sent_again_is_told_once_and_of_its_transfer() {
    let (first, second) = ("10.0.0.9:1".parse().unwrap(), "10.0.0.9:2".parse().unwrap());
    let mut packets = Packets::default();
    assert!(packets.is_empty());
    packets.note((first, 7), 4);
    packets.note((first, 7), 4);
    packets.note((first, 8), 1);
    packets.note((second, 7), 2);
    assert_eq!((packets.take((first, 7)), packets.take((first, 7))), (8, 0));
    packets.keep(&HashSet::from([(first, 8)]));
    assert_eq!((packets.take((second, 7)), packets.take((first, 8)), packets.all), (0, 1, 11));
}
