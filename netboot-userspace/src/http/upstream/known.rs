//! What is known of a name before anybody is asked for it: a copy, the configuration's digest, or that it can't be had.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Mirror;
use super::expected::is_list;
use super::failure::Failure;
use super::shelf::Entry;
use crate::config::Upstream;

/// What an upstream does not have, or has wrong, is not asked for again for so long; what stays wrong for twice as long each time. So many
/// names are remembered.
const REFUSED: Duration = Duration::from_secs(5);
const NAMES: usize = 1024;

/// Why a name is not asked for.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    until: Instant,
    pub(super) time: Duration,
    failure: Failure,
}

impl Mirror {
    /// What is on the shelf and need not be asked for.
    pub(super) fn fresh(&self, name: &str) -> Option<Arc<Entry>> {
        self.shelf.find(name).filter(|entry| !self.is_stale(name, entry))
    }

    /// Why it is not asked for now.
    pub(super) fn refusal(&self, name: &str) -> Option<Failure> {
        let refused = self.refused();
        refused
            .get(name)
            .filter(|refused| Instant::now() < refused.until)
            .map(|refused| refused.failure.clone())
    }

    /// For how long it is not asked for again, which is remembered. `longest`: of what stays wrong.
    pub(super) fn refuse(&self, name: &str, longest: Duration, failure: Option<&Failure>) -> Duration {
        let (mut all, now) = (self.refused(), Instant::now());
        let before = all.remove(name);
        let Some(failure) = failure.filter(|failure| failure.is_missing() || failure.is_wrong()) else {
            return Duration::ZERO;
        };
        let again = before.filter(|_| failure.is_wrong()).map(|before| (2 * before.time).min(longest));
        let time = again.unwrap_or(REFUSED).max(REFUSED);
        if all.len() >= NAMES {
            all.retain(|_, refused| now < refused.until);
        }
        if all.len() < NAMES {
            all.insert(name.to_owned(), Refused { until: now + time, time, failure: failure.clone() });
        }
        time
    }

    /// Whether the upstream has to be asked first. What has the configuration's digest is right for ever. Nobody is asked before all that was
    /// kept is known.
    pub(super) fn is_stale(&self, name: &str, entry: &Entry) -> bool {
        let Some((at, upstream)) = self.cache.upstream(name) else { return false };
        let is_left_alone = || entry.is_put_off() || self.sources[at].is_silent() || !*self.ready.borrow();
        is_old(upstream, name, entry) && (pinned(upstream, name).is_some() || !is_left_alone())
    }

    /// Whether it has come to the age at which its upstream is asked.
    pub(super) fn is_old(&self, name: &str, entry: &Entry) -> bool {
        self.cache.upstream(name).is_some_and(|(_, upstream)| is_old(upstream, name, entry))
    }

    /// What may stand in for what its upstream has: not what the configuration's digest speaks against.
    pub(super) fn copy(&self, name: &str) -> Option<Arc<Entry>> {
        let is_right = |entry: &Arc<Entry>| self.pinned(name).is_none_or(|own| *own == entry.note.sha256);
        self.shelf.find(name).filter(is_right)
    }

    /// What would have to be a folder for this name to be one, and is a file: kept, or named as one by the configuration. Otherwise whoever asks
    /// an upstream that answers anything for what is below a kernel would have the kernel's name be a folder here.
    pub(super) fn above<'a>(&self, name: &'a str) -> Option<&'a str> {
        let is_file = |above: &&str| self.shelf.find(above).is_some() || self.is_configured(above);
        name.match_indices('/').map(|(end, _)| &name[..end]).find(is_file)
    }

    /// Whether the configuration says that this is a file.
    fn is_configured(&self, name: &str) -> bool {
        let Some((_, upstream)) = self.cache.upstream(name) else { return false };
        pinned(upstream, name).is_some() || is_list(upstream, name)
    }

    pub(super) fn is_pinned(&self, name: &str) -> bool {
        self.pinned(name).is_some()
    }

    /// The digest that the configuration has for it.
    pub(super) fn pinned(&self, name: &str) -> Option<&String> {
        pinned(self.cache.upstream(name)?.1, name)
    }
}

fn pinned<'a>(upstream: &'a Upstream, name: &str) -> Option<&'a String> {
    upstream.digests.get(name.strip_prefix(&upstream.prefix)?)
}

fn is_old(upstream: &Upstream, name: &str, entry: &Entry) -> bool {
    match pinned(upstream, name) {
        Some(sha256) => *sha256 != entry.note.sha256,
        None => entry.is_old(upstream.check_after.as_secs()),
    }
}
