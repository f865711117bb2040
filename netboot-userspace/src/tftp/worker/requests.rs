//! The requests: what a worker answers them with.

use std::hash::{DefaultHasher, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use netboot_common::limit::Budget;
use netboot_common::tftp::reply::HEAD;
use netboot_common::wire::tftp::{DATA_HEADER, ErrorCode, Malformed, Mode, Packet, Request};

use crate::sys::datagram::Destination;
use crate::sys::open::Refusal;
use crate::tftp::answer::Answer;
use crate::tftp::content::Content;
use crate::tftp::desk::{Found, News, Of, Question, Told, Turn};
use crate::tftp::disk::Job;
use crate::tftp::files::{Library, Problem};
use crate::tftp::machine::{FRESH, Limits, Transfer};
use crate::tftp::names::Candidates;
use crate::tftp::past::{Answered, How};
use crate::tftp::session::{Ends, First, Work, send_error};
use crate::tftp::sources::{allowed, canonical};
use crate::tftp::upload::machine::Reception;
use crate::tftp::upload::writing::Writing;
use crate::tftp::upload::{Folder, Upload};
use crate::tftp::{Direction, Event, Outcome, Ports, WRITTEN_BLOCK_MOST};
use crate::uring::Lease;

use super::{Shared, Worker};

/// What a name was found to be.
enum Opened {
    /// A file, and what it is called.
    File(Content, String),
    /// What somebody else is to be asked for, under this name.
    Elsewhere(Of, String),
}

impl<'s> Worker<'s> {
    /// A datagram came to the request port.
    pub(super) fn heard(&mut self, from: SocketAddr, to: Destination, lease: &Lease) {
        let counters = &self.shared.counters;
        // A client of IPv4 is one of IPv4, whatever the socket that heard it.
        let client = canonical(from);
        if client.port() == 0 || !allowed(&self.shared.sources.load(), client.ip()) {
            counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        let Destination::Own(own, interface) = to else {
            // RFC 1123 4.2.3.5. That the kernel doesn't say where it was sent to never happens.
            counters.broadcast.fetch_add(1, Relaxed);
            return;
        };
        let bytes = self.reactor.bytes(lease);
        let is_request = matches!(bytes, [0, 1 | 2, ..]);
        if !is_request
            && self.shared.config.ports == Ports::Listen
            && let Some(token) = self.transfer_at(0, client, own)
        {
            return self.datagram(token, lease);
        }
        let mut datagram = std::mem::take(&mut self.scratch);
        datagram.clear();
        datagram.extend_from_slice(bytes);
        self.answer(Ends { client, own, interface, asked: hash(&datagram) }, &datagram);
        self.scratch = datagram;
    }

    fn answer(&mut self, ends: Ends, datagram: &[u8]) {
        let counters = &self.shared.counters;
        match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => {
                counters.requests.fetch_add(1, Relaxed);
                self.read(ends, &request, datagram);
            }
            Ok(Packet::Write(request, size)) => {
                counters.requests.fetch_add(1, Relaxed);
                self.write(ends, &request, size);
            }
            Err(Malformed::Unterminated | Malformed::Opcode(_)) => {
                self.refuse(ends, String::new(), Direction::Read, Answer::illegal());
            }
            // What belongs to a transfer, or to none, has nothing to say here, and answering could feed a loop.
            Ok(Packet::Ack(_) | Packet::Data(..) | Packet::Error(..) | Packet::NotForServers)
            | Err(Malformed::Short) => {
                counters.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    fn read(&mut self, ends: Ends, request: &Request<'_>, datagram: &[u8]) {
        if self.is_repeated(ends) {
            return;
        }
        match self.open(request) {
            Ok(opened) => self.go_on(ends, request, opened, || datagram.to_vec()),
            Err(answer) => self.refuse(ends, printable(request.filename), Direction::Read, answer),
        }
    }

    fn go_on(
        &mut self,
        ends: Ends,
        request: &Request<'_>,
        opened: Opened,
        datagram: impl FnOnce() -> Vec<u8>,
    ) {
        match opened {
            Opened::File(content, name) => self.send_file(ends, request, content, name),
            Opened::Elsewhere(of, name) => {
                self.ask(Question { ends, name, mode: request.mode, of, datagram: datagram() });
            }
        }
    }

    /// Whether it is a request that is being answered, or a late copy of one before it. Another one, or one that begins anew, ends
    /// what was.
    fn is_repeated(&mut self, ends: Ends) -> bool {
        let Some((token, session)) = self.sessions.of_client(ends.client) else {
            return self.is_asked(ends);
        };
        let now = self.now();
        let is_copy = match session.ends.asked == ends.asked {
            true => session.work.is_echo(now),
            false => session.is_young(now) && self.tids.past.has(ends.client, ends.asked),
        };
        if !is_copy {
            self.end(token, Outcome::Aborted);
        }
        is_copy
    }

    /// The same, of requests that wait for the site or the disk.
    fn is_asked(&mut self, ends: Ends) -> bool {
        let Some((asked, since)) = self.asking.of(ends.client) else { return false };
        let is_young = self.now().saturating_sub(since) < FRESH;
        if asked == ends.asked || is_young && self.tids.past.has(ends.client, ends.asked) {
            return true;
        }
        self.asking.forget(ends.client);
        let tid = Answered::NOWHERE;
        self.tids.past.add(ends.client, Answered { asked, tid, how: How::Refused });
        false
    }

    fn open(&self, request: &Request<'_>) -> Result<Opened, Answer> {
        let names = Candidates::parse(request.filename)?;
        if request.mode == Mode::Other {
            return Err(Answer::refused(ErrorCode::Undefined, "only octet and netascii"));
        }
        let site = self.shared.config.site.as_ref();
        let known = |name: &str| site.map_or(Turn::Never, |site| site.turn(name));
        let turn = names.iter().map(|name| (known(name), name)).find(|(turn, _)| *turn != Turn::Never);
        if let Some((Turn::First, name)) = turn {
            return Ok(Opened::Elsewhere(Of::Site, name.to_owned()));
        }
        let or = turn.map(|(_, name)| name.to_owned());
        match (self.shared.library.find_at_once(&names, request.mode), or) {
            (Some(Err(Problem::File(Refusal::NotFound))), Some(name)) => {
                Ok(Opened::Elsewhere(Of::Site, name))
            }
            (Some(found), _) => Ok(Opened::File(found?, names.plain)),
            (None, or) => Ok(Opened::Elsewhere(Of::Folders(or), names.plain)),
        }
    }

    /// One that finds no room where it is to wait is as one that was lost: its client asks again.
    fn ask(&mut self, question: Question) {
        let ends = question.ends;
        if !self.asking.admits(ends.client.ip()) {
            self.shared.counters.client_full.fetch_add(1, Relaxed);
            return;
        }
        let Shared { desk, disk, .. } = self.shared;
        let inbox = self.inbox.clone();
        let is_asked = match question.of {
            Of::Site => desk.as_ref().is_some_and(|desk| desk.try_send((question, inbox)).is_ok()),
            Of::Folders(_) => disk.try_send((Job::Find(question), inbox)).is_ok(),
        };
        if is_asked {
            self.asking.add(ends, self.now());
        }
    }

    pub(super) fn take_news(&mut self) {
        for news in self.inbox.take() {
            match news {
                News::Answer(question, told) => self.answered(question, told),
                News::Bytes(token, part, bytes) => self.read_on(token, &part, bytes),
                News::Written(token, upload, written) => self.written(token, upload, written),
            }
        }
    }

    fn answered(&mut self, Question { ends, mode: _, name: _, of, datagram }: Question, told: Told) {
        if !self.asking.is_wanted(ends) {
            return;
        }
        let Ok(Packet::Read(request)) = Packet::parse(&datagram) else { return };
        match self.found(&request, of, told) {
            Ok(opened) => self.go_on(ends, &request, opened, || datagram.clone()),
            Err(answer) => self.refuse(ends, printable(request.filename), Direction::Read, answer),
        }
    }

    /// What the site named is looked for in the folders as if it had been asked for.
    fn found(&self, request: &Request<'_>, of: Of, told: Told) -> Result<Opened, Answer> {
        let (names, mode) = (Candidates::parse(request.filename)?, request.mode);
        let wanted = match (told, of) {
            (Told::Site(Found::Bytes(bytes)), _) => {
                return Ok(Opened::File(Library::made(bytes, mode)?, names.plain));
            }
            (Told::Folders(Err(Problem::File(Refusal::NotFound))), Of::Folders(Some(name))) => {
                return Ok(Opened::Elsewhere(Of::Site, name));
            }
            (Told::Folders(found), _) => return Ok(Opened::File(found?, names.plain)),
            (Told::Site(Found::File(name)), _) => Candidates::parse(name.as_bytes())?,
            (Told::Site(Found::Nothing), _) => names.clone(),
        };
        match self.shared.library.find_at_once(&wanted, mode) {
            Some(found) => Ok(Opened::File(found?, names.plain)),
            None => Ok(Opened::Elsewhere(Of::Folders(None), wanted.plain)),
        }
    }

    fn send_file(&mut self, ends: Ends, request: &Request<'_>, content: Content, name: String) {
        let (machine, step) = Transfer::new(request, content.size(), self.limits(ends), self.now());
        let work = Work::Read { machine, content, as_one: true, left: 0 };
        self.begin(ends, work, First::Read(step), name);
    }

    /// What fits the interface that was asked by, as the kernel's transfers do.
    fn limits(&self, ends: Ends) -> Limits {
        let headers = if ends.own.is_ipv4() { HEADERS_4 } else { HEADERS_6 };
        let mtu = self.shared.interfaces.mtu_of(ends.interface).unwrap_or(MTU_LEAST);
        self.shared.config.limits.within(mtu, headers)
    }

    fn write(&mut self, ends: Ends, request: &Request<'_>, size: Option<u64>) {
        if self.is_repeated(ends) {
            return;
        }
        let name = printable(request.filename);
        match self.take(ends, request, size) {
            Ok((folder, upload)) => {
                let (most, mut limits, now) = (folder.caps.most, self.limits(ends), self.now());
                limits.block_size = limits.block_size.min(WRITTEN_BLOCK_MOST);
                let (machine, step) = Reception::new(request, size, most, limits, now);
                let work = Work::Write(Writing::new(machine, upload));
                self.begin(ends, work, First::Write(step), name);
            }
            Err(answer) => self.refuse(ends, name, Direction::Write { stored: None }, answer),
        }
    }

    fn take(
        &self,
        ends: Ends,
        request: &Request<'_>,
        size: Option<u64>,
    ) -> Result<(&'s Arc<Folder>, Upload), Answer> {
        let Some(folder) = &self.shared.uploads else {
            return Err(Answer::refused(ErrorCode::AccessViolation, "this server is read-only"));
        };
        if request.mode != Mode::Octet {
            return Err(Answer::refused(ErrorCode::Undefined, "only octet"));
        }
        let announced = size.unwrap_or(0).min(folder.caps.most);
        Ok((folder, folder.upload(ends.client.ip(), announced)))
    }

    /// Beyond the budget a request is as one that was lost: its client asks again.
    fn refuse(&mut self, ends: Ends, file: String, direction: Direction, answer: Answer) {
        let Some(even) = REFUSALS.admit(self.refusals, self.now().as_nanos() as u64) else {
            self.shared.counters.silenced.fetch_add(1, Relaxed);
            return;
        };
        self.refusals = even;
        // From a port that no transfer of this client has (RFC 1350 section 4).
        let busy = self.sessions.of_client(ends.client).map(|(_, session)| session.tid);
        let tid = self.tids.draw(ends.client, busy);
        let outgoing = self.tids.outgoing(ends.own, ends.client);
        send_error(&mut self.reactor, self.tids.socket(tid), &outgoing, answer.code, answer.text);
        self.tids.past.add(ends.client, Answered { asked: ends.asked, tid, how: How::Refused });
        self.report(Event {
            client: ends.client,
            file,
            size: 0,
            bytes: 0,
            resent: 0,
            duration: Duration::ZERO,
            direction,
            outcome: answer.outcome,
        });
    }
}

/// ERRORs in a second, and at once, of each worker, in answer to requests: they may be forged, and go to whom they are forged of. So few
/// that in the time in which a copy of a request may be late not all is forgotten that is known of clients (`past.rs`); so many that
/// whole racks may ask for names that are not there.
const REFUSALS: Budget = Budget::new(1000, 1000);

/// What every host takes in one piece (RFC 791 section 3.1): for an interface that can't be asked, or is gone.
const MTU_LEAST: u16 = 576;

/// Bytes before those of a block: the headers of IP and UDP, and its own.
const HEADERS_4: u16 = HEAD as u16;
const HEADERS_6: u16 = 40 + 8 + DATA_HEADER as u16;

fn hash(bytes: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish() as u32
}

fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).take(255).collect()
}
