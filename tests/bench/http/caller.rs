//! One thread's clients: each asks again when it has its answer. No pipelining.
//!
//! A request is two system calls and a share of a third, and bodies of which no byte is looked at are thrown away in the kernel
//! (`MSG_TRUNC`): the generator must not be what limits.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with,
    sockopt,
};

use crate::answer::{Answer, Failure, Wanted};
use crate::score::Score;

/// Bodies up to this length come with their head; of longer ones the kernel throws away the rest.
const SMALL: u64 = 64 << 10;
/// Room for a head.
const HEAD: usize = 4 << 10;
const BUFFER: usize = 1 << 20;
/// So many connections of a thread are made at a time: no backlog overflows.
const AT_ONCE: usize = 64;
/// A client that failed so often in a row asks no more.
const STRIKES: u32 = 3;
const EVENTS: usize = 512;
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// So many addresses the clients have.
const ADDRESSES: u32 = 1 << 16;

/// What all threads do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) server: SocketAddrV4,
    /// The first of the clients' addresses; without one, the kernel chooses.
    pub(crate) from: Option<Ipv4Addr>,
    /// The head of a request, but for its end.
    pub(crate) head: Vec<u8>,
    pub(crate) file: File,
    pub(crate) size: u64,
    /// Ask for so many bytes each time, somewhere in the file.
    pub(crate) range: Option<u64>,
    /// Each request has a connection of its own.
    pub(crate) fresh: bool,
    /// Compare bodies with the file.
    pub(crate) compare: bool,
    /// Each client has so many answers at least.
    pub(crate) each: u64,
    pub(crate) seconds: f64,
    pub(crate) deadline: Duration,
}

impl Plan {
    fn length(&self) -> u64 {
        self.range.unwrap_or(self.size)
    }

    /// Whether each client asks once before anything is measured: else it only connects.
    fn warms(&self) -> bool {
        self.length() <= SMALL && !self.fresh
    }
}

/// One client.
struct Client {
    socket: Option<OwnedFd>,
    /// It waits for its connection.
    connects: bool,
    answer: Answer,
    wanted: Wanted,
    asked: Instant,
    /// It waits for an answer.
    waits: bool,
    done: u64,
    bytes: u64,
    strikes: u32,
}

/// A thread's clients.
pub(crate) struct Caller<'a> {
    plan: &'a Plan,
    poll: OwnedFd,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    page: Vec<u8>,
    request: Vec<u8>,
    pub(crate) score: Score,
    /// The next connection's address, and the state of what chooses ranges.
    next: u32,
    random: u64,
    /// When no client begins another request.
    until: Option<Instant>,
}

impl<'a> Caller<'a> {
    /// `first`: the number of its first client among those of all threads.
    pub(crate) fn new(plan: &'a Plan, first: u32, clients: u32) -> anyhow::Result<Self> {
        let idle = || Client {
            socket: None,
            connects: false,
            answer: Answer::default(),
            wanted: Wanted::whole(plan.size),
            asked: Instant::now(),
            waits: false,
            done: 0,
            bytes: 0,
            strikes: 0,
        };
        Ok(Self {
            plan,
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: (0..clients).map(|_| idle()).collect(),
            buffer: vec![0; BUFFER],
            page: if plan.compare { vec![0; BUFFER] } else { Vec::new() },
            request: Vec::new(),
            score: Score::default(),
            next: first,
            random: u64::from(first) + 1,
            until: None,
        })
    }

    /// Everybody connects, and asks once if answers are short.
    pub(crate) fn gather(&mut self) -> Result<(), Errno> {
        if self.plan.fresh {
            return Ok(());
        }
        let end = Instant::now() + self.plan.deadline;
        let mut begun = 0;
        loop {
            let busy = self.busy();
            if busy == 0 && begun == self.clients.len() {
                return Ok(());
            }
            let free = AT_ONCE.saturating_sub(busy).min(self.clients.len() - begun);
            (begun..begun + free).for_each(|number| self.begin(number));
            begun += free;
            self.turn()?;
            if Instant::now() > end {
                self.give_up();
                return Ok(());
            }
        }
    }

