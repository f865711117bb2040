//! Values as an operator types them, in YAML, JSON or a command: kept, so that they are shown again as they were typed.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One value or several. In JSON a lone one stands for itself, and numbers and truths may stand without quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(pub Vec<String>);

/// Values by key.
pub type Typed = BTreeMap<String, Values>;

/// Puts `some` in place of what `all` has under the same keys; `None` takes away.
pub fn merge<V>(all: &mut BTreeMap<String, V>, some: BTreeMap<String, Option<V>>) {
    for (key, value) in some {
        match value {
            Some(value) => all.insert(key, value),
            None => all.remove(&key),
        };
    }
}

impl Values {
    pub fn as_strs(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

impl From<&[&str]> for Values {
    fn from(values: &[&str]) -> Self {
        Self(values.iter().map(|value| (*value).to_owned()).collect())
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, or a list of values")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values(vec![text.to_owned()]))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Values, E> {
        self.visit_str(&truth.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Values, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Values, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Values, A::Error> {
        let mut values = Vec::new();
        while let Some(Values(item)) = items.next_element()? {
            values.extend(item);
        }
        Ok(Values(values))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lone_value_stands_for_itself() {
        let cases = [
            (json!("a"), vec!["a"], json!("a")),
            (json!(["a"]), vec!["a"], json!("a")),
            (json!(["10.0.0.1", 2, true]), vec!["10.0.0.1", "2", "true"], json!(["10.0.0.1", "2", "true"])),
            (json!(-3600), vec!["-3600"], json!("-3600")),
            (json!([]), vec![], json!([])),
        ];
        for (typed, values, shown) in cases {
            let read: Values = serde_json::from_value(typed).unwrap();
            assert_eq!((read.as_strs(), json!(read)), (values, shown));
        }
        assert!(serde_json::from_value::<Values>(json!({ "a": 1 })).is_err());
        assert!(serde_json::from_value::<Values>(json!(1.5)).is_err());
    }
}
