//! A frame in; what to send, what to remember, and what to tell out. Writes nothing but its caller's working memory.

use super::datagram::{SUM_MOST, Summed};
use super::maps::{BLOCK_MOST, File, FileKey, FileRef, Serving, SessionKey, WINDOW_MOST};
use super::reply::{Ends, Granted, HEAD, Oack, Terms};
use super::request::Request;
use super::session::{Agreed, Send, Session, Step};
use super::stats::Leave;
use super::times::WAIT_MOST;
use crate::datagram::Datagram;
use crate::maps::InterfaceValue;
use crate::packet::Packet;
use crate::wire::{be16, tftp};

/// What is looked up.
pub trait Tables {
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue>;
    fn file_of(&self, key: &FileKey) -> Option<&FileRef>;
    fn file(&self, slot: u16) -> Option<&File>;
    fn session(&self, key: &SessionKey) -> Option<&Session>;
    /// `CLOCK_BOOTTIME`, nanoseconds.
    fn now(&self) -> u64;
    /// A number that nobody can foretell.
    fn random(&self) -> u32;
}

/// What does not fit on the kernel's stack: what was asked, and what is answered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub datagram: Datagram,
    request: Request,
    /// Whose transfer it is.
    pub key: SessionKey,
    /// The client's transfer before the one that it asks for.
    pub before: Session,
    /// To be remembered.
    pub session: Session,
    /// The file as it was when it was looked up: its slot in the table may be another one's by the time a window is through.
    pub file: File,
    /// Of what is sent.
    pub ends: Ends,
    /// What is sent, where it is an OACK.
    pub oack: Oack,
    /// Where what was received is summed.
    pub room: [u8; SUM_MOST],
    /// What to do.
    // VERIFIER (6.18, 2026-11): in a map's memory, and read from there whenever it is needed. On the stack each way to decide is walked
    // together with all that follows: 101,295 instructions.
    pub answer: Answer,
}

impl Work {
    pub const NEW: Self = Self {
        datagram: Datagram::NONE,
        request: Request::NEW,
        key: SessionKey::new(0, &Datagram::NONE),
        before: Session::NONE,
        session: Session::NONE,
        file: File::NONE,
        ends: Ends::NONE,
        oack: Oack::NEW,
        room: [0; SUM_MOST],
        answer: Answer::NOTHING,
    };
}

/// What to do for a datagram, beside what [`Work`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub step: Step,
    pub is_request: bool,
    /// The client has answered for the first time.
    pub is_first_answer: bool,
    /// A transfer begins: it is not that of a request that was repeated.
    pub begins: bool,
    /// It leaves [`Work::before`], which was under way, for another transfer.
    pub replaces: bool,
    /// That an ERROR carried.
    pub code: u16,
    /// How far the transfer was ([`Session::progress`]): nothing is to be remembered where another CPU went on with it meanwhile.
    pub was: [u8; 8],
    /// When it was answered: `CLOCK_BOOTTIME`, nanoseconds.
    pub now: u64,
}

impl Answer {
    const NOTHING: Self = Self {
        step: Step::IGNORED,
        is_request: false,
        is_first_answer: false,
        begins: false,
        replaces: false,
        code: 0,
        was: [0; 8],
        now: 0,
    };
}

/// The headers of a datagram that is ours to answer.
#[inline(always)]
pub fn read<P: Packet, T: Tables>(packet: &P, tables: &T, serving: &Serving) -> Result<Datagram, Leave> {
    if serving.listen() == 0 {
        return Err(Leave::NotTftp);
    }
    let datagram = Datagram::of_tftp(packet, serving)?;
    let interface = tables.interface(datagram.vlan).ok_or(Leave::NoInterface)?;
    datagram.is_ours(interface, serving)?;
    Ok(datagram)
}

/// Answers the datagram whose headers [`read`] found: what to do is in `work`.
#[inline(always)]
pub fn answer<P: Summed, T: Tables>(
    packet: &P,
    tables: &T,
    serving: &Serving,
    work: &mut Work,
) -> Result<(), Leave> {
    let datagram = &work.datagram;
    datagram.is_intact(packet, &mut work.room)?;
    let is_request = datagram.destination_port == serving.listen();
    work.key = SessionKey::new(packet.ifindex(), datagram);
    work.answer = match opcode(packet, datagram)? {
        [tftp::opcode::RRQ, _] if is_request => request(packet, tables, serving, work),
        [tftp::opcode::ACK, block] if !is_request => heard(tables, work, Heard::Ack(block)),
        [tftp::opcode::ERROR, code] if !is_request => heard(tables, work, Heard::Error(code)),
        _ => Err(Leave::Opcode),
    }?;
    packet.forget();
    Ok(())
}

/// A packet's first four bytes; what is shorter is none.
#[inline(always)]
fn opcode<P: Packet>(packet: &P, datagram: &Datagram) -> Result<[u16; 2], Leave> {
    if datagram.length < 4 {
        return Err(Leave::Opcode);
    }
    let [a, b, c, d] = packet.read(datagram.payload()).ok_or(Leave::Truncated)?;
    Ok([be16([a, b]), be16([c, d])])
}

