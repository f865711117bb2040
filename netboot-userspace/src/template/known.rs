//! A value while a template is rendered: to hand it on costs nothing, whatever its size.

use std::ops::Deref;
use std::rc::Rc;

use serde_json::Value;

#[derive(Clone, Debug)]
pub(super) enum Known<'a> {
    /// Of what was given, or of the template itself.
    Lent(&'a Value),
    /// By a function.
    Made(Rc<Value>),
}

impl<'a> Known<'a> {
    pub(super) fn made(value: impl Into<Value>) -> Self {
        Self::Made(Rc::new(value.into()))
    }

    /// What `find` finds in it.
    pub(super) fn part(&self, find: impl Fn(&Value) -> Option<&Value>) -> Option<Self> {
        match self {
            Self::Lent(value) => find(value).map(Self::Lent),
            Self::Made(value) => find(value).cloned().map(Self::made),
        }
    }
}

/// How much there is to copy of a value, in the steps of a rendering.
pub(super) fn weight(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len() / 64,
        Value::Array(list) => list.iter().map(weight).sum(),
        Value::Object(map) => map.iter().map(|(key, item)| key.len() / 64 + weight(item)).sum(),
        _ => 0,
    }
}

impl Deref for Known<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        match self {
            Self::Lent(value) => value,
            Self::Made(value) => value,
        }
    }
}
