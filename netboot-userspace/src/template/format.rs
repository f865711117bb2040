//! Values as text, as Go's `%v` writes them.

use serde_json::{Number, Value};

/// What an action prints.
pub(super) fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        other => shown(other),
    }
}

/// `%v`
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => self::number(number),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, item)| format!("{key}:{}", shown(item))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// A whole number as it was typed; others as Go's `%g` has them.
fn number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => general(float, None, false),
        _ => number.to_string(),
    }
}

/// Go's `%g`: as few digits as tell the number, or `precision`; large and small ones with an exponent.
pub(super) fn general(float: f64, precision: Option<usize>, keeps_zeros: bool) -> String {
    let scientific = match precision {
        None => format!("{float:e}"),
        Some(precision) => format!("{float:.*e}", precision.max(1) - 1),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = mantissa.chars().filter(char::is_ascii_digit).count();
    let trimmed = if mantissa.contains('.') && !keeps_zeros {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    // strconv: for the shortest form, the threshold is 6.
    let most = precision.map_or(6, |precision| precision.max(1));
    let most = i32::try_from(most).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= most {
        return format!("{trimmed}{}", signed_exponent(exponent));
    }
    let behind = usize::try_from((digits as i32 - 1 - exponent).max(0)).unwrap_or_default();
    let plain = format!("{float:.behind$}");
    if plain.contains('.') && !keeps_zeros {
        plain.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        plain
    }
}

/// `e+06`: two digits at least.
pub(super) fn signed_exponent(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", exponent.unsigned_abs())
}

/// Go's truth: what is not empty, not zero, not null.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// What to call a value's type.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}
