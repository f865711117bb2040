//! Which part of a file answers a request: preconditions (RFC 9110 section 13) and ranges (section 14). Pure.

use super::date;
use super::head::Conditions;
use crate::sys::open::Identity;

/// What a client can compare its copy with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// A strong entity tag, with its quotes.
    pub etag: String,
    /// Seconds since 1970.
    pub modified: i64,
    /// The same, as [`date::format`] writes it.
    pub date: String,
    /// Bytes.
    pub size: u64,
    /// Whether somebody may have set `modified`: others then can have the same, and an older one may be newer.
    pub is_set: bool,
}

impl Validators {
    /// Two contents of one file differ in size, in a time, or in the inode.
    pub fn of(file: &Identity) -> Self {
        let Identity { inode, size, modified, modified_nanos, changed, changed_nanos, .. } = *file;
        let etag =
            format!("\"{inode:x}-{size:x}-{modified:x}.{modified_nanos:x}-{changed:x}.{changed_nanos:x}\"");
        Self { is_set: modified != changed, ..Self::new(etag, modified, size) }
    }

    /// The same of an upstream's file that is kept: its date is the upstream's word, as it was while the file arrived.
    pub fn of_copy(file: &Identity) -> Self {
        Self { is_set: false, ..Self::of(file) }
    }

    /// `etag`: with its quotes; `modified`: seconds since 1970, which nobody has set.
    pub fn new(etag: String, modified: i64, size: u64) -> Self {
        Self { etag, modified, date: date::format(modified), size, is_set: false }
    }

    /// Whether the date alone tells this content from those before it: not in its very second, in which it could change once more, nor
    /// where the clock is unknown or behind (RFC 9110 section 8.8.2). Who is never told such a date can't come back with it.
    pub fn is_dated(&self, now: Option<i64>) -> bool {
        now.is_some_and(|now| now > self.modified)
    }
}

/// What to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// 200, all of it.
    Whole,
    /// 206, from the first byte to before the second.
    Part(u64, u64),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    NotSatisfiable,
}

/// Applies the conditions in the order of RFC 9110 section 13.2.2. `now`: seconds since 1970, if that is known; `ranges`: whether the
/// method is GET.
pub fn select(conditions: &Conditions<'_>, file: &Validators, now: Option<i64>, ranges: bool) -> Selection {
    let date = |text: &str| date::parse(text, now);
    let unmodified_since = |since: &str| date(since).is_none_or(|since| file.modified <= since);
    let kept = match (conditions.if_match.some(), conditions.if_unmodified_since) {
        (Some(mut lines), _) => lines.any(|tags| lists(tags, &file.etag, true)),
        (None, Some(since)) => unmodified_since(since),
        (None, None) => true,
    };
    if !kept {
        return Selection::PreconditionFailed;
    }
    let known = match (conditions.if_none_match.some(), conditions.if_modified_since) {
        (Some(mut lines), _) => lines.any(|tags| lists(tags, &file.etag, false)),
        // Exactly, as section 13.1.3 allows: what was put back from a backup is older, and another.
        (None, Some(since)) => date(since) == Some(file.modified),
        (None, None) => false,
    };
    if known {
        return Selection::NotModified;
    }
    match conditions.range {
        Some(range) if ranges && conditions.if_range.is_none_or(|copy| is_of(copy, file, now)) => {
            part(range, file.size)
        }
        _ => Selection::Whole,
    }
}

/// Whether the client's copy is of this very content: its strong tag, or exactly its date, if that is strong (section 13.1.5): whoever
/// makes files anew with the date that they had has two contents of one date.
fn is_of(copy: &str, file: &Validators, now: Option<i64>) -> bool {
    let is_strong = file.is_dated(now) && !file.is_set;
    copy == file.etag || (is_strong && date::parse(copy, now) == Some(file.modified))
}

/// Whether a list of tags has ours. A weak tag of ours doesn't exist, so weak comparison only drops their `W/`.
fn lists(tags: &str, etag: &str, strong: bool) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag == etag || (!strong && tag.strip_prefix("W/") == Some(etag)))
}

