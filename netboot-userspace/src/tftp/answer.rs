//! Refusals, on the wire and in the report.

use netboot_common::wire::tftp::ErrorCode;

use super::Outcome;
use super::files::Problem;
use super::names::BadName;
use super::upload::Full;
use crate::sys::open::Refusal;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: ErrorCode,
    pub(super) text: &'static str,
    pub(super) outcome: Outcome,
}

impl Answer {
    pub(super) fn refused(code: ErrorCode, text: &'static str) -> Self {
        Self { code, text, outcome: Outcome::Refused(text) }
    }

    pub(super) fn not_found() -> Self {
        Self { code: ErrorCode::NotFound, text: "file not found", outcome: Outcome::NotFound }
    }

    pub(super) fn access_violation() -> Self {
        Self::refused(ErrorCode::AccessViolation, "access violation")
    }

    pub(super) fn illegal() -> Self {
        Self::refused(ErrorCode::IllegalOperation, "illegal operation")
    }
}

impl From<BadName> for Answer {
    fn from(bad: BadName) -> Self {
        match bad {
            BadName::NotAName => Self::not_found(),
            BadName::Climbs => Self::access_violation(),
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::File(Refusal::NotFound) => Self::not_found(),
            Problem::File(Refusal::Forbidden) => Self::access_violation(),
            Problem::File(Refusal::Busy) => Self::refused(ErrorCode::Undefined, "busy"),
            Problem::File(Refusal::Failed(_)) => Self::refused(ErrorCode::Undefined, "the disk fails"),
            Problem::TextTooLarge => Self::refused(ErrorCode::Undefined, "too large for netascii: use octet"),
        }
    }
}

impl From<Full> for Answer {
    fn from(full: Full) -> Self {
        match full {
            Full::Client => Self::refused(ErrorCode::DiskFull, "this client has uploaded as much as it may"),
            Full::Busy => Self::refused(ErrorCode::Undefined, "busy"),
            Full::Disk => Self::refused(ErrorCode::DiskFull, "disk full"),
            Full::Failed(error) => Self {
                code: ErrorCode::Undefined,
                text: "the upload can't be stored",
                outcome: Outcome::Failed(format!("storing it: {error}")),
            },
        }
    }
}
