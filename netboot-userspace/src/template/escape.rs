//! `html`, `js` and `urlquery`.

use std::fmt::Write;

pub(super) fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => escaped.push('\u{FFFD}'),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}

pub(super) fn js(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => escaped.extend(['\\', c]),
            '<' | '>' | '&' | '=' => coded(&mut escaped, c),
            _ if c.is_control() => coded(&mut escaped, c),
            other => escaped.push(other),
        }
    }
    escaped
}

fn coded(escaped: &mut String, c: char) {
    // Writing to a String can't fail.
    let _ = write!(escaped, "\\u{:04X}", u32::from(c));
}

/// Each byte that is not plain as `%` and two digits (RFC 3986 section 2.1).
pub fn percent(text: &str, is_plain: impl Fn(u8) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            escaped.push(byte.into());
        } else {
            // As above.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// What means nothing in any part of a URL (RFC 3986 section 2.3).
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986's unreserved characters as they are, a space as `+`.
pub(super) fn query(text: &str) -> String {
    percent(text, |byte| byte == b' ' || is_unreserved(byte)).replace(' ', "+")
}
