//! Questions to a document that was read as a tree.

use crate::config::yaml::{Node, Value};

/// The entries of a mapping: key, line of the key, value. None of anything else.
pub(super) fn entries(node: &Node) -> impl Iterator<Item = (&str, usize, &Node)> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, at, value)| (key.as_str(), at.line, value))
}

/// The value of a key.
pub(super) fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    entries(node).find(|(name, ..)| *name == key).map(|(.., value)| value)
}

/// The items of a list. None of anything else.
pub(super) fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => &[],
    }
}

/// A scalar; nothing at all is an empty one.
pub(super) fn text(node: &Node) -> Result<&str, String> {
    match &node.value {
        Value::Text(text) | Value::Plain(text) => Ok(text),
        Value::Null => Ok(""),
        other => Err(format!("takes a plain value, not {}", other.kind())),
    }
}

/// A scalar, or a list of them.
pub(super) fn texts(node: &Node) -> Result<Vec<&str>, String> {
    match &node.value {
        Value::List(items) => items.iter().map(text).collect(),
        Value::Null => Ok(Vec::new()),
        _ => text(node).map(|text| vec![text]),
    }
}

/// Nothing, an empty text, an empty list or an empty mapping.
pub(super) fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Text(text) | Value::Plain(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}
