//! What many measurements come to.

use serde_json::{Value, json};

/// The median, and the span of the middle half.
pub(crate) fn summary(values: &[f64]) -> Value {
    json!({ "median": at(values, 0.5), "low": at(values, 0.25), "high": at(values, 0.75), "rounds": values.len() })
}

/// The value below which `share` of all lie.
pub(crate) fn at(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(0.0)
}
