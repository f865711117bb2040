//! What several levels say of one machine, put together: group, then profile, then host. The nearer level wins, value by value, and
//! each value knows which level set it. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::group::Group;
use super::{Host, Profile};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// `group`, `profile` or `host`.
    pub level: &'static str,
    pub name: String,
    /// `file:line`, or `store`.
    pub at: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.level, self.name, self.at)
    }
}

/// One value of many, and who set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Set {
    /// The keys that lead to it, with dots between them.
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

/// What the levels say of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layered {
    metadata: BTreeMap<String, Node>,
    cmdline: Vec<(String, Arc<Origin>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Value(Value, Arc<Origin>),
    Map(BTreeMap<String, Node>),
}

impl Layered {
    /// Of the levels that there are.
    pub fn of(group: Option<&Group>, profile: Option<&Profile>, host: Option<&Host>) -> Self {
        let mut layered = Self::default();
        if let Some(Group { name, origin, cmdline, metadata, .. }) = group {
            layered.add("group", name, origin, cmdline, metadata);
        }
        if let Some(profile) = profile {
            layered.add("profile", &profile.name, &profile.origin, profile.cmdline(), &profile.metadata);
        }
        if let Some(Host { name, origin, cmdline, metadata, .. }) = host {
            layered.add("host", name, origin, cmdline, metadata);
        }
        layered
    }

    /// A nearer level.
    fn add(
        &mut self,
        level: &'static str,
        name: &str,
        at: &str,
        cmdline: &str,
        metadata: &Map<String, Value>,
    ) {
        let origin = Arc::new(Origin { level, name: name.to_owned(), at: at.to_owned() });
        merge(&mut self.metadata, metadata, &origin);
        if !cmdline.is_empty() {
            self.cmdline.push((cmdline.to_owned(), origin));
        }
    }

    /// What templates are filled in with.
    pub fn metadata(&self) -> Map<String, Value> {
        to_json(&self.metadata)
    }

    /// Each value of it with its origin, by key, in order.
    pub fn values(&self) -> Vec<Set> {
        let mut values = Vec::new();
        leaves("", &self.metadata, &mut values);
        values
    }

    /// The kernel's arguments: those of every level, the nearest last, which is the one that a kernel obeys.
    pub fn cmdline(&self) -> String {
        let parts: Vec<&str> = self.cmdline.iter().map(|(part, _)| part.as_str()).collect();
        parts.join(" ")
    }

    /// The same, level by level.
    pub fn cmdline_parts(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.cmdline.iter().map(|(part, origin)| (part.as_str(), &**origin))
    }
}

/// Key by key, as deep as both are mappings. A null takes away what an outer level set.
fn merge(base: &mut BTreeMap<String, Node>, over: &Map<String, Value>, origin: &Arc<Origin>) {
    for (key, value) in over {
        match value {
            Value::Null => drop(base.remove(key)),
            Value::Object(inner) => {
                let node = base.entry(key.clone()).or_insert_with(|| Node::Map(BTreeMap::new()));
                if let Node::Value(..) = node {
                    *node = Node::Map(BTreeMap::new());
                }
                if let Node::Map(base) = node {
                    merge(base, inner, origin);
                }
            }
            value => drop(base.insert(key.clone(), Node::Value(value.clone(), origin.clone()))),
        }
    }
}

fn to_json(nodes: &BTreeMap<String, Node>) -> Map<String, Value> {
    let value = |node: &Node| match node {
        Node::Value(value, _) => value.clone(),
        Node::Map(inner) => Value::Object(to_json(inner)),
    };
    nodes.iter().map(|(key, node)| (key.clone(), value(node))).collect()
}

fn leaves(path: &str, nodes: &BTreeMap<String, Node>, found: &mut Vec<Set>) {
    for (key, node) in nodes {
        let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match node {
            Node::Map(inner) => leaves(&key, inner, found),
            Node::Value(value, origin) => {
                found.push(Set { key, value: value.clone(), origin: Origin::clone(origin) });
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layered(levels: &[(&'static str, &str, Value)]) -> Layered {
        let mut layered = Layered::default();
        for (level, cmdline, metadata) in levels {
            layered.add(level, "x", &format!("{level}.yaml:1"), cmdline, metadata.as_object().unwrap());
        }
        layered
    }

    #[test]
    fn nested_values_are_merged_key_by_key_and_know_who_set_them() {
        let layered = layered(&[
            ("group", "", json!({ "a": 1, "net": { "dns": ["1"], "ntp": "g" }, "plain": "g", "gone": 1 })),
            ("profile", "", json!({ "net": { "ntp": "p", "mtu": 9000 }, "plain": { "now": "a map" } })),
            ("host", "", json!({ "net": { "dns": ["2", "3"] }, "gone": null, "none": { "at": null } })),
        ]);
        let want = json!({
            "a": 1,
            "net": { "dns": ["2", "3"], "ntp": "p", "mtu": 9000 },
            "plain": { "now": "a map" },
            "none": {},
        });
        assert_eq!(Value::Object(layered.metadata()), want);
        let found: Vec<(String, &str)> =
            layered.values().into_iter().map(|set| (set.key, set.origin.level)).collect();
        let want = [
            ("a", "group"),
            ("net.dns", "host"),
            ("net.mtu", "profile"),
            ("net.ntp", "profile"),
            ("plain.now", "profile"),
        ];
        assert_eq!(found, want.map(|(key, level)| (key.to_owned(), level)));
        assert_eq!(layered.values()[0].origin.to_string(), "group x (group.yaml:1)");
    }

    #[test]
    fn the_nearest_levels_arguments_come_last() {
        let none = json!({});
        let layered = layered(&[
            ("group", "console=tty0", none.clone()),
            ("profile", "quiet", none.clone()),
            ("host", "console=ttyS0", none),
        ]);
        assert_eq!(layered.cmdline(), "console=tty0 quiet console=ttyS0");
        let levels: Vec<&str> = layered.cmdline_parts().map(|(_, origin)| origin.level).collect();
        assert_eq!(levels, ["group", "profile", "host"]);
    }
}
