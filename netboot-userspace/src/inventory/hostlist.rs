//! Many names in few words: `node[001-200]`, `rack[1-4]n[01-16]`, `a,b[1-3],-b2`. Pure.
//!
//! Lists are read from left to right: what follows a `,` is added, and what follows a `,-` is taken away again (no name
//! begins with `-`). Within brackets stand numbers and ranges of them; several brackets give every combination. A range
//! counts with as many digits as its first number has, where that begins with `0` or both ends have equally many.

mod expand;
mod fold;

pub use expand::{LIMIT, expand};
pub use fold::{fold, fold_to};

/// Why a text is no list of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "{list:?}: {part:?} is no name: it takes letters, digits, `-`, `_`, `.` and brackets, as in node[01-16]"
    )]
    Name { list: String, part: String },
    #[error("{list:?}: a bracket is not closed: write node[01-16]")]
    Open { list: String },
    #[error(
        "{list:?}: {part:?} is no range: write numbers, and ranges that count up, as in [01-16] or [1,3,7-9]"
    )]
    Range { list: String, part: String },
    #[error("{list:?} is {count} names or more: {most} is the most at once")]
    Many { list: String, count: u64, most: u64 },
}
