//! What goes on, for as long as the one who follows it may.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_stream::Stream;

use super::ApiState;
use super::auth::Caller;

/// Why it ends.
pub(super) const ENDED: &str = "your token was removed, or has expired";

/// A stream that ends with its caller's token, at once, whatever it is waiting for.
pub(super) struct WhileValid {
    stream: Pin<Box<dyn Stream<Item = String> + Send>>,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What is said then; `None`: it was.
    last: Option<String>,
}

impl WhileValid {
    pub(super) fn new(
        state: Arc<ApiState>,
        caller: Caller,
        stream: impl Stream<Item = String> + Send + 'static,
        last: String,
    ) -> Self {
        let ended = Box::pin(async move { caller.ended(&state).await });
        Self { stream: Box::pin(stream), ended, last: Some(last) }
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
