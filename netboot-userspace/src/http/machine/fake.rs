//! A site without files, for who tries the machine: its unit tests, and what fuzzes it, which has this file by its path.

use std::collections::HashMap;

use super::{Entity, Found, Problem, Site, Validators};

/// Files by path, each of as many bytes; what else is below `/assets/` is not there, and all other paths are somebody else's.
pub(super) struct Fake(HashMap<&'static str, Validators>);

/// A file that has no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named(Validators);

impl Entity for Named {
    fn validators(&self) -> &Validators {
        &self.0
    }

    fn media_type(&self) -> &'static str {
        "application/efi"
    }
}

impl Site for Fake {
    type File = Named;

    fn find(&mut self, path: &str, _: bool) -> Found<Named> {
        match self.0.get(path) {
            Some(validators) => Found::File(Named(validators.clone())),
            None if path == "/assets/busy" => Found::Nothing(Problem::Busy),
            None if path.starts_with("/assets/..") => Found::Nothing(Problem::Malformed),
            None if path.starts_with("/assets/") => Found::Nothing(Problem::Missing),
            None => Found::Elsewhere,
        }
    }
}

/// Two files, of 100 bytes and of none.
pub(super) fn site() -> Fake {
    let file = |size| Validators::new("\"abc\"".into(), 784_111_777, size);
    Fake([("/assets/a", file(100)), ("/assets/empty", file(0))].into())
}
