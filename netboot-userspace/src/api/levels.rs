//! Which level set which option. Pure: what each level typed in, what is in force and by whom out.

use serde_json::{Map, Value, json};

/// The sections whose keys are layered one by one; all else is one value.
const SECTIONS: [&str; 3] = ["options", "vendor_options", "boot_files"];

/// A level and what it sets, with the keys of the configuration.
pub(super) type Level = (String, Value);

/// Every value in force, with the level that set it and those that it overrules. The nearest level comes last, and wins.
pub(super) fn in_force(levels: &[Level]) -> Value {
    let mut set = Map::new();
    for (level, settings) in levels {
        for (key, value) in flat(settings) {
            let mut over = match set.remove(&key) {
                Some(Value::Object(mut outer)) => {
                    let outer_level = outer.remove("level").unwrap_or_default();
                    let mut over = outer.remove("over").unwrap_or_else(|| json!([]));
                    over.as_array_mut().into_iter().for_each(|over| over.push(outer_level.clone()));
                    over
                }
                _ => json!([]),
            };
            set.insert(key, json!({ "value": value, "level": level, "over": over.take() }));
        }
    }
    set.into()
}

/// `options.routers`, …
fn flat(settings: &Value) -> Vec<(String, Value)> {
    let sections = settings.as_object().into_iter().flatten();
    sections
        .flat_map(|(section, value)| {
            match value.as_object().filter(|_| SECTIONS.contains(&section.as_str())) {
                Some(keys) => {
                    keys.iter().map(|(key, value)| (format!("{section}.{key}"), value.clone())).collect()
                }
                None => vec![(section.clone(), value.clone())],
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_level_wins_key_by_key_and_says_whom_it_overrules() {
        let level = |name: &str, settings| (name.to_owned(), settings);
        let levels = [
            level("site", json!({ "options": { "mtu": "1500", "ntp": "a" }, "pxe_menu": { "prompt": "x" } })),
            level("subnet 10.0.0.0/24", json!({ "options": { "ntp": "b" } })),
            level(
                "host n1",
                json!({ "options": { "ntp": "c" }, "pxe_menu": {}, "boot_files": { "bios": "f" } }),
            ),
        ];
        let set = |value: Value, level: &str, over: &[&str]| json!({ "value": value, "level": level, "over": over });
        assert_eq!(
            in_force(&levels),
            json!({
                "options.mtu": set(json!("1500"), "site", &[]),
                "options.ntp": set(json!("c"), "host n1", &["site", "subnet 10.0.0.0/24"]),
                "pxe_menu": set(json!({}), "host n1", &["site"]),
                "boot_files.bios": set(json!("f"), "host n1", &[]),
            })
        );
        assert_eq!(in_force(&[]), json!({}));
    }
}
