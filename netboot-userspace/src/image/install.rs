//! The whole path, in three threads with bounded buffers between them:
//!
//! ```text
//! fetch ── 4 × 256 KiB ──► decode ── 12 × 1 MiB, handed back and forth ──► hash and write (the caller's thread)
//! ```
//!
//! Memory at its peak: these 13 MiB, a zstd window of up to 32 MiB, and small change. The disk is opened when the first
//! MiB is there, decoded: a 404, an xz image, or a stream that can't be decoded costs no data.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::decode::{self, decoder};
use super::device::{DEPTH, Device};
use super::digest::Digest;
use super::fetch::{Fetch, FetchError, Policy};
use super::format::{Format, MAGIC_LEN, Unsupported};
use super::http::Url;
use super::protocol::Step;
use super::write::{CHUNK, Chunk, Progress, WriteError, Writer, fits_blocks};
use crate::uring::aligned::Aligned;

/// Strictly more than can be under way and held back (the head, and two that touch the disk's last MiB), so that
/// decoding goes on while the disk is busy.
const BUFFERS: usize = DEPTH as usize + 4;
const PIECE: usize = 256 * 1024;
const PIECES: usize = 4;

/// Where the image comes from.
#[derive(Debug)]
pub enum Source {
    Http(Box<Fetch>),
    File { file: File, path: PathBuf, length: u64 },
}

/// Why the image can't be had, or can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("reading {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error("after {decoded} decoded bytes: {what}")]
    Decode { what: String, decoded: u64 },
    #[error("a raw image of {length} bytes, {want} were announced")]
    Length { length: u64, want: u64 },
}

/// What ended an installation.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What ended an installation, in which step, and what the disk holds now.
#[derive(Debug, thiserror::Error)]
#[error("{cause} ({disk})")]
pub struct Failure {
    pub step: Step,
    pub disk: Progress,
    pub cause: Cause,
}

/// What the caller hears meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    Started(Step),
    /// Bytes of the step that are done; bytes in all, where known.
    Bytes(Step, u64, Option<u64>),
    Done(Step),
    /// For a person: a step down, or something odd that does no harm.
    Note(&'a str),
}

/// What was promised of the image.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub sha256: Digest,
    /// Decompressed bytes.
    pub size: Option<u64>,
}

/// What an installation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub format: Format,
    /// Bytes of the image, decompressed.
    pub size: u64,
    /// How many of them the device zeroed by itself.
    pub zeroed: u64,
    /// Connections after the first one.
    pub resumed: u32,
}

impl Source {
    /// # Errors
    /// [`SourceError::Fetch`].
    pub fn http(url: &Url, policy: Policy) -> Result<Self, SourceError> {
        Ok(Self::Http(Box::new(Fetch::open(url, policy)?)))
    }

    /// # Errors
    /// [`SourceError::File`].
    pub fn file(path: &Path) -> Result<Self, SourceError> {
        let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata.len())));
        let (file, length) = opened.map_err(|source| SourceError::File { path: path.to_owned(), source })?;
        Ok(Self::File { file, path: path.to_owned(), length })
    }

    fn length(&self) -> u64 {
        match self {
            Self::Http(fetch) => fetch.length(),
            Self::File { length, .. } => *length,
        }
    }

    fn cancel(&self) -> Arc<AtomicBool> {
        match self {
            Self::Http(fetch) => fetch.cancel(),
            Self::File { .. } => Arc::default(),
        }
    }

    fn resumed(&self) -> u32 {
        match self {
            Self::Http(fetch) => fetch.resumed(),
            Self::File { .. } => 0,
        }
    }

    /// The next bytes, at least `least` of them unless the source ends before; empty: it has ended.
    fn piece(&mut self, least: usize) -> Result<Vec<u8>, SourceError> {
        let mut piece = vec![0; PIECE];
        let mut filled = 0;
        while filled < least {
            let n = match self {
                Self::Http(fetch) => fetch.read(&mut piece[filled..])?,
                Self::File { file, path, .. } => {
                    let read = file.read(&mut piece[filled..]);
                    read.map_err(|source| SourceError::File { path: path.clone(), source })?
                }
            };
            if n == 0 {
                break;
            }
            filled += n;
        }
        piece.truncate(filled);
        Ok(piece)
    }
}