/// One range is served; several get the whole, and what isn't a range is ignored (section 14.2).
fn part(range: &str, size: u64) -> Selection {
    let Some((unit, set)) = range.split_once('=') else { return Selection::Whole };
    let Some((first, last)) = set.trim().split_once('-').filter(|_| unit.eq_ignore_ascii_case("bytes"))
    else {
        return Selection::Whole;
    };
    let selected = match (position(first), position(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => (first, size),
        (None, Some(suffix)) if first.is_empty() => (size - suffix.min(size), size),
        _ => return Selection::Whole,
    };
    match selected {
        (start, end) if start < end => Selection::Part(start, end),
        _ => Selection::NotSatisfiable,
    }
}

/// Digits only; more than any file has is as good as the most.
fn position(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::head::Lines;
    use super::*;

    fn file() -> Validators {
        Validators::new("\"abc\"".into(), 784_111_777, 100)
    }

    fn lines(tags: Option<&str>) -> Lines<'_> {
        tags.map_or_else(Lines::default, Lines::one)
    }

    /// A minute later.
    const CLOCK: Option<i64> = Some(784_111_837);
    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn rfc9110_3_range() {
        for (range, want) in [
            ("bytes=0-9", Selection::Part(0, 10)),
            ("bytes=90-", Selection::Part(90, 100)),
            ("bytes=-10", Selection::Part(90, 100)),
            ("bytes=-1000", Selection::Part(0, 100)),
            ("Bytes=0-1000", Selection::Part(0, 100)),
            ("bytes=99-18446744073709551615", Selection::Part(99, 100)),
            ("bytes=100-", Selection::NotSatisfiable),
            ("bytes=18446744073709551615-", Selection::NotSatisfiable),
            ("bytes=99999999999999999999-", Selection::NotSatisfiable),
            ("bytes=-0", Selection::NotSatisfiable),
            ("bytes=0-1,2-3", Selection::Whole),
            ("bytes=9-0", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes=--1", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("lines=0-1", Selection::Whole),
            ("bytes", Selection::Whole),
        ] {
            let conditions = Conditions { range: Some(range), ..Conditions::default() };
            assert_eq!(select(&conditions, &file(), CLOCK, true), want, "{range}");
            assert_eq!(select(&conditions, &file(), CLOCK, false), Selection::Whole, "HEAD has no ranges");
        }
        let empty = Validators { size: 0, ..file() };
        let conditions = Conditions { range: Some("bytes=0-"), ..Conditions::default() };
        assert_eq!(select(&conditions, &empty, CLOCK, true), Selection::NotSatisfiable);
    }

    #[test]
    fn rfc9110_4_if_range_wants_a_strong_match() {
        for (if_range, part) in
            [("\"abc\"", true), ("W/\"abc\"", false), ("\"x\"", false), (NOW, true), (BEFORE, false)]
        {
            let conditions =
                Conditions { range: Some("bytes=0-0"), if_range: Some(if_range), ..Conditions::default() };
            let want = if part { Selection::Part(0, 1) } else { Selection::Whole };
            assert_eq!(select(&conditions, &file(), CLOCK, true), want, "{if_range}");
        }
    }

    #[test]
    fn rfc9110_4_a_date_is_strong_once_its_second_is_over() {
        let conditions =
            Conditions { range: Some("bytes=0-0"), if_range: Some(NOW), ..Conditions::default() };
        let modified = file().modified;
        for (now, strong) in
            [(Some(modified + 1), true), (Some(modified), false), (Some(modified - 5), false), (None, false)]
        {
            let want = if strong { Selection::Part(0, 1) } else { Selection::Whole };
            assert_eq!(select(&conditions, &file(), now, true), want, "{now:?}");
            assert_eq!(file().is_dated(now), strong, "{now:?}");
        }
    }

    #[test]
    fn rfc9110_4_a_date_that_somebody_may_have_set_is_not_strong() {
        let conditions =
            Conditions { range: Some("bytes=0-0"), if_range: Some(NOW), ..Conditions::default() };
        for (changed, want) in [(784_111_777, Selection::Part(0, 1)), (784_111_778, Selection::Whole)] {
            let times = Identity { modified: 784_111_777, changed, size: 100, ..Identity::default() };
            assert_eq!(select(&conditions, &Validators::of(&times), CLOCK, true), want, "{changed}");
        }
    }

    #[test]
    fn rfc9110_5_6_7_obsolete_dates_are_dates() {
        for since in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            let conditions = Conditions { if_modified_since: Some(since), ..Conditions::default() };
            assert_eq!(select(&conditions, &file(), CLOCK, true), Selection::NotModified, "{since}");
            let conditions =
                Conditions { range: Some("bytes=0-0"), if_range: Some(since), ..Conditions::default() };
            assert_eq!(select(&conditions, &file(), CLOCK, true), Selection::Part(0, 1), "{since}");
        }
    }

    #[test]
    fn rfc9110_5_if_none_match_before_if_modified_since() {
        for (tags, since, want) in [
            (Some("\"abc\""), None, Selection::NotModified),
            (Some("\"x\", W/\"abc\""), None, Selection::NotModified),
            (Some("*"), None, Selection::NotModified),
            (Some("\"x\""), Some(NOW), Selection::Whole),
            (None, Some(NOW), Selection::NotModified),
            (None, Some(BEFORE), Selection::Whole),
            // What is older than the client's copy was put back: it is no copy of this one.
            (None, Some(AFTER), Selection::Whole),
            (None, Some("nonsense"), Selection::Whole),
        ] {
            let conditions =
                Conditions { if_none_match: lines(tags), if_modified_since: since, ..Conditions::default() };
            assert_eq!(select(&conditions, &file(), CLOCK, true), want, "{tags:?} {since:?}");
        }
    }

    #[test]
    fn failed_preconditions() {
        for (tags, since, want) in [
            (Some("\"abc\""), None, Selection::Whole),
            (Some("W/\"abc\""), None, Selection::PreconditionFailed),
            (None, Some(NOW), Selection::Whole),
            (None, Some(BEFORE), Selection::PreconditionFailed),
        ] {
            let conditions =
                Conditions { if_match: lines(tags), if_unmodified_since: since, ..Conditions::default() };
            assert_eq!(select(&conditions, &file(), CLOCK, true), want, "{tags:?} {since:?}");
        }
    }
}
