//! Asks a tree of nodes for what it knows, and notes what it finds wrong on the way.

use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::Map;

use super::errors::{Errors, Fault, Source};
use super::yaml::{At, Node, Value};

/// Where a value was typed, and what it is called.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: Rc<Source>,
    pub(super) at: At,
    pub(super) path: String,
}

impl Place {
    pub(super) fn fault(&self, errors: &mut Errors, message: impl Into<String>) {
        errors.push(self.as_fault(message.into()));
    }

    pub(super) fn as_fault(&self, message: String) -> Fault {
        self.source.fault(self.at, &self.path, message)
    }

    pub(super) fn origin(&self) -> String {
        self.source.origin(self.at)
    }

    fn child(&self, at: At, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { source: self.source.clone(), at, path }
    }
}

/// A value, and where it was typed.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// One value that nobody has looked at yet.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) place: Place,
    node: &'a Node,
}

impl<'a> Field<'a> {
    /// The whole document.
    pub(super) fn document(source: Rc<Source>, node: &'a Node) -> Self {
        Self { place: Place { source, at: node.at, path: String::new() }, node }
    }

    /// Whether it is a mapping.
    pub(super) fn is_section(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// Nothing, or a list of nothing.
    pub(super) fn is_empty(&self) -> bool {
        match &self.node.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Text(_) | Value::Plain(_) | Value::Map(_) => false,
        }
    }

    /// A scalar, if it is one.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.node.value.text()
    }

    /// A mapping. Nothing at all is an empty one.
    pub(super) fn section(&self, errors: &mut Errors) -> Option<Section<'a>> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            other => {
                self.place.fault(errors, format!("takes a mapping of keys to values, not {}", other.kind()));
                return None;
            }
        };
        Some(Section { place: self.place.clone(), entries, known: Vec::new() })
    }

    /// A list's items. Nothing at all is an empty one.
    pub(super) fn list(&self, errors: &mut Errors) -> Vec<Field<'a>> {
        match &self.node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(i, node)| {
                    let path = format!("{}[{i}]", self.place.path);
                    Field { place: Place { at: node.at, path, source: self.place.source.clone() }, node }
                })
                .collect(),
            Value::Null => Vec::new(),
            other => {
                self.place.fault(errors, format!("takes a list, not {}", other.kind()));
                Vec::new()
            }
        }
    }

    /// A list's items, or a lone value as a list of one.
    pub(super) fn one_or_more(&self, errors: &mut Errors) -> Vec<Field<'a>> {
        match &self.node.value {
            value if value.text().is_some() => vec![self.clone()],
            _ => self.list(errors),
        }
    }

    /// A scalar, as typed.
    pub(super) fn text(&self, errors: &mut Errors) -> Option<&'a str> {
        let text = self.node.value.text();
        if text.is_none() {
            self.place.fault(errors, format!("takes a plain value, not {}", self.node.value.kind()));
        }
        text
    }

    /// A scalar, as meant; `read` says what would be right.
    pub(super) fn parse<T>(
        &self,
        errors: &mut Errors,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.text(errors)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.place.fault(errors, message);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, errors: &mut Errors, words: &[(&str, T)]) -> Option<T> {
        self.parse(errors, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                format!("{text:?} is not known here: it takes one of {known}")
            })
        })
    }

    /// Whatever it is, as its own reader takes it.
    pub(super) fn entry<T: DeserializeOwned>(&self, errors: &mut Errors) -> Option<T> {
        let read = serde_json::from_value(self.node.to_json());
        read.map_err(|error| self.place.fault(errors, error.to_string())).ok()
    }

    /// A mapping of anything, as JSON.
    pub(super) fn mapping(&self, errors: &mut Errors) -> Option<Map<String, serde_json::Value>> {
        self.section(errors)?;
        match self.node.to_typed_json() {
            serde_json::Value::Object(mapping) => Some(mapping),
            _ => Some(Map::new()),
        }
    }

    /// The entries of a mapping whose keys are the operator's own.
    pub(super) fn pairs(&self, errors: &mut Errors) -> Vec<(&'a str, Field<'a>)> {
        let Some(section) = self.section(errors) else { return Vec::new() };
        let entries = section.entries.iter();
        entries
            .map(|(key, at, node)| (key.as_str(), Field { place: self.place.child(*at, key), node }))
            .collect()
    }
}

/// A mapping whose keys are ours. [`Section::finish`] reports those that nobody took.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) place: Place,
    entries: &'a [(String, At, Node)],
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The value of `key`, if it was typed.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Field<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let (_, _, node) = self.entries.iter().find(|(name, ..)| name == key)?;
        Some(Field { place: self.place.child(node.at, key), node })
    }

    /// The value of `key`, or a fault that names the `example`.
    pub(super) fn required(
        &mut self,
        key: &'static str,
        example: &str,
        errors: &mut Errors,
    ) -> Option<Field<'a>> {
        let field = self.take(key);
        if field.is_none() {
            self.place.fault(errors, format!("`{key}` is missing: add it, as in `{key}: {example}`"));
        }
        field
    }

    /// Reports the keys that were not asked for.
    pub(super) fn finish(self, errors: &mut Errors) {
        for (key, at, _) in self.entries {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let near = self.known.iter().map(|known| (distance(key, known), known)).min();
            let remedy = match near {
                Some((steps, known)) if steps <= 2 => format!("did you mean `{known}`?"),
                _ => format!("known here: {}", self.known.join(", ")),
            };
            self.place.child(*at, key).fault(errors, format!("unknown key `{key}`; {remedy}"));
        }
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let best = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}
