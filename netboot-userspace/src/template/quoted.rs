//! Go's literals: texts, characters and numbers.

use serde_json::{Number, Value};

/// The text of `"…"`, whose quotes are off.
pub(super) fn text(quoted: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        bytes.extend(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], '"', &mut bytes)?;
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| format!("\"{quoted}\" is not UTF-8"))
}

/// The number of `'…'`, whose quotes are off.
pub(super) fn character(quoted: &str) -> Result<Value, String> {
    let malformed = || format!("malformed character constant: '{quoted}'");
    let text = match quoted.strip_prefix('\\') {
        None => quoted.to_owned(),
        Some(escaped) => {
            let mut bytes = Vec::new();
            if !escape(escaped, '\'', &mut bytes).map_err(|_| malformed())?.is_empty() {
                return Err(malformed());
            }
            match (bytes.as_slice(), String::from_utf8(bytes.clone())) {
                (_, Ok(text)) => text,
                ([byte], _) => return Ok(Value::from(*byte)),
                _ => return Err(malformed()),
            }
        }
    };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(Value::from(u32::from(character))),
        _ => Err(malformed()),
    }
}

/// What stands behind a backslash, as bytes; the rest.
fn escape<'a>(rest: &'a str, quote: char, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let simple = |byte: u8| (vec![byte], 1);
    let first = rest.chars().next().ok_or("a text ends with a backslash")?;
    let (made, length) = match first {
        'a' => simple(7),
        'b' => simple(8),
        'f' => simple(12),
        'n' => simple(b'\n'),
        'r' => simple(b'\r'),
        't' => simple(b'\t'),
        'v' => simple(11),
        '\\' => simple(b'\\'),
        _ if first == quote => simple(quote as u8),
        'x' => (vec![coded(rest, 1, 3, 16)? as u8], 3),
        'u' => (scalar(coded(rest, 1, 5, 16)?)?, 5),
        'U' => (scalar(coded(rest, 1, 9, 16)?)?, 9),
        '0'..='7' => {
            let code = coded(rest, 0, 3, 8)?;
            (vec![u8::try_from(code).map_err(|_| format!("\\{code:o} is no byte"))?], 3)
        }
        other => return Err(format!("unknown escape \\{other}")),
    };
    bytes.extend(made);
    Ok(&rest[length..])
}

fn coded(rest: &str, from: usize, to: usize, radix: u32) -> Result<u32, String> {
    let digits = rest.get(from..to).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
    let code = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
    code.ok_or_else(|| format!("an escape needs {} digits of base {radix}", to - from))
}

fn scalar(code: u32) -> Result<Vec<u8>, String> {
    let character = char::from_u32(code).ok_or_else(|| format!("{code:#x} is no character"))?;
    Ok(character.to_string().into_bytes())
}

/// `12`, `-0x1F`, `0b11`, `0o17`, `1_000`, `1.5e3`
pub(super) fn number(text: &str) -> Result<Value, String> {
    let bad = || format!("bad number syntax: {text:?}");
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0b") => (&lower[2..], 2),
        Some("0o") => (&lower[2..], 8),
        _ if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) => {
            (&lower[1..], 8)
        }
        _ => (lower.as_str(), 10),
    };
    if digits.is_empty() || !digits.starts_with(|c: char| c.is_ascii_hexdigit() || c == '.') {
        return Err(bad());
    }
    if radix == 10 && digits.contains(['.', 'e']) {
        let float: f64 = digits.parse().map_err(|_| bad())?;
        let float = if negative { -float } else { float };
        return Number::from_f64(float).map(Value::Number).ok_or_else(bad);
    }
    let whole = i128::from_str_radix(digits, radix).map_err(|_| bad())?;
    let whole = if negative { -whole } else { whole };
    let signed = i64::try_from(whole).map(Value::from);
    signed.or_else(|_| u64::try_from(whole).map(Value::from)).map_err(|_| format!("{text} overflows"))
}
