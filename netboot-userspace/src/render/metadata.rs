//! `/metadata`: what templates know, as lines of an environment file.

use serde_json::{Map, Value};

/// `KEY=value` lines in the order of their keys, which are in upper case. What is nested has the keys that lead to it, joined by `_`;
/// the items of a list have their number. Null has no line.
pub fn lines(data: &Map<String, Value>) -> String {
    let mut lines = Vec::new();
    map("", data, &mut lines);
    lines.sort();
    lines.concat()
}

fn map(prefix: &str, map: &Map<String, Value>, lines: &mut Vec<String>) {
    for (key, value) in map {
        item(&format!("{prefix}{}", name(key)), value, lines);
    }
}

fn item(name: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Bool(truth) => lines.push(format!("{name}={truth}\n")),
        Value::Number(number) => lines.push(format!("{name}={number}\n")),
        Value::String(text) => lines.push(format!("{name}={}\n", text_of(text))),
        Value::Array(list) => {
            let items = list.iter().enumerate();
            items.for_each(|(i, value)| item(&format!("{name}_{i}"), value, lines));
        }
        Value::Object(inside) => map(&format!("{name}_"), inside, lines),
    }
}

/// In upper case. What would end a name, or a line, becomes `_`: a query has any keys that its client likes.
fn name(key: &str) -> String {
    let plain = |c: char| if c == '=' || c.is_whitespace() || c.is_control() { '_' } else { c };
    key.to_uppercase().chars().map(plain).collect()
}

/// As it is; one of several lines in quotes, as systemd's environment files and shells read it.
fn text_of(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' | '`' => quoted.extend(['\\', c]),
            '\n' | '\t' => quoted.push(c),
            _ if c.is_control() => {}
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::render::asked::Asked;
    use serde_json::json;

    /// BC-33: the case of matchbox's own test, in our order.
    #[test]
    fn metadata_selectors_and_the_query_are_lines() {
        let metadata =
            json!({"meta": "data", "etcd": {"name": "node1"}, "some": {"nested": {"data": "some-value"}}});
        let raw = "mac=52-54-00-a1-9c-ae&foo=bar&count=3&gate=true";
        let pairs = raw.split('&').filter_map(|pair| pair.split_once('='));
        let (asked, _) = Asked::new(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(), raw);
        let data = asked
            .data(metadata.as_object().unwrap().clone(), [("mac".to_owned(), json!("52:54:00:a1:9c:ae"))]);
        let want = "ETCD_NAME=node1\nMAC=52:54:00:a1:9c:ae\nMETA=data\nREQUEST_QUERY_COUNT=3\nREQUEST_QUERY_FOO=bar\n\
                    REQUEST_QUERY_GATE=true\nREQUEST_QUERY_MAC=52:54:00:a1:9c:ae\n\
                    REQUEST_RAW_QUERY=mac=52-54-00-a1-9c-ae&foo=bar&count=3&gate=true\nSOME_NESTED_DATA=some-value\n";
        assert_eq!(lines(&data), want);
    }

    #[test]
    fn every_kind_of_value_has_its_line() {
        let cases = [
            (json!({"num": 3}), "NUM=3\n"),
            (json!({"big": 1234567, "half": 0.5}), "BIG=1234567\nHALF=0.5\n"),
            (json!({"yes": true}), "YES=true\n"),
            (json!({"no": false}), "NO=false\n"),
            (json!({"none": null, "empty": ""}), "EMPTY=\n"),
            // matchbox drops lists.
            (json!({"dns": ["10.0.0.1", {"a": 1}]}), "DNS_0=10.0.0.1\nDNS_1_A=1\n"),
            (json!({"hello-world": "a b=c"}), "HELLO-WORLD=a b=c\n"),
        ];
        for (data, want) in cases {
            assert_eq!(lines(data.as_object().unwrap()), want);
        }
    }

    #[test]
    fn no_client_adds_lines_of_its_own() {
        let cases = [
            (json!({"a\nROOT": "x"}), "A_ROOT=x\n"),
            (json!({"a=b c": "x"}), "A_B_C=x\n"),
            (json!({"a": "x\nROOT=\"1\" $HOME\u{1b}"}), "A=\"x\nROOT=\\\"1\\\" \\$HOME\"\n"),
        ];
        for (data, want) in cases {
            assert_eq!(lines(data.as_object().unwrap()), want);
        }
    }
}
