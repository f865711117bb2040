//! The head of an HTTP request: the same whether it comes whole or in parts, and what its conditions select.

use netboot_userspace::http::conditional::{Selection, Validators, select};
use netboot_userspace::http::head::{MAX_HEAD, Parsed, parse};

pub(crate) fn head(data: &[u8]) {
    let whole = parse(data, 0);
    in_parts(data, &whole);
    match &whole {
        Parsed::Incomplete => assert!(data.len() <= MAX_HEAD + 2, "for ever incomplete"),
        Parsed::Refused(status) => assert!(status.code() >= 400),
        Parsed::Head(head) => {
            assert!(head.len <= data.len());
            assert!(
                head.path
                    .is_none_or(|path| path.starts_with('/') && !path.contains(['?', ' ', '\r', '\n', '\0']))
            );
            for size in [0, 1, 10, u64::MAX] {
                let file = Validators { etag: "\"1-a\"".to_owned(), modified: 1_000_000_000, size };
                for ranges in [false, true] {
                    if let Selection::Part(start, end) = select(&head.conditions, &file, ranges) {
                        assert!(ranges && start < end && end <= size, "{start}..{end} of {size}");
                    }
                }
            }
        }
    }
}

/// Byte by byte: what is decided early is decided for good, and looking at the new bytes only changes nothing.
fn in_parts(data: &[u8], whole: &Parsed<'_>) {
    let step = (data.len() / 64).max(1);
    let mut scanned = 0;
    for length in (0..data.len()).step_by(step) {
        match parse(&data[..length], scanned) {
            Parsed::Incomplete => scanned = length,
            early => return assert_eq!(&early, whole, "of the first {length} bytes"),
        }
    }
    assert_eq!(&parse(data, scanned), whole, "though {scanned} bytes were seen before");
}
