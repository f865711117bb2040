//! What people and programs read: aligned tables, and JSON.

use std::io::{self, Write};

use serde_json::Value;

/// Whoever reads standard output went away, as `head` does: that is its right, and no failure.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(super) struct Closed;

/// Writes to standard output.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let mut out = io::stdout().lock();
    let written = write!(out, "{text}{end}").and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::from(error).context("writing to standard output"),
    })
}

pub(super) fn json(value: &Value) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// A column: its heading, and the key of its values.
pub(super) type Column = (&'static str, &'static str);

/// Rows under headings, each column as wide as its widest value. `none` is what is said where there are no rows.
pub(super) fn table(columns: &[Column], rows: &Value, none: &str) -> String {
    let rows = rows.as_array().map_or(&[] as &[Value], Vec::as_slice);
    if rows.is_empty() {
        return none.to_owned();
    }
    let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let cells = |row: &Value| columns.iter().map(|(_, key)| word(&row[*key])).collect();
    let lines: Vec<Vec<String>> = std::iter::once(headings).chain(rows.iter().map(cells)).collect();
    let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// An object, a line for each key; what is nested, indented.
pub(super) fn lines(value: &Value) -> String {
    let mut text = String::new();
    push_lines(value, 0, &mut text);
    text
}

fn push_lines(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                push_entry(&format!("{indent}{key}:"), value, depth, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                push_entry(&format!("{indent}-"), item, depth, text);
            }
        }
        plain => text.push_str(&format!("{indent}{}\n", word(plain))),
    }
}

fn push_entry(start: &str, value: &Value, depth: usize, text: &mut String) {
    let nested = match value {
        Value::Object(object) => !object.is_empty(),
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    };
    if nested {
        text.push_str(&format!("{start}\n"));
        push_lines(value, depth + 1, text);
    } else {
        text.push_str(&format!("{start} {}\n", word(value)));
    }
}

/// A value in one word or a few; `-` for none.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // A machine's own words must not move the reader's cursor.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(","),
        Value::Object(object) if object.is_empty() => "-".to_owned(),
        Value::Object(object) => {
            object.iter().map(|(key, value)| format!("{key}={}", word(value))).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, of a Unix time; `-` for none.
pub(super) fn date(seconds: &Value) -> String {
    seconds.as_i64().map_or_else(|| word(seconds), crate::http::date::format)
}

/// Bytes, in the unit that leaves one to four digits.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// Seconds, as in `1h02m`, `3m20s`, `42s`.
pub(super) fn seconds(count: u64) -> String {
    match count {
        0..60 => format!("{count}s"),
        60..3600 => format!("{}m{:02}s", count / 60, count % 60),
        _ => format!("{}h{:02}m", count / 3600, count % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_are_aligned() {
        let rows =
            json!([{ "name": "n1", "macs": ["a", "b"], "ip": null }, { "name": "node22", "macs": [] }]);
        assert_eq!(
            table(&[("NAME", "name"), ("MACS", "macs"), ("IP", "ip")], &rows, "none"),
            "NAME    MACS  IP\nn1      a,b   -\nnode22  -     -\n"
        );
        assert_eq!(table(&[("NAME", "name")], &json!([]), "no hosts"), "no hosts");
    }

    #[test]
    fn objects_are_lines() {
        let value = json!({ "a": 1, "b": { "c": "x", "d": [] }, "e": [{ "f": true }] });
        assert_eq!(lines(&value), "a: 1\nb:\n  c: x\n  d: -\ne:\n  -\n    f: true\n");
    }

    #[test]
    fn units() {
        assert_eq!([bytes(5), bytes(1536), bytes(3 << 30)], ["5 B", "1.5 KiB", "3.0 GiB"]);
        assert_eq!([seconds(42), seconds(200), seconds(3725)], ["42s", "3m20s", "1h02m"]);
    }
}
