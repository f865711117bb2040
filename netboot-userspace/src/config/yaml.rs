//! A YAML document as a tree in which every value and every key knows its place.
//!
//! Serde's derive stops at the first thing that it can't place; an operator wants to hear everything at once. So the
//! document is read whole into [`Node`]s first, and `reader` asks them for what it knows. Scalars keep the characters
//! as typed: to YAML `005056000001` is a number, to us it is a MAC address.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Where something was typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    /// From 1; 0: unknown.
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl From<Location> for At {
    fn from(location: Location) -> Self {
        Self { line: location.line() as usize, column: location.column() as usize }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    /// A text, without its quotes.
    Text(String),
    /// What YAML takes for a number or a truth, as typed: what is meant, who asks for it knows.
    Plain(String),
    List(Vec<Node>),
    Map(Vec<(String, At, Node)>),
}

impl Node {
    /// The same without places; scalars are texts.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        self.json(&|plain| plain.into())
    }

    /// The same, but numbers and truths are so where they are written as JSON writes them.
    pub(crate) fn to_typed_json(&self) -> serde_json::Value {
        self.json(&|plain| serde_json::from_str(plain).unwrap_or_else(|_| plain.into()))
    }

    fn json(&self, plain: &dyn Fn(&str) -> serde_json::Value) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Text(text) => text.as_str().into(),
            Value::Plain(text) => plain(text),
            Value::List(items) => items.iter().map(|item| item.json(plain)).collect(),
            Value::Map(entries) => {
                entries.iter().map(|(key, _, node)| (key.clone(), node.json(plain))).collect()
            }
        }
    }
}

/// Of nowhere.
impl From<&serde_json::Value> for Node {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let at = At::default();
        let value = match json {
            Json::Null => Value::Null,
            Json::String(text) => Value::Text(text.clone()),
            Json::Bool(_) | Json::Number(_) => Value::Plain(json.to_string()),
            Json::Array(items) => Value::List(items.iter().map(Self::from).collect()),
            Json::Object(entries) => {
                Value::Map(entries.iter().map(|(key, value)| (key.clone(), at, value.into())).collect())
            }
        };
        Self { at, value }
    }
}

impl Value {
    /// Any scalar, as typed.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text) => Some(text),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// What it is, for "expected …, found …".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) | Self::Plain(_) => "a plain value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Reads one document.
///
/// # Errors
/// What YAML itself refuses: where, and why.
pub(crate) fn parse(source: &str) -> Result<Node, (At, String)> {
    if source.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Node { at: At { line: 1, column: 1 }, value: Value::Null });
    }
    let options = serde_saphyr::options! {
        // To YAML the MAC address 52e400123456 is a number beyond all bounds.
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            // A million hosts of ten keys each.
            max_reader_input_bytes: Some(4 << 30),
            max_events: 64_000_000,
            max_nodes: 32_000_000,
            max_total_scalar_bytes: 4 << 30,
        },
    };
    let typed: Typed = serde_saphyr::from_str_with_options(source, options).map_err(|error| {
        let at = error.location().map(At::from).unwrap_or_default();
        let text = error.without_snippet().to_string();
        let line = text.lines().next().unwrap_or_default();
        (at, line.split(" at line ").next().unwrap_or_default().to_owned())
    })?;
    Ok(typed.into_node(source))
}

/// A node on its way in, before plain scalars were looked up in the source.
struct Typed(Spanned<Shape>);

enum Shape {
    Null,
    Text(String),
    /// A number or truth value: its own characters, and how they read.
    Plain(String),
    List(Vec<Typed>),
    Map(Vec<(Spanned<String>, Typed)>),
}

impl Typed {
    fn into_node(self, source: &str) -> Node {
        let defined = self.0.defined;
        let value = match self.0.value {
            Shape::Null => Value::Null,
            Shape::Text(text) => Value::Text(text),
            Shape::Plain(read) => Value::Plain(as_typed(source, defined).unwrap_or(read)),
            Shape::List(items) => Value::List(items.into_iter().map(|item| item.into_node(source)).collect()),
            Shape::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.value, At::from(key.referenced), value.into_node(source)))
                    .collect(),
            ),
        };
        Node { at: At::from(self.0.referenced), value }
    }
}

/// The characters at `location`, without what surrounds a plain scalar.
fn as_typed(source: &str, location: Location) -> Option<String> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let len = usize::try_from(location.span().byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(len)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<Shape>::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Shape, E> {
        Ok(Shape::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Shape::Map(map))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn scalar(source: &str) -> String {
        match parse(source).unwrap().value {
            Value::Map(entries) => {
                let value = &entries[0].2.value;
                value.text().unwrap_or(value.kind()).to_owned()
            }
            other => other.kind().to_owned(),
        }
    }

    #[test]
    fn scalars_keep_their_characters() {
        for typed in ["005056000001", "52e400123456", "0x10", "1_000", "yes", "52:54:00:12:34:56", "1.50"] {
            assert_eq!(scalar(&format!("a: {typed} # comment\n")), typed);
            assert_eq!(scalar(&format!("a: \"{typed}\"\n")), typed);
            assert_eq!(scalar(&format!("{{\"a\": {typed}}}")), typed);
        }
        assert_eq!(scalar("a:\n"), "nothing");
    }

    #[test]
    fn what_json_would_call_a_number_is_one_where_that_is_asked_for() {
        let typed = "[1, -2.5, true, \"1\", a, 005056000001, 52e400123456, 0x10, 1_000, yes, null, {b: [2]}]";
        let node = parse(typed).unwrap();
        let want = serde_json::json!([
            1, -2.5, true, "1", "a", "005056000001", "52e400123456", "0x10", "1_000", "yes", null, { "b": [2] },
        ]);
        assert_eq!(node.to_typed_json(), want);
        let texts = serde_json::json!(["1", "-2.5", "true"]);
        assert_eq!(node.to_json().as_array().unwrap()[..3], texts.as_array().unwrap()[..]);
    }

    #[test]
    fn values_and_keys_know_their_place() {
        let Value::Map(entries) = parse("# x\na: 1\nlist:\n  - b: x\n    c: y\n").unwrap().value else {
            panic!("a mapping");
        };
        assert_eq!((entries[0].1, entries[0].2.at), (At { line: 2, column: 1 }, At { line: 2, column: 4 }));
        let Value::List(items) = &entries[1].2.value else { panic!("a list") };
        let Value::Map(inner) = &items[0].value else { panic!("a mapping") };
        assert_eq!((inner[1].1, inner[1].2.at), (At { line: 5, column: 5 }, At { line: 5, column: 8 }));
    }

    #[test]
    fn bad_yaml_has_a_place() {
        let (at, text) = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(at.line >= 2, "{at:?}");
        assert!(!text.is_empty());
        let (at, _) = parse("a: 1\na: 2\n").unwrap_err();
        assert_eq!(at.line, 2);
    }
}
