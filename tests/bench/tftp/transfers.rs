//! The transfers under way. Pure: time is an argument, datagrams go in and out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::machine::{Ask, Client, Failure, News, Send, Step};
use crate::tally::Tally;

pub(crate) struct Transfers {
    ask: Ask,
    file: Vec<u8>,
    /// By number; those that are over stay, as their server may not know yet.
    clients: Vec<Client>,
    /// One entry for each that is under way; its deadline may be later by now.
    timers: BinaryHeap<Reverse<(Duration, u32)>>,
    under_way: usize,
    pub(crate) tally: Tally,
}

impl Transfers {
    /// All of them fetch `file`.
    pub(crate) fn new(ask: Ask, file: Vec<u8>) -> Self {
        Self {
            ask,
            file,
            clients: Vec::new(),
            timers: BinaryHeap::new(),
            under_way: 0,
            tally: Tally::default(),
        }
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(crate) fn begun(&self) -> u32 {
        self.clients.len() as u32
    }

    /// The next client asks; its number.
    pub(crate) fn begin(&mut self, now: Duration) -> u32 {
        let number = self.begun();
        let client = Client::new(&self.ask, now);
        self.timers.push(Reverse((client.deadline(), number)));
        self.clients.push(client);
        self.under_way += 1;
        number
    }

    /// The block size and the window that a client was granted.
    pub(crate) fn granted(&self, client: u32) -> Option<(u16, u16)> {
        self.clients.get(client as usize).map(Client::granted)
    }

    /// A datagram came from the server's `port`; what to answer there.
    pub(crate) fn datagram(&mut self, client: u32, port: u16, bytes: &[u8], now: Duration) -> Option<Send> {
        let transfer = self.clients.get_mut(client as usize)?;
        let step = transfer.datagram(&self.ask, &self.file, port, bytes, now);
        let begun = transfer.begun();
        self.count(step, now.saturating_sub(begun))
    }

    /// Somebody waited too long: who it is, what to send, and to which of the server's ports.
    pub(crate) fn expired(&mut self, now: Duration) -> Option<(u32, u16, Send)> {
        while let Some(&Reverse((at, number))) = self.timers.peek().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            let client = &mut self.clients[number as usize];
            let step = if client.deadline() > at { Step::default() } else { client.timer(&self.ask, now) };
            if client.is_under_way() {
                self.timers.push(Reverse((client.deadline(), number)));
            }
            let port = client.port();
            if let Some(send) = self.count(step, Duration::ZERO) {
                return Some((number, port, send));
            }
        }
        None
    }

    /// When [`Transfers::expired`] may have somebody.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// The run is over: what is under way has failed.
    pub(crate) fn give_up(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.is_under_way()) {
            client.give_up();
            self.tally.failed(Failure::Deadline);
        }
        self.under_way = 0;
        self.timers.clear();
    }

    fn count(&mut self, step: Step, taken: Duration) -> Option<Send> {
        self.tally.count(step.news, taken);
        if matches!(step.news, News::Done(_) | News::Failed(_)) {
            self.under_way -= 1;
        }
        step.send
    }
}
