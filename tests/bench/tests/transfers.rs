//! The clients and our server's machine, on one bad network after the other.

use std::collections::HashMap;
use std::time::Duration;

use netboot_common::wire::tftp::{Granted, Packet, data_header};
use netboot_userspace::tftp::machine::{Limits, Send as Answer, Step, Transfer};

use crate::link::{Fate, Link, Quality};
use crate::machine::{Ask, Send};
use crate::transfers::Transfers;

const CLIENTS: u32 = 20;
const TICK: Duration = Duration::from_millis(1);

/// What travels: to or from a client.
type Mail = (u32, Vec<u8>);

struct World {
    ask: Ask,
    file: Vec<u8>,
    transfers: Transfers,
    servers: HashMap<u32, Transfer>,
    down: Link<Mail>,
    up: Link<Mail>,
    now: Duration,
}

impl World {
    fn new(window: u16, size: usize, quality: Quality, seed: u64) -> Self {
        // As firmware is: after 1, 2, 4 and 8 seconds in which nothing came, it gives up.
        let ask = Ask { block_size: 64, window, patience: Duration::from_secs(1) };
        let file: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
        Self {
            ask,
            transfers: Transfers::new(ask, file.clone()),
            file,
            servers: HashMap::new(),
            down: Link::new(quality, seed),
            up: Link::new(quality, !seed),
            now: Duration::ZERO,
        }
    }

    /// Until nobody is under way, or an hour has passed; what came of it.
    fn run(mut self) -> serde_json::Map<String, serde_json::Value> {
        for _ in 0..CLIENTS {
            let client = self.transfers.begin(self.now);
            self.says(client, Send::Request);
        }
        while self.transfers.under_way() > 0 && self.now < Duration::from_secs(3600) {
            self.now += TICK;
            while let Some(mail) = self.up.due(self.now) {
                self.serve(mail);
            }
            while let Some(mail) = self.down.due(self.now) {
                self.deliver(mail);
            }
            while let Some((client, _, send)) = self.transfers.expired(self.now) {
                self.says(client, send);
            }
            for client in 0..CLIENTS {
                let now = self.now;
                if let Some(step) = self.servers.get_mut(&client).map(|server| server.timer(now)) {
                    self.answers(client, step);
                }
            }
        }
        self.transfers.give_up();
        self.transfers.tally.report(self.now.as_secs_f64())
    }

    fn says(&mut self, client: u32, send: Send) {
        let datagram = match send {
            Send::Request => {
                let window = self.ask.window.to_string();
                let options = ["file", "octet", "blksize", "64", "windowsize", &window];
                let options = if self.ask.window > 1 { &options[..] } else { &options[..4] };
                let words = options.iter().flat_map(|word| [word.as_bytes(), &[0]].concat());
                [0, 1].into_iter().chain(words).collect()
            }
            Send::Ack(block) => [[0, 4], block.to_be_bytes()].concat(),
            Send::Error(code) => [&[0, 5], &code.to_be_bytes()[..], b"\0"].concat(),
        };
        match self.up.fate() {
            Fate::IsLost => {}
            Fate::IsHeld => self.up.hold((client, datagram), self.now),
            Fate::Passes => self.serve((client, datagram)),
        }
    }

    fn serve(&mut self, (client, datagram): Mail) {
        let step = match Packet::parse(&datagram) {
            Ok(Packet::Read(request)) => {
                if self.servers.get(&client).is_some_and(|server| server.is_echo(self.now)) {
                    return;
                }
                let size = self.file.len() as u64;
                let (server, step) = Transfer::new(&request, size, Limits::default(), self.now);
                self.servers.insert(client, server);
                step
            }
            _ => match self.servers.get_mut(&client) {
                Some(server) => server.datagram(&datagram, self.now),
                None => return,
            },
        };
        self.answers(client, step);
    }

    fn answers(&mut self, client: u32, step: Step) {
        let Some(server) = self.servers.get(&client) else { return };
        let datagrams = match step.send {
            Answer::Oack => {
                let mut oack = [0; Granted::MAX];
                let length = server.granted().emit(&mut oack);
                vec![oack[..length].to_vec()]
            }
            Answer::Blocks(blocks) => blocks
                .map(|block| {
                    let (offset, length) = server.place(block);
                    let bytes = &self.file[offset as usize..][..length];
                    [&data_header(server.wire_number(block))[..], bytes].concat()
                })
                .collect(),
            _ => Vec::new(),
        };
        if step.end.is_some() {
            self.servers.remove(&client);
        }
        for datagram in datagrams {
            match self.down.fate() {
                Fate::IsLost => {}
                Fate::IsHeld => self.down.hold((client, datagram), self.now),
                Fate::Passes => self.deliver((client, datagram)),
            }
        }
    }

    fn deliver(&mut self, (client, datagram): Mail) {
        if let Some(send) = self.transfers.datagram(client, 4000, &datagram, self.now) {
            self.says(client, send);
        }
    }
}

#[test]
fn every_transfer_ends_well_on_bad_networks_of_every_kind() {
    let qualities = [(0.0, 0.0), (0.01, 0.01), (0.1, 0.1), (0.1, 0.0), (0.0, 0.3)];
    for (at, (loss, reorder)) in qualities.into_iter().enumerate() {
        for window in [1, 4, 16] {
            for size in [0, 63, 64, 10_000] {
                let report = World::new(window, size, Quality { loss, reorder }, at as u64).run();
                let what =
                    format!("window {window}, {size} bytes, loss {loss}, reorder {reorder}: {report:?}");
                assert_eq!(report["completed"], CLIENTS, "{what}");
                assert_eq!(report["bytes"], u64::from(CLIENTS) * size as u64, "{what}");
                if loss == 0.0 && reorder == 0.0 {
                    assert_eq!(
                        (&report["surplus_blocks"], &report["clients_repeated"]),
                        (&0.into(), &0.into())
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_under_way_at_the_end_of_the_run_has_failed() {
    let ask = Ask { block_size: 64, window: 1, patience: Duration::from_secs(1) };
    let mut transfers = Transfers::new(ask, vec![0; 100]);
    transfers.begin(Duration::ZERO);
    transfers.begin(Duration::ZERO);
    assert_eq!(transfers.under_way(), 2);
    assert_eq!(transfers.datagram(1, 4000, b"\0\x05\0\x01\0", Duration::ZERO), None);
    assert_eq!((transfers.under_way(), transfers.begun()), (1, 2));
    transfers.give_up();
    assert_eq!((transfers.under_way(), transfers.expired(Duration::from_secs(9))), (0, None));
    let report = transfers.tally.report(1.0);
    assert_eq!(report["failures"], serde_json::json!({ "Deadline": 1, "Refused(1)": 1 }));
}

/// Of these 2,000, nine were given up where waits grew as long as all that was lost in a row.
#[test]
fn who_loses_a_fifth_of_the_answers_is_given_up_by_next_to_nobody() {
    let on = |seed| World::new(4, 10_000, Quality { loss: 0.1, reorder: 0.1 }, seed).run();
    let failed: u64 = (0..100).map(|seed| on(seed)["failed"].as_u64().unwrap()).sum();
    assert!(failed <= 3, "{failed} of {}", 100 * CLIENTS);
}
