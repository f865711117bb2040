//! A request for a file that is not among the engine's: answered from what arrives, or from the shelf, as the engine would.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use axum::middleware::Next;
use tokio::sync::{mpsc, watch};
use tokio::time::{timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use super::Mirror;
use super::body::blocking;
use super::failure::Failure;
use super::fetch::Asker;
use super::flight::{self, Arriving, Phase};
use super::shelf::{Entry, Held};
use crate::http::conditional::Validators;
use crate::http::digests;
use crate::http::mounts::normalise;
use crate::http::whole::{Facts, head, of_method, plain, read};
use crate::http::{self, Stage};

/// How long a client waits for the first byte of what it has asked for: less than clients take for a server that is gone.
const WAIT: Duration = Duration::from_secs(25);
/// How long a client waits for an upstream to say whether its copy is still right.
const PATIENCE: Duration = Duration::from_secs(3);
/// Clients that are sent something from here at once, each from buffers of its own, and those of one address.
const READERS: usize = 1024;
const READERS_EACH: usize = READERS / 8;
/// Bytes that are read at once.
const CHUNK: u64 = 64 << 10;

/// What a request is answered from.
struct Source {
    file: Arc<Held>,
    validators: Validators,
    /// Whether a client may know it by its tag: of what arrives there is none yet.
    is_tagged: bool,
    /// Or by its date.
    is_dated: bool,
    /// In base64.
    digest: Option<String>,
    flight: watch::Receiver<Phase>,
}

impl Source {
    fn facts(&self) -> Facts<'_> {
        let Self { validators, is_tagged, is_dated, digest, .. } = self;
        Facts { validators, is_tagged: *is_tagged, is_dated: *is_dated, digest: digest.as_deref() }
    }
}

/// Answers a request that is for an upstream's file.
pub(super) async fn answer(
    State(mirror): State<Arc<Mirror>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let mut normal = String::new();
    let is_well_formed = normalise(request.uri().path(), &mut normal);
    let Some(name) = mirror.name(&normal).filter(|_| is_well_formed) else {
        return next.run(request).await;
    };
    if mirror.is_folder(name).await {
        return next.run(request).await;
    }
    // A body that comes with it says nothing.
    let (request, _) = request.into_parts();
    if let Some(refused) = of_method(&request) {
        Told::new(&mirror, &request, refused.status().as_u16(), None);
        return refused;
    }
    let until = tokio::time::Instant::now() + WAIT;
    let late = |what: &str| Failure::late(format!("{name}: {what} within {} s", WAIT.as_secs()));
    let answered = async {
        let via = mirror.way(&request.headers)?;
        let ready = timeout_at(until, mirror.is_ready()).await;
        ready.map_err(|_| Failure::busy("what was kept is still being looked through"))?;
        let opened = timeout_at(until, open(&mirror, name, &via));
        let mut source = opened.await.map_err(|_| late("not answered"))??;
        let (part, answer) = head(source.facts(), &request, name);
        if let Some((start, _)) = part.filter(|(start, end)| start < end) {
            let there = timeout_at(until, flight::reach(&mut source.flight, start)).await;
            let there = there.map_err(|_| late(&format!("byte {start} is not there")))??;
            if there.is_none() {
                return Err(Failure::ours(format!("{name}: is shorter than it was")));
            }
        }
        Ok((source, part, answer))
    };
    match answered.await {
        Ok((source, part, answer)) => with_body(mirror.clone(), source, part, answer, &request),
        Err(failure) => failed(&mirror, &failure, &request),
    }
}

/// What is there of the file, once its upstream has answered. What is taken away at this very moment is asked for once more.
async fn open(mirror: &Arc<Mirror>, name: &str, via: &str) -> Result<Source, Failure> {
    for _ in 0..2 {
        if let Some(source) = look(mirror, name, via).await? {
            return Ok(source);
        }
    }
    Err(Failure::busy(format!("{name}: is taken away as soon as it is there")))
}

async fn look(mirror: &Arc<Mirror>, name: &str, via: &str) -> Result<Option<Source>, Failure> {
    let copy = mirror.copy(name);
    let mut flight = match (mirror.fresh(name), &copy) {
        (Some(entry), _) => return kept(mirror, &entry).await,
        (None, None) => mirror.flight(name, via, Asker::Client)?,
        (None, Some(entry)) => match mirror.flight(name, via, Asker::Client) {
            Ok(flight) => flight,
            // Whatever keeps us from asking keeps nobody from what there is.
            Err(_) => return kept(mirror, entry).await,
        },
    };
    // Of what may still break, nobody who can have a copy gets half; and without a length, its end looks like a connection that broke.
    let is_enough = |state: &Phase| match state {
        Phase::Asking => false,
        Phase::Arriving(arriving) => copy.is_none() && arriving.known().is_some(),
        _ => true,
    };
    let asked = async { flight.wait_for(is_enough).await.map(|state| state.clone()) };
    let state = match &copy {
        None => asked.await,
        Some(entry) => match timeout(PATIENCE, asked).await {
            Ok(state) => state,
            // What becomes of it is for those who come later.
            Err(_) => return kept(mirror, entry).await,
        },
    };
    match (state.map_err(|_| Failure::ours("its fetching ended"))?, copy) {
        (Phase::Arriving(Arriving { file, total: Some(size), modified, .. }), _) => {
            // No client can have this one.
            let etag = String::from("\n");
            let validators = Validators { etag, modified: modified.unwrap_or_default(), size };
            let (is_tagged, is_dated) = (false, modified.is_some());
            Ok(Some(Source { file, validators, is_tagged, is_dated, digest: None, flight }))
        }
        (Phase::Kept(entry) | Phase::Stale(entry, _), _) => kept(mirror, &entry).await,
        (Phase::Failed(failure) | Phase::Unkept(_, failure), Some(entry)) if !failure.is_gone() => {
            kept(mirror, &entry).await
        }
        (Phase::Failed(failure) | Phase::Unkept(_, failure), _) => Err(failure),
        (Phase::Asking | Phase::Arriving(_), _) => Err(Failure::ours("nobody asks")),
    }
}

