//! Files that many read by one descriptor each, and how many of those there may be.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::open::Identity;

/// The files that somebody has open, each as an `F`. **Invariant:** never more than were allowed at first.
#[derive(Debug)]
pub struct SharedFiles<F> {
    files: HashMap<Identity, Weak<F>>,
    most: usize,
}

impl<F> SharedFiles<F> {
    /// Of so many files.
    pub fn new(most: usize) -> Self {
        Self { files: HashMap::new(), most }
    }

    /// Whether [`SharedFiles::share`] has room for this one.
    pub fn has_room(&mut self, identity: &Identity) -> bool {
        if self.files.get(identity).is_some_and(|file| file.strong_count() > 0) {
            return true;
        }
        self.files.retain(|_, file| file.strong_count() > 0);
        self.files.len() < self.most
    }

    /// The descriptor by which others read this file, or from now on this one; `None`: too many files are open.
    pub fn share(&mut self, identity: Identity, file: F) -> Option<Arc<F>> {
        if let Some(other) = self.files.get(&identity).and_then(Weak::upgrade) {
            return Some(other);
        }
        if !self.has_room(&identity) {
            return None;
        }
        let file = Arc::new(file);
        self.files.insert(identity, Arc::downgrade(&file));
        Some(file)
    }
}
