//! What goes on, for as long as the one who follows it may.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::http::StatusCode;
use tokio_stream::Stream;

use super::auth::Caller;
use super::{ApiError, ApiState};

/// Followers with a token at once.
const MOST: usize = 64;
/// Of these with the same one.
const EACH: usize = 8;

/// Why it ends.
pub(super) const ENDED: &str = "your token was removed, or has expired";

/// A place for each of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Room(Arc<Mutex<BTreeMap<String, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Room,
    who: Option<String>,
}

impl Room {
    /// By the control socket there is always one.
    ///
    /// # Errors
    /// There is none left.
    pub(super) fn seat(&self, caller: &Caller) -> Result<Seat, ApiError> {
        let (room, full) = (self.clone(), |text| Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)));
        if caller.token.is_none() {
            return Ok(Seat { room, who: None });
        }
        let mut taken = self.lock();
        if taken.get(&caller.who).is_some_and(|own| *own >= EACH) {
            return full(format!("{} follows {EACH} times already", caller.who));
        }
        if taken.values().sum::<usize>() >= MOST {
            return full(format!("{MOST} clients follow already"));
        }
        *taken.entry(caller.who.clone()).or_default() += 1;
        Ok(Seat { room, who: Some(caller.who.clone()) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(who) = &self.who else { return };
        let mut taken = self.room.lock();
        if let Some(own) = taken.get_mut(who) {
            *own -= 1;
            if *own == 0 {
                taken.remove(who);
            }
        }
    }
}

/// A stream that ends with its caller's token, at once, whatever it is waiting for.
pub(super) struct WhileValid {
    stream: Pin<Box<dyn Stream<Item = String> + Send>>,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What is said then; `None`: it was.
    last: Option<String>,
    _seat: Seat,
}

impl WhileValid {
    /// # Errors
    /// Too many follow already.
    pub(super) fn new(
        state: Arc<ApiState>,
        caller: Caller,
        stream: impl Stream<Item = String> + Send + 'static,
        last: String,
    ) -> Result<Self, ApiError> {
        let seat = state.followers.seat(&caller)?;
        let ended = Box::pin(async move { caller.ended(&state).await });
        Ok(Self { stream: Box::pin(stream), ended, last: Some(last), _seat: seat })
    }
}

impl Stream for WhileValid {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.last.is_none() {
            return Poll::Ready(None);
        }
        if self.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(self.last.take().map(Ok));
        }
        self.stream.as_mut().poll_next(context).map(|item| item.map(Ok))
    }
}