/// Writes the image from `source` onto the device that `open` opens, proves it, and writes its head.
///
/// # Errors
/// [`Failure`]: the step, the cause, and what the disk holds.
pub fn install<D: Device>(
    mut source: Source,
    expected: Expected,
    open: impl FnOnce() -> Result<D, WriteError>,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, Failure> {
    observe(Event::Started(Step::Write));
    let mut disk = Progress::Untouched;
    let fail = |step, disk, cause| Failure { step, disk, cause };
    let prepared = prepare(&mut source, expected).map_err(|e| fail(Step::Write, disk, e.into()))?;
    let format = prepared.format;
    let (writer, resumed) = write_body(source, prepared, open, &mut disk, observe)
        .map_err(|cause| fail(Step::Write, disk, cause))?;
    let written = writer.finish(expected.sha256).map_err(|e| fail(Step::Write, disk, e.into()))?;
    observe(Event::Done(Step::Write));

    observe(Event::Started(Step::Verify));
    let total = match disk {
        Progress::Body { written } => Some(written),
        _ => None,
    };
    let verified = written
        .verify(|done| observe(Event::Bytes(Step::Verify, done, total)))
        .map_err(|e| fail(Step::Verify, disk, e.into()))?;
    observe(Event::Done(Step::Verify));

    observe(Event::Started(Step::Head));
    let complete = verified.write_head().map_err(|e| fail(Step::Head, e.disk, e.cause.into()))?;
    if let Err(error) = &complete.reread {
        observe(Event::Note(&format!("the kernel did not read the new partition table ({error})")));
    }
    observe(Event::Done(Step::Head));
    Ok(Summary { format, size: complete.size, zeroed: complete.zeroed, resumed })
}

/// The source's first bytes, and what they say.
struct Prepared {
    format: Format,
    start: Vec<u8>,
    size: Option<u64>,
}

fn prepare(source: &mut Source, expected: Expected) -> Result<Prepared, SourceError> {
    let start = source.piece(MAGIC_LEN)?;
    let format = Format::of(&start)?;
    let length = source.length();
    let size = match (format, expected.size) {
        (Format::Raw, Some(want)) if want != length => return Err(SourceError::Length { length, want }),
        (Format::Raw, _) => Some(length),
        (_, announced) => announced,
    };
    Ok(Prepared { format, start, size })
}

fn write_body<D: Device>(
    mut source: Source,
    prepared: Prepared,
    open: impl FnOnce() -> Result<D, WriteError>,
    disk: &mut Progress,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<(Writer<D>, u32), Cause> {
    let Prepared { format, start, size } = prepared;
    let cancel = source.cancel();
    std::thread::scope(|scope| {
        let (pieces_in, pieces) = sync_channel(PIECES);
        let (chunks_in, chunks) = sync_channel(BUFFERS);
        let (free_in, free) = channel();
        for _ in 0..BUFFERS {
            let _ = free_in.send(Aligned::zeroed(CHUNK));
        }
        let fetching = scope.spawn(move || {
            fetch(&mut source, &pieces_in);
            source.resumed()
        });
        scope.spawn(move || decode(format, start, pieces, &chunks_in, &free));
        let writer = take_chunks(open, chunks, free_in, size, disk, observe)
            .inspect_err(|_| cancel.store(true, Ordering::Relaxed))?;
        let resumed = fetching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((writer, resumed))
    })
}

type Decoded = Result<Chunk, SourceError>;

/// Opens the disk when the first chunk is there. Both channel ends are dropped on return, which ends the other
/// threads.
fn take_chunks<D: Device>(
    open: impl FnOnce() -> Result<D, WriteError>,
    chunks: Receiver<Decoded>,
    free: Sender<Aligned>,
    size: Option<u64>,
    disk: &mut Progress,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Writer<D>, Cause> {
    let first = chunks.recv().map_err(|_| WriteError::Empty)??;
    let device = open()?;
    fits_blocks(&device, &first)?;
    let mut writer = Writer::begin(device, size).inspect_err(|error| {
        // Its first write may have happened, or a part of it.
        if matches!(error, WriteError::Io { .. }) {
            *disk = Progress::HeadUnknown;
        }
    })?;
    *disk = writer.progress();
    for chunk in std::iter::once(Ok(first)).chain(chunks) {
        writer.push(chunk?)?;
        *disk = writer.progress();
        for buffer in writer.take_free() {
            let _ = free.send(buffer);
        }
        for line in writer.steps_down() {
            observe(Event::Note(&line));
        }
        if let Progress::Body { written } = *disk {
            observe(Event::Bytes(Step::Write, written, size));
        }
    }
    Ok(writer)
}

fn fetch(source: &mut Source, pieces: &SyncSender<Result<Vec<u8>, SourceError>>) {
    loop {
        let piece = source.piece(1);
        let last = piece.as_ref().map_or(true, Vec::is_empty);
        if pieces.send(piece).is_err() || last {
            return;
        }
    }
}

fn decode(
    format: Format,
    start: Vec<u8>,
    pieces: Receiver<Result<Vec<u8>, SourceError>>,
    chunks: &SyncSender<Decoded>,
    free: &Receiver<Aligned>,
) {
    let mut fault = None;
    let mut decoded = 0;
    let input = Pieces { current: start, at: 0, pieces, ended: false, fault: &mut fault };
    let result = decode_chunks(format, input, &mut decoded, chunks, free);
    let error = match (fault, result) {
        (Some(fault), _) => fault,
        (None, Err(error)) => SourceError::Decode { what: decode::explain(format, &error), decoded },
        (None, Ok(())) => return,
    };
    let _ = chunks.send(Err(error));
}

/// `Ok` also when the writer has gone.
fn decode_chunks(
    format: Format,
    input: Pieces<'_>,
    decoded: &mut u64,
    chunks: &SyncSender<Decoded>,
    free: &Receiver<Aligned>,
) -> io::Result<()> {
    let mut reader = decoder(format, input)?;
    while let Ok(mut buffer) = free.recv() {
        let len = decode::fill(&mut reader, &mut buffer[..CHUNK])?;
        *decoded += len as u64;
        if len == 0 || chunks.send(Ok(Chunk { buffer, len })).is_err() || len < CHUNK {
            break;
        }
    }
    Ok(())
}

/// The fetched pieces as a stream. A fault of the source's is kept aside: decoders would only see an I/O error.
struct Pieces<'a> {
    current: Vec<u8>,
    at: usize,
    pieces: Receiver<Result<Vec<u8>, SourceError>>,
    ended: bool,
    fault: &'a mut Option<SourceError>,
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() && !self.ended {
            match self.pieces.recv() {
                Ok(Ok(piece)) => {
                    self.ended = piece.is_empty();
                    (self.current, self.at) = (piece, 0);
                }
                Ok(Err(fault)) => {
                    self.ended = true;
                    *self.fault = Some(fault);
                }
                Err(_) => self.ended = true,
            }
        }
        if self.fault.is_some() {
            return Err(io::Error::other("the source failed"));
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
