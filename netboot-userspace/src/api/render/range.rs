//! One range of a body that is made at once (RFC 9110 section 14): `/cloud` is asked for in parts, too (BC-07).

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// What a `Range` field asks of so many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: there is no field, or none that is understood.
    Whole,
    Some(Range<usize>),
    /// 416
    Beyond,
}

/// The `Range` field, if it counts: an answer here has no validator, so that of an `If-Range` is never its own, and all is to be sent
/// (RFC 9110 section 13.1.5).
pub(super) fn field(headers: &HeaderMap) -> Option<&str> {
    let range = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
    range.and_then(|range| range.to_str().ok())
}

pub(super) fn part(field: Option<&str>, length: usize) -> Part {
    let Some(set) = field.and_then(|field| field.strip_prefix("bytes=")) else { return Part::Whole };
    let Some((first, last)) = set.split_once('-') else { return Part::Whole };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    match (number(first.trim()), number(last.trim())) {
        (Some(first), Some(last)) if first > last => Part::Whole,
        (Some(first), _) if first >= length && (last.is_empty() || number(last).is_some()) => Part::Beyond,
        (Some(first), Some(last)) => Part::Some(first..length.min(last.saturating_add(1))),
        (Some(first), None) if last.is_empty() => Part::Some(first..length),
        (None, Some(0)) if first.is_empty() => Part::Beyond,
        (None, Some(_)) if first.is_empty() && length == 0 => Part::Beyond,
        (None, Some(count)) if first.is_empty() => Part::Some(length.saturating_sub(count)..length),
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        let cases = [
            (None, Part::Whole),
            (Some("bytes=0-0"), Part::Some(0..1)),
            (Some("bytes=2-"), Part::Some(2..10)),
            (Some("bytes=2-99999999999999999999"), Part::Some(2..10)),
            (Some("bytes=-3"), Part::Some(7..10)),
            (Some("bytes=-99"), Part::Some(0..10)),
            (Some("bytes=10-"), Part::Beyond),
            (Some("bytes=10-12"), Part::Beyond),
            (Some("bytes=-0"), Part::Beyond),
            (Some("bytes=3-2"), Part::Whole),
            (Some("bytes=0-1,4-5"), Part::Whole),
            (Some("bytes=a-b"), Part::Whole),
            (Some("bytes=1-x"), Part::Whole),
            (Some("bytes="), Part::Whole),
            (Some("lines=1-2"), Part::Whole),
        ];
        for (field, want) in cases {
            assert_eq!(part(field, 10), want, "{field:?}");
        }
        assert_eq!(part(Some("bytes=-1"), 0), Part::Beyond);
    }
}
