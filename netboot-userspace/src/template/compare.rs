//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`: of numbers, texts and truths.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::format::kind;

/// Whether two values are the same. Nothing is the same as null but null.
pub(super) fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Array(_) | Value::Object(_), _) if !b.is_null() => Err(not_comparable(a)),
        (_, Value::Array(_) | Value::Object(_)) if !a.is_null() => Err(not_comparable(b)),
        (Value::Null, _) | (_, Value::Null) => Ok(a.is_null() && b.is_null()),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Number(a), Value::Number(b)) => Ok(numbers(a, b) == Some(Ordering::Equal)),
        _ => Err(incompatible(a, b)),
    }
}

pub(super) fn less(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a < b),
        (Value::Number(a), Value::Number(b)) => Ok(numbers(a, b) == Some(Ordering::Less)),
        (Value::String(_) | Value::Number(_), Value::String(_) | Value::Number(_)) => Err(incompatible(a, b)),
        _ => Err("invalid type for comparison".to_owned()),
    }
}

/// Whole numbers by all of their digits.
fn numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let whole = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn not_comparable(value: &Value) -> String {
    format!("a {} can't be compared", kind(value))
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", kind(a), kind(b))
}
