//! Whether upstreams can be used, by what came of asking them last.

use std::sync::PoisonError;
use std::time::Duration;

use super::Mirror;
use super::failure::Failure;

/// An upstream that does not answer is left alone for so long, while there is a copy.
pub(super) const RETRY: Duration = Duration::from_secs(30);

impl Mirror {
    /// Upstreams that could not be used when they were asked last, a line each.
    pub fn ill(&self) -> Vec<String> {
        let ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        ill.iter().map(|(upstream, cause)| format!("upstream {upstream}: {cause}")).collect()
    }

    /// What came of wanting a file of `first`. `asked`: who had the last word, where anybody was asked.
    pub(super) fn note_health(&self, first: usize, asked: Option<usize>, failure: Option<&Failure>) {
        match failure {
            Some(failure) if failure.is_silent() => self.sources[first].note_silence(Some(RETRY)),
            _ if asked.is_some() => self.sources[first].note_silence(None),
            _ => {}
        }
        let origin = |at: usize| self.sources[at].upstream.origin.to_string();
        let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|at| at != first) {
            // It has sent us on.
            ill.remove(&origin(first));
        }
        let blamed = origin(asked.unwrap_or(first));
        match failure {
            Some(failure) if failure.is_theirs() => drop(ill.insert(blamed, failure.to_string())),
            // Ours to mend, or nobody's.
            Some(failure) if !failure.is_gone() => {}
            _ => drop(ill.remove(&blamed)),
        }
    }
}
