//! What the tests of this room share: a scripted HTTP server and a scripted disk.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::device::{Device, Geometry};
use super::http::Url;
use crate::uring::disk::{Completion, Direction, Full, Transfer};

/// One thing that the server does with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Close in order.
    Close,
    /// Close with RST (unread input makes the kernel send one).
    Reset,
    Stall(Duration),
}

/// An answer with a right Content-Length.
pub(crate) fn answer(status: u16, body: &[u8]) -> Vec<Step> {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    vec![Step::Send([head.as_bytes(), body].concat())]
}

/// Plays one script per connection, then no longer answers.
pub(crate) struct Server {
    address: std::net::SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _thread: JoinHandle<()>,
}

impl Server {
    pub(crate) fn script(connections: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let thread = std::thread::spawn(move || {
            for steps in connections {
                let Ok((stream, _)) = listener.accept() else { return };
                play(stream, steps, &seen);
            }
        });
        Self { address, requests, _thread: thread }
    }

    /// Answers every request, given as text with its body, with what `answer` says.
    pub(crate) fn answering(mut answer: impl FnMut(&str) -> Vec<Step> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let request = whole_request(&mut stream);
                let steps = answer(&request);
                seen.lock().unwrap().push(request);
                carry_out(stream, steps);
            }
        });
        Self { address, requests, _thread: thread }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// The head of each request so far, and its body where the server reads it.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn play(mut stream: TcpStream, steps: Vec<Step>, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    // Its last byte stays unread, so that a later close can be a reset.
    while !head.ends_with(b"\r\n\r") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    carry_out(stream, steps);
}

fn whole_request(stream: &mut TcpStream) -> String {
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
            _ => return text,
        }
    }
}

fn carry_out(mut stream: TcpStream, steps: Vec<Step>) {
    let mut orderly = true;
    for step in steps {
        match step {
            Step::Send(bytes) => drop(stream.write_all(&bytes)),
            Step::Close => break,
            Step::Reset => {
                std::thread::sleep(Duration::from_millis(50)); // what was sent arrives first
                orderly = false;
            }
            Step::Stall(time) => std::thread::sleep(time),
        }
    }
    if orderly {
        let _ = stream.read(&mut [0]);
    }
}

/// What a [`ScriptedDisk`] does with its next transfers, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// So many bytes only.
    Short(usize),
    Error(i32),
    /// Says that it did it, but changed a bit.
    FlipBit,
}

/// The record of what was done to a [`ScriptedDisk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Write(u64, usize),
    Sync,
    Reread,
}

/// A disk in memory that starts full of 0xa5.
#[derive(Debug)]
pub(crate) struct ScriptedDisk {
    pub(crate) bytes: Arc<Mutex<Vec<u8>>>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    faults: VecDeque<Fault>,
    under_way: VecDeque<Transfer>,
    pub(crate) can_zero: bool,
    block: u32,
}

impl ScriptedDisk {
    pub(crate) fn new(size: usize, block: u32) -> Self {
        Self {
            bytes: Arc::new(Mutex::new(vec![0xa5; size])),
            events: Arc::default(),
            faults: VecDeque::new(),
            under_way: VecDeque::new(),
            can_zero: false,
            block,
        }
    }

    /// `fault` for the transfer number `at` (from 0, reads and writes alike).
    pub(crate) fn fault(mut self, at: usize, fault: Fault) -> Self {
        while self.faults.len() <= at {
            self.faults.push_back(Fault::None);
        }
        self.faults[at] = fault;
        self
    }

    fn run(&mut self, transfer: &mut Transfer) -> io::Result<usize> {
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        let mut bytes = self.bytes.lock().unwrap();
        let at = transfer.offset as usize;
        let aligned = |n: usize| n.is_multiple_of(self.block as usize);
        assert!(
            aligned(at) && aligned(transfer.range.len()) && aligned(transfer.range.start),
            "O_DIRECT refuses it"
        );
        let mut n = transfer.range.len().min(bytes.len().saturating_sub(at));
        match fault {
            Fault::Error(code) => return Err(io::Error::from_raw_os_error(code)),
            Fault::Short(most) => n = n.min(most),
            Fault::None | Fault::FlipBit => {}
        }
        let range = transfer.range.start..transfer.range.start + n;
        match transfer.direction {
            Direction::Read => {
                transfer.buffer[range.clone()].copy_from_slice(&bytes[at..at + n]);
                if fault == Fault::FlipBit {
                    transfer.buffer[range.start] ^= 1;
                }
            }
            Direction::Write => {
                bytes[at..at + n].copy_from_slice(&transfer.buffer[range]);
                if fault == Fault::FlipBit {
                    bytes[at] ^= 1;
                }
                self.events.lock().unwrap().push(Event::Write(transfer.offset, n));
            }
        }
        Ok(n)
    }
}

impl Device for ScriptedDisk {
    fn name(&self) -> &str {
        "scripted disk"
    }

    fn geometry(&self) -> Geometry {
        let size = self.bytes.lock().unwrap().len() as u64;
        Geometry { size: Some(size), holds: size, block: self.block }
    }

    fn submit(&mut self, transfer: Transfer) -> Result<(), Full> {
        if self.under_way.len() == 3 {
            return Err(Full(transfer));
        }
        self.under_way.push_back(transfer);
        Ok(())
    }

    /// Out of order: the last one first.
    fn complete(&mut self) -> io::Result<Option<Completion>> {
        let Some(mut transfer) = self.under_way.pop_back() else { return Ok(None) };
        let result = self.run(&mut transfer);
        Ok(Some(Completion { transfer, result }))
    }

    fn write_tail(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = offset as usize;
        self.bytes.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        self.events.lock().unwrap().push(Event::Write(offset, bytes.len()));
        Ok(())
    }

    fn zero(&mut self, offset: u64, len: u64) -> io::Result<bool> {
        if self.can_zero {
            self.bytes.lock().unwrap()[offset as usize..(offset + len) as usize].fill(0);
        }
        Ok(self.can_zero)
    }

    fn end_at_least(&mut self, _size: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.events.lock().unwrap().push(Event::Sync);
        Ok(())
    }

    fn reread(&mut self) -> io::Result<()> {
        self.events.lock().unwrap().push(Event::Reread);
        Ok(())
    }

    fn steps_down(&mut self) -> Vec<String> {
        Vec::new()
    }
}
