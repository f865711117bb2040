//! The least that can be called a server: it knows one file, looks for nothing but the end of a head, and answers with the same
//! head and `sendfile`, on epoll, a thread and a listener for each core. What clients, wire and kernel can carry is what it
//! reaches.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

/// As long a body is sent before the next connection has its turn.
const TURN: u64 = 2 << 20;
const EVENTS: usize = 512;

/// The command line of `bare`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value = "10.64.0.1:8080")]
    pub(crate) listen: SocketAddrV4,
    /// Whatever clients ask for.
    #[arg(long)]
    pub(crate) file: PathBuf,
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// Close each connection behind its response.
    #[arg(long)]
    pub(crate) close: bool,
}

/// Says that it serves, and does so until killed.
pub(crate) fn main(options: &Options) -> anyhow::Result<Value> {
    start(options)?;
    println!("serving");
    loop {
        thread::park();
    }
}

/// Serves on threads that last as long as the process; the address.
pub(crate) fn start(options: &Options) -> anyhow::Result<SocketAddrV4> {
    let file = File::open(&options.file).with_context(|| options.file.display().to_string())?;
    let size = file.metadata()?.len();
    let connection = if options.close { "close" } else { "keep-alive" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: {connection}\r\n\r\n");
    let content = Arc::new(Content { head: head.into_bytes(), file, size, close: options.close });
    let mut address = options.listen;
    for _ in 0..options.workers {
        let listener = listen(address).with_context(|| address.to_string())?;
        address.set_port(listener.local_addr()?.as_socket().context("no address")?.port());
        let worker = Worker::new(listener, content.clone())?;
        thread::spawn(move || worker.run());
    }
    Ok(address)
}

fn listen(address: SocketAddrV4) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(65_535)?;
    Ok(socket)
}

struct Content {
    head: Vec<u8>,
    file: File,
    size: u64,
    close: bool,
}

struct Peer {
    socket: OwnedFd,
    /// The last bytes of what it asked.
    tail: [u8; 4],
    /// How much of head and body it was sent, while it is sent any.
    sent: Option<u64>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Waits,
    /// It could be sent more, and others have waited.
    Again,
    Ends,
}

struct Worker {
    poll: OwnedFd,
    listener: Socket,
    content: Arc<Content>,
    /// By the number of their sockets.
    peers: Vec<Option<Peer>>,
    again: VecDeque<usize>,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(listener: Socket, content: Arc<Content>) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &listener, EventData::new_u64(listener.as_raw_fd() as u64), EventFlags::IN)?;
        let (peers, again) = (Vec::new(), VecDeque::new());
        Ok(Self { poll, listener, content, peers, again, buffer: vec![0; 4096] })
    }

    /// Until its process ends, or epoll fails, which its clients will notice.
    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            events.clear();
            let patience = (!self.again.is_empty()).then_some(&at_once);
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), patience) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                self.turn(event.data.u64() as usize);
            }
            for _ in 0..self.again.len() {
                if let Some(number) = self.again.pop_front() {
                    self.turn(number);
                }
            }
        }
    }

    fn turn(&mut self, number: usize) {
        if number == self.listener.as_raw_fd() as usize {
            return self.accept();
        }
        let Some(peer) = self.peers.get_mut(number).and_then(Option::as_mut) else { return };
        match peer.turn(&self.content, &mut self.buffer) {
            Then::Waits => {}
            Then::Again => self.again.push_back(number),
            Then::Ends => self.peers[number] = None,
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(socket) = accept_with(self.listener.as_fd(), flags) {
            let number = socket.as_raw_fd() as usize;
            let events = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            let ready = sockopt::set_tcp_nodelay(&socket, true)
                .and_then(|()| epoll::add(&self.poll, &socket, EventData::new_u64(number as u64), events));
            if ready.is_err() {
                continue;
            }
            if self.peers.len() <= number {
                self.peers.resize_with(number + 1, || None);
            }
            self.peers[number] = Some(Peer { socket, tail: [0; 4], sent: None });
        }
    }
}

impl Peer {
    fn turn(&mut self, content: &Content, buffer: &mut [u8]) -> Then {
        if self.sent.is_none() {
            match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Then::Ends,
                Ok((count, _)) => self.hear(&buffer[..count]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Then::Ends,
            }
        }
        let Some(sent) = &mut self.sent else { return Then::Waits };
        match answer(&self.socket, content, sent) {
            Ok(true) if content.close => Then::Ends,
            Ok(true) => {
                self.sent = None;
                Then::Waits
            }
            Ok(false) => Then::Again,
            Err(Errno::AGAIN) => Then::Waits,
            Err(_) => Then::Ends,
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(4)..] {
            self.tail.rotate_left(1);
            self.tail[3] = *byte;
        }
        if self.tail == *b"\r\n\r\n" {
            self.sent = Some(0);
        }
    }
}

/// Sends for a turn; whether all of it is sent.
fn answer(socket: &OwnedFd, content: &Content, sent: &mut u64) -> Result<bool, Errno> {
    let head = content.head.len() as u64;
    let end = (*sent + TURN).min(head + content.size);
    while *sent < end {
        *sent += if *sent < head {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT | SendFlags::MORE;
            send(socket, &content.head[*sent as usize..], flags)? as u64
        } else {
            let mut offset = *sent - head;
            match sendfile(socket, &content.file, Some(&mut offset), (end - *sent) as usize)? {
                // The file was cut short.
                0 => return Err(Errno::PIPE),
                count => count as u64,
            }
        };
    }
    Ok(*sent == head + content.size)
}