    /// Everybody asks until the time is up; how long it took.
    pub(crate) fn measure(&mut self) -> Result<Duration, Errno> {
        for client in &mut self.clients {
            (client.done, client.bytes, client.strikes) = (0, 0, 0);
        }
        let begun = Instant::now();
        let until = begun + Duration::from_secs_f64(self.plan.seconds);
        self.until = Some(until);
        for number in 0..self.clients.len() {
            self.begin(number);
            // Those who have asked are not kept waiting for those who have not.
            if number % AT_ONCE == AT_ONCE - 1 {
                self.turn()?;
            }
        }
        loop {
            self.turn()?;
            let now = Instant::now();
            if now >= until && (self.plan.each == 0 || self.busy() == 0) {
                return Ok(begun.elapsed());
            }
            if now > begun + self.plan.deadline {
                self.give_up();
                return Ok(begun.elapsed());
            }
        }
    }

    /// How many have a connection.
    pub(crate) fn held(&self) -> usize {
        self.clients.iter().filter(|client| client.socket.is_some()).count()
    }

    /// The first so many of those who are connected begin a request, or say one byte more of the one that they have begun: they never come
    /// to its end.
    pub(crate) fn dawdle(&self, slow: usize, is_first: bool) {
        let bytes = if is_first { self.plan.head.as_slice() } else { b"x" };
        for socket in self.clients.iter().filter_map(|client| client.socket.as_ref()).take(slow) {
            // Whom the server has given up dawdles no more.
            let _ = send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    /// How many had nothing at all.
    pub(crate) fn starved(&self) -> usize {
        self.clients.iter().filter(|client| client.bytes == 0).count()
    }

    /// Who still waits has failed.
    fn give_up(&mut self) {
        (0..self.busy()).for_each(|_| self.score.fail(Failure::Deadline));
    }

    /// How many wait for their connection or their answer.
    fn busy(&self) -> usize {
        self.clients.iter().filter(|client| client.connects || client.waits).count()
    }

    fn turn(&mut self) -> Result<(), Errno> {
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&GLANCE)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        for event in events {
            let number = event.data.u64() as usize;
            let outcome = match self.clients[number].connects {
                true => self.connected(number),
                false => self.receive(number),
            };
            if let Err(failure) = outcome {
                self.failed(number, failure);
            }
        }
        Ok(())
    }

    /// The next request of a client, with its connection if it has none; only the connection, while all gather for long answers.
    fn begin(&mut self, number: usize) {
        let client = &self.clients[number];
        if client.connects || client.strikes >= STRIKES || !self.is_wanted(client) {
            return;
        }
        let outcome = match (&client.socket, self.asks()) {
            (Some(_), true) => self.ask(number),
            (Some(_), false) => Ok(()),
            (None, _) => self.connect(number),
        };
        if let Err(failure) = outcome {
            self.failed(number, failure);
        }
    }

    fn asks(&self) -> bool {
        self.until.is_some() || self.plan.warms()
    }

    fn is_wanted(&self, client: &Client) -> bool {
        match self.until {
            None => client.done == 0,
            Some(until) => client.done < self.plan.each || Instant::now() < until,
        }
    }

    fn connect(&mut self, number: usize) -> Result<(), Failure> {
        let socket = self.open().map_err(|_| Failure::Connect)?;
        let client = &mut self.clients[number];
        client.asked = Instant::now();
        client.connects = true;
        epoll::add(&self.poll, &socket, EventData::new_u64(number as u64), EventFlags::OUT)
            .map_err(|_| Failure::Connect)?;
        client.socket = Some(socket);
        Ok(())
    }

    fn open(&mut self) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(first) = self.plan.from {
            let address = Ipv4Addr::from(u32::from(first) + self.next % ADDRESSES);
            // No two threads' clients have the same, and who comes again comes from another.
            self.next = self.next.wrapping_add(1);
            bind(&socket, &SocketAddrV4::new(address, 0))?;
        }
        match connect(&socket, &self.plan.server) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    fn connected(&mut self, number: usize) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        let Some(socket) = &client.socket else { return Ok(()) };
        match sockopt::socket_error(socket) {
            Ok(Ok(())) => {}
            _ => return Err(Failure::Connect),
        }
        epoll::modify(&self.poll, socket, EventData::new_u64(number as u64), EventFlags::IN)
            .map_err(|_| Failure::Connect)?;
        client.connects = false;
        if self.asks() { self.ask_since(number, self.clients[number].asked) } else { Ok(()) }
    }

