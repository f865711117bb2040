//! `printf`: Go's verbs, flags, widths and precisions. A number is a number: `%d` and `%f` take any that has that form.

use serde_json::Value;

use super::OUTPUT;
use super::format::{general, kind, shown, signed_exponent};
use super::known::Known;

/// The widest field.
const WIDEST: usize = 4096;

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub(super) fn printf(arguments: &[Known<'_>]) -> Result<String, String> {
    let Some((format, values)) = arguments.split_first() else {
        return Err("wrong number of args: want at least 1, got 0".to_owned());
    };
    let Value::String(format) = &**format else { return Err(format!("a {} is no format", kind(format))) };
    let (mut out, mut rest, mut values) = (String::new(), format.as_str(), values.iter());
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (spec, verb, behind) = read(&rest[at + 1..], &mut values)?;
        rest = behind;
        out.push_str(&match verb {
            None => "%!(NOVERB)".to_owned(),
            Some('%') => "%".to_owned(),
            Some(verb) => match values.next() {
                Some(value) => formatted(value, verb, spec),
                None => format!("%!{verb}(MISSING)"),
            },
        });
        within(&out)?;
    }
    out.push_str(rest);
    let extra = values.len();
    for (i, value) in values.enumerate() {
        out.push_str(if i == 0 { "%!(EXTRA " } else { ", " });
        out.push_str(&format!("{}={}", kind(value), shown(value)));
        within(&out)?;
    }
    out.push_str(if extra > 0 { ")" } else { "" });
    Ok(out)
}

fn within(out: &str) -> Result<(), String> {
    if out.len() > OUTPUT { Err(format!("makes more than {OUTPUT} bytes")) } else { Ok(()) }
}

/// What stands behind `%`: flags, width, precision, verb; the rest.
fn read<'f, 'v, 'a: 'v>(
    text: &'f str,
    values: &mut impl Iterator<Item = &'v Known<'a>>,
) -> Result<(Spec, Option<char>, &'f str), String> {
    let mut spec = Spec::default();
    let flags = text.len() - text.trim_start_matches(['-', '+', '#', ' ', '0']).len();
    for flag in text[..flags].chars() {
        match flag {
            '-' => spec.minus = true,
            '+' => spec.plus = true,
            '#' => spec.sharp = true,
            ' ' => spec.space = true,
            _ => spec.zero = true,
        }
    }
    let (width, mut rest) = count(&text[flags..], values)?;
    spec.width = width;
    if let Some(behind) = rest.strip_prefix('.') {
        let (precision, behind) = count(behind, values)?;
        spec.precision = Some(precision.unwrap_or(0));
        rest = behind;
    }
    spec.zero &= !spec.minus;
    let verb = rest.chars().next();
    Ok((spec, verb, &rest[verb.map_or(0, char::len_utf8)..]))
}

/// A number, or `*`: the next argument is it.
fn count<'f, 'v, 'a: 'v>(
    text: &'f str,
    values: &mut impl Iterator<Item = &'v Known<'a>>,
) -> Result<(Option<usize>, &'f str), String> {
    let (count, rest) = match text.strip_prefix('*') {
        Some(rest) => {
            let count = values.next().and_then(|value| value.as_u64());
            (Some(count.ok_or("a width of * takes a whole number")?), rest)
        }
        None => {
            let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
            let digits = &text[..text.len() - rest.len()];
            (if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(u64::MAX)) }, rest)
        }
    };
    match count {
        Some(count) if count > WIDEST as u64 => Err(format!("a width of more than {WIDEST}")),
        count => Ok((count.map(|count| count as usize), rest)),
    }
}

fn formatted(value: &Value, verb: char, spec: Spec) -> String {
    let text = match (verb, value) {
        ('v', Value::Number(number)) if number.is_f64() => float(value, 'g', spec),
        ('v', Value::Number(_)) => whole(value, 'd', spec),
        ('v', Value::String(text)) if spec.sharp => Some(quoted(text)),
        ('v', Value::String(text)) | ('s', Value::String(text)) => {
            return padded(&cut(text, spec), spec, false);
        }
        ('v' | 's', Value::Array(_) | Value::Object(_)) | ('v', _) => Some(shown(value)),
        ('t', Value::Bool(truth)) => Some(truth.to_string()),
        ('T', _) => Some(kind(value).to_owned()),
        ('q', Value::String(text)) => Some(quoted(&cut(text, spec))),
        ('x' | 'X', Value::String(text)) => Some(hex(text, verb)),
        ('c', Value::Number(number)) => {
            let code = number.as_u64().and_then(|code| u32::try_from(code).ok());
            Some(code.and_then(char::from_u32).unwrap_or('\u{FFFD}').to_string())
        }
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X', Value::Number(_)) => whole(value, verb, spec),
        ('f' | 'F' | 'e' | 'E' | 'g' | 'G', Value::Number(_)) => float(value, verb, spec),
        (_, Value::Array(list)) => {
            let mut items = String::from("[");
            for (i, item) in list.iter().enumerate() {
                items.push_str(if i == 0 { "" } else { " " });
                items.push_str(&formatted(item, verb, spec));
                // What is too much is refused as it stands.
                if items.len() > OUTPUT {
                    break;
                }
            }
            return items + "]";
        }
        _ => None,
    };
    match text {
        Some(text) => padded(&text, spec, value.is_number()),
        None if value.is_null() => format!("%!{verb}(<nil>)"),
        None => format!("%!{verb}({}={})", kind(value), shown(value)),
    }
}

/// A precision cuts a text, in characters.
fn cut(text: &str, spec: Spec) -> String {
    text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect()
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn hex(text: &str, verb: char) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    if verb == 'X' { digits.to_uppercase() } else { digits }
}

/// `None`: the number is not whole.
fn whole(value: &Value, verb: char, spec: Spec) -> Option<String> {
    let number = match value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from)) {
        Some(number) => number,
        None => value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e18)? as i128,
    };
    let digits = number.unsigned_abs();
    let digits = match verb {
        'b' => format!("{digits:b}"),
        'o' => format!("{}{digits:o}", if spec.sharp { "0" } else { "" }),
        'O' => format!("0o{digits:o}"),
        'x' => format!("{}{digits:x}", if spec.sharp { "0x" } else { "" }),
        'X' => format!("{}{digits:X}", if spec.sharp { "0X" } else { "" }),
        _ => digits.to_string(),
    };
    let digits = format!("{digits:0>least$}", least = spec.precision.unwrap_or(0));
    Some(format!("{}{digits}", sign(number < 0, spec)))
}

const fn sign(negative: bool, spec: Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn float(value: &Value, verb: char, spec: Spec) -> Option<String> {
    let float = value.as_f64()?;
    let size = float.abs();
    let text = match verb {
        'f' | 'F' => format!("{size:.*}", spec.precision.unwrap_or(6)),
        'e' | 'E' => {
            let text = format!("{size:.*e}", spec.precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e')?;
            format!("{mantissa}{}", signed_exponent(exponent.parse().ok()?))
        }
        _ => general(size, spec.precision, spec.sharp),
    };
    let text = if verb.is_uppercase() { text.to_uppercase() } else { text };
    Some(format!("{}{text}", sign(float.is_sign_negative(), spec)))
}

/// In characters; zeros go behind the sign of a number.
fn padded(text: &str, spec: Spec, is_number: bool) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if !spec.zero {
        return format!("{}{text}", " ".repeat(missing));
    }
    let signed = is_number && text.starts_with(['+', '-', ' ']);
    let (sign, digits) = text.split_at(usize::from(signed));
    format!("{sign}{}{digits}", "0".repeat(missing))
}