/// `None`: it has just been taken away.
async fn kept(mirror: &Mirror, entry: &Arc<Entry>) -> Result<Option<Source>, Failure> {
    mirror.shelf.touch(entry);
    let (shelf, kept) = (mirror.shelf.clone(), entry.clone());
    let Some(file) = blocking(move || shelf.open_body(&kept)).await? else { return Ok(None) };
    let Some(validators) = file.identity.as_ref().map(Validators::of) else { return Ok(None) };
    let digest = digests::of_hex(&entry.note.sha256);
    let flight = watch::channel(Phase::Kept(entry.clone())).1;
    Ok(Some(Source { file, validators, is_tagged: true, is_dated: true, digest, flight }))
}

fn with_body(
    mirror: Arc<Mirror>,
    source: Source,
    part: Option<(u64, u64)>,
    answer: Response<Body>,
    request: &Parts,
) -> Response<Body> {
    let Some((start, end)) = part else {
        Told::new(&mirror, request, answer.status().as_u16(), None);
        return answer;
    };
    let peer = peer(request).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let Some(place) = mirror.readers.admit(peer, READERS_EACH, READERS, &mirror.reading) else {
        return failed(&mirror, &Failure::busy("as many are sent something as may"), request);
    };
    let told = Told::new(&mirror, request, answer.status().as_u16(), part);
    let (to, body) = mpsc::channel(2);
    tokio::spawn(async move {
        send(source, (start, end), to, told).await;
        drop(place);
    });
    answer.map(|_| Body::from_stream(ReceiverStream::new(body)))
}

/// Sends a part of a file as it arrives; an error breaks the connection off.
async fn send(source: Source, (start, end): (u64, u64), to: mpsc::Sender<io::Result<Bytes>>, mut told: Told) {
    let Source { file, mut flight, .. } = source;
    let mut at = start;
    while at < end {
        let reached = tokio::select! {
            reached = flight::reach(&mut flight, at) => reached,
            () = to.closed() => return,
        };
        let there = match reached {
            Ok(Some(there)) => there.min(end),
            Ok(None) => return drop(to.send(Err(io::ErrorKind::UnexpectedEof.into())).await),
            Err(failure) => return drop(to.send(Err(io::Error::other(failure))).await),
        };
        let count = (there - at).min(CHUNK);
        let read = read(&file, at, count as usize).await;
        let is_read = read.is_ok();
        if to.send(read).await.is_err() || !is_read {
            return;
        }
        at += count;
        told.sent(count);
    }
    told.is_done = true;
}

fn failed(mirror: &Arc<Mirror>, failure: &Failure, request: &Parts) -> Response<Body> {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
    Told::new(mirror, request, status.as_u16(), None);
    plain(status, failure.told())
}

fn peer(request: &Parts) -> Option<SocketAddr> {
    request.extensions.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| *peer)
}

/// Tells the observer of the answer when it is dropped.
struct Told {
    mirror: Arc<Mirror>,
    began: Instant,
    event: Option<http::Event>,
    is_done: bool,
}

impl Told {
    fn new(mirror: &Arc<Mirror>, request: &Parts, status: u16, part: Option<(u64, u64)>) -> Self {
        let (path, total) = (request.uri.path().to_owned(), part.map_or(0, |(start, end)| end - start));
        let range = part.filter(|_| status == 206);
        let boot = request.uri.query().and_then(http::head::boot_in);
        let event = peer(request).map(|peer| http::Event {
            peer,
            path,
            boot,
            status,
            bytes: 0,
            total,
            duration: Duration::ZERO,
            range,
            pace: None,
            stage: Stage::Broken,
        });
        Self { mirror: mirror.clone(), began: Instant::now(), event, is_done: part.is_none() }
    }

    fn sent(&mut self, count: u64) {
        self.mirror.counters.sent.fetch_add(count, Relaxed);
        if let Some(event) = &mut self.event {
            event.bytes += count;
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let Some(mut event) = self.event.take() else { return };
        event.duration = self.began.elapsed();
        if self.is_done {
            event.stage = Stage::Done;
            event.total = event.bytes;
        }
        (self.mirror.accesses)(event);
    }
}