    fn ask(&mut self, number: usize) -> Result<(), Failure> {
        self.ask_since(number, Instant::now())
    }

    /// `asked`: of a connection of its own, when that began.
    fn ask_since(&mut self, number: usize, asked: Instant) -> Result<(), Failure> {
        let wanted = match self.plan.range {
            None => Wanted::whole(self.plan.size),
            Some(length) => {
                let first = self.draw() % (self.plan.size - length + 1);
                Wanted::range(first, length, self.plan.size)
            }
        };
        self.request.clear();
        self.request.extend_from_slice(&self.plan.head);
        if self.plan.range.is_some() {
            self.request.extend(format!("Range: bytes={}\r\n", wanted.ends()).into_bytes());
        }
        self.request.extend_from_slice(b"\r\n");
        let client = &mut self.clients[number];
        client.answer.clear();
        (client.wanted, client.asked, client.waits) = (wanted, asked, true);
        let Some(socket) = &client.socket else { return Err(Failure::Connect) };
        match send(socket, &self.request, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) if count == self.request.len() => Ok(()),
            _ => Err(Failure::Closed),
        }
    }

    fn receive(&mut self, number: usize) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        let Some(socket) = &client.socket else { return Ok(()) };
        let room = match client.answer.left() {
            Some(left) => left.min(BUFFER as u64) as usize,
            None if client.wanted.length <= SMALL => HEAD + SMALL as usize,
            None => HEAD,
        };
        let unseen = client.answer.left().is_some() && !self.plan.compare;
        let flags = if unseen { RecvFlags::DONTWAIT | RecvFlags::TRUNC } else { RecvFlags::DONTWAIT };
        let count = match recv(socket, &mut self.buffer[..room], flags) {
            Ok((_, 0)) => return self.closed(number),
            Ok((_, count)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Failure::Closed),
        };
        if !client.waits {
            return Err(Failure::Surplus);
        }
        let before = client.wanted.length - client.answer.left().unwrap_or(client.wanted.length);
        let arrived = if unseen {
            client.answer.skip(count as u64)?;
            count
        } else {
            let body = client.answer.take(&client.wanted, &self.buffer[..count])?;
            if self.plan.compare {
                let page = &mut self.page[..body.len()];
                let read = self.plan.file.read_exact_at(page, client.wanted.first + before);
                if read.is_err() || *page != *body {
                    return Err(Failure::Content);
                }
                self.score.compared += body.len() as u64;
            }
            body.len()
        };
        client.bytes += arrived as u64;
        self.score.bytes += arrived as u64;
        if self.clients[number].answer.is_whole() {
            self.complete(number);
        }
        Ok(())
    }

    fn complete(&mut self, number: usize) {
        let client = &mut self.clients[number];
        self.score.complete(client.asked.elapsed());
        client.done += 1;
        client.strikes = 0;
        client.waits = false;
        if client.answer.closes() || self.plan.fresh {
            client.socket = None;
            self.score.reopened += u64::from(!self.plan.fresh);
        }
        self.begin(number);
    }

    /// By the server: between two requests it may.
    fn closed(&mut self, number: usize) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        if client.waits {
            return Err(Failure::Closed);
        }
        client.socket = None;
        self.score.reopened += 1;
        self.begin(number);
        Ok(())
    }

    fn failed(&mut self, number: usize, failure: Failure) {
        self.score.fail(failure);
        let client = &mut self.clients[number];
        client.strikes += 1;
        (client.socket, client.connects, client.waits) = (None, false, false);
        self.begin(number);
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