#[inline(always)]
fn request<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    serving: &Serving,
    work: &mut Work,
) -> Result<Answer, Leave> {
    let Work { datagram, request, key, before, session, file, ends, oack, .. } = work;
    request.fill(packet, datagram.payload() + 2, datagram.length - 2)?;
    let found = *tables.file_of(&request.file).ok_or(Leave::UnknownFile)?;
    version(tables, found, file)?;
    let interface = tables.interface(datagram.vlan).ok_or(Leave::NoInterface)?;
    let granted = grant(request, serving, interface.mtu(), file.size());
    if granted.window_size > WINDOW_MOST {
        return Err(Leave::Odd);
    }
    let terms = Terms::of(granted);
    let blocks = file.size() / terms.block_size as u32 + 1;
    if blocks > u16::MAX as u32 {
        return Err(Leave::ManyBlocks);
    }
    let (mac, own, port) = (datagram.source_mac, datagram.destination, serving.tid(tables.random()));
    let mut agreed = Agreed { file: found, mac, own, port, blocks: blocks as u16, terms };
    // First: the map may give the entry to another client at any time.
    *before = Session::NONE;
    if let Some(there) = tables.session(key) {
        *before = *there;
    }
    let now = tables.now();
    if before.is_held(mac, now) {
        return Err(Leave::Neighbour);
    }
    let is_same = before.is_of(&agreed);
    if serving.is_tid(before.port()) {
        agreed.port = before.next_port(is_same, port);
    }
    let mut step = session.begin(agreed, now);
    if is_same && before.is_echo(now) || !is_same && before.is_after(&agreed, now) {
        step = Step::IGNORED;
    }
    session.succeed(before, is_same);
    if matches!(step.send, Send::Oack) {
        oack.fill(&granted);
    }
    *ends = Ends::back(datagram, agreed.port);
    let begins = before.ended() || !before.is_that(session);
    let replaces = begins && !before.ended();
    Ok(Answer { step, is_request: true, begins, replaces, now, ..Answer::NOTHING })
}

/// At most what was asked, and what fits.
#[inline(always)]
fn grant(request: &Request, serving: &Serving, mtu: u16, size: u32) -> Granted {
    let fits = min(min(serving.block_size(), BLOCK_MOST), mtu.saturating_sub(HEAD as u16));
    Granted {
        block_size: min(request.block_size, fits),
        // Longer waits are left out (RFC 2349), as userspace does.
        timeout: if request.timeout <= WAIT_MOST { request.timeout } else { 0 },
        transfer_size: if request.transfer_size { Some(size) } else { None },
        window_size: min(request.window_size, serving.window_size()),
    }
}

#[inline(always)]
fn min(a: u16, b: u16) -> u16 {
    if a < b { a } else { b }
}

/// What a client says in a transfer.
#[derive(Clone, Copy, Debug)]
enum Heard {
    Ack(u16),
    Error(u16),
}

/// A transfer's client was heard, or somebody in its name.
#[inline(always)]
fn heard<T: Tables>(tables: &T, work: &mut Work, heard: Heard) -> Result<Answer, Leave> {
    let Work { datagram, key, session, file, ends, .. } = work;
    // First, as above.
    *session = *tables.session(key).ok_or(Leave::UnknownTransfer)?;
    let is_own = session.is_with(datagram.source_mac);
    let is_astray = session.port() != datagram.destination_port;
    if is_own && !is_astray {
        version(tables, session.file, file)?;
    }
    // Not before: what another CPU did meanwhile would lie ahead.
    let now = tables.now();
    let (was_answered, was) = (session.answered(), session.progress());
    // Not to be passed on: an ERROR from userspace would reach the client, whose transfer it is.
    let step = match heard {
        _ if !is_own => Step::IGNORED,
        Heard::Ack(_) if is_astray => session.astray(datagram.destination_port),
        Heard::Error(_) if is_astray => Step::IGNORED,
        Heard::Ack(block) => session.ack(block, now),
        Heard::Error(_) => session.error(),
    };
    // An ERROR is an answer, too: firmware that wanted the size says so (RFC 2349). What was ended by a guess has none.
    let is_first_answer = !was_answered && !is_astray && (session.answered() || session.ended());
    *ends = Ends::back(datagram, datagram.destination_port);
    let code = if let Heard::Error(code) = heard { code } else { 0 };
    Ok(Answer { step, is_first_answer, code, was, now, ..Answer::NOTHING })
}

/// Copies the file, if it is that version still; when the copy is made, too, for userspace may write meanwhile.
#[inline(always)]
fn version<T: Tables>(tables: &T, found: FileRef, copy: &mut File) -> Result<(), Leave> {
    *copy = *tables.file(found.slot()).ok_or(Leave::FileGone)?;
    let after = tables.file(found.slot()).ok_or(Leave::FileGone)?;
    if copy.generation() != found.generation() || after.generation() != found.generation() {
        return Err(Leave::FileGone);
    }
    Ok(())
}

/// Where a block lies in the file, and how long it is: shorter than the others only at the end, down to 0.
#[inline(always)]
pub fn place(block: u16, block_size: u16, size: u32) -> (u32, u16) {
    let offset = (block as u32).wrapping_sub(1).wrapping_mul(block_size as u32);
    let rest = size.saturating_sub(offset);
    (offset, if rest < block_size as u32 { rest as u16 } else { block_size })
}
