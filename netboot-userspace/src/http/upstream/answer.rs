//! A request for a file that is not among the engine's: answered from what arrives, or from the shelf, as the engine would.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::middleware::Next;
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use super::Mirror;
use super::body::blocking;
use super::failure::Failure;
use super::flight::{self, Arriving, Asker, Phase};
use super::shelf::{Entry, Held};
use crate::http::conditional::Validators;
use crate::http::digests;
use crate::http::mounts::normalise;
use crate::http::whole::{CHUNK, Facts, Sending, Told, head, of_method, plain, read};

/// How long a client waits for the first byte of what it has asked for: less than clients take for a server that is gone.
const WAIT: Duration = Duration::from_secs(25);
/// How long a client waits for an upstream to say whether its copy is still right.
const PATIENCE: Duration = Duration::from_secs(3);

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
        return Told::new(&mirror.accesses, &request).of(refused);
    }
    let until = tokio::time::Instant::now() + WAIT;
    let late = |what: &str| Failure::late(format!("{name}: {what} within {} s", WAIT.as_secs()));
    let answered = async {
        let via = mirror.way(&request.headers)?;
        let ready = timeout_at(until, mirror.is_known(name)).await;
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
    let answered = answered.await;
    let told = Told::new(&mirror.accesses, &request);
    match answered {
        Ok((source, Some(part), answer)) => with_body(mirror.clone(), source, part, answer, told),
        Ok((_, None, answer)) => told.of(answer),
        Err(failure) => told.of(failed(&failure)),
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
            let validators = Validators::new(etag, modified.unwrap_or_default(), size);
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
    let Some(validators) = file.identity.as_ref().map(Validators::of_copy) else { return Ok(None) };
    let digest = digests::of_hex(&entry.note.sha256);
    let flight = watch::channel(Phase::Kept(entry.clone())).1;
    Ok(Some(Source { file, validators, is_tagged: true, is_dated: true, digest, flight }))
}

fn with_body(
    mirror: Arc<Mirror>,
    source: Source,
    part: (u64, u64),
    answer: Response<Body>,
    told: Told,
) -> Response<Body> {
    let Some(reader) = mirror.readers.admit(told.peer()) else {
        return told.of(failed(&Failure::busy("as many are sent something as may")));
    };
    let (sending, answer) = Sending::new(reader, told, answer, part);
    tokio::spawn(send(mirror, source, part, sending));
    answer
}

/// Sends a part of a file as it arrives; an error breaks the connection off.
async fn send(mirror: Arc<Mirror>, source: Source, (start, end): (u64, u64), mut sending: Sending) {
    let Source { file, mut flight, .. } = source;
    let mut at = start;
    while at < end {
        let reached = tokio::select! {
            reached = flight::reach(&mut flight, at) => reached,
            () = sending.closed() => return,
        };
        let bytes = match reached {
            Ok(Some(there)) => read(&file, at, (there.min(end) - at).min(CHUNK) as usize).await,
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(failure) => Err(io::Error::other(failure)),
        };
        let Some(count) = sending.put(bytes).await else { return };
        mirror.counters.sent.fetch_add(count, Relaxed);
        at += count;
    }
    sending.done();
}

fn failed(failure: &Failure) -> Response<Body> {
    plain(StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY), failure.told())
}
