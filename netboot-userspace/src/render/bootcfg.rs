//! The data folder of bootcfg's first epoch: `boot/` and `cloud/`, each with `uuid/UUID`, `mac/MAC` and `default`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Boot;

/// Where a machine's file may be, in that order (BC-02).
pub fn places(folder: &str, uuid: Option<&str>, mac: Option<&str>) -> Vec<String> {
    let mut places = Vec::new();
    // A name from the network: one part of a path, and no hidden one.
    let is_name = |uuid: &&str| !uuid.is_empty() && !uuid.starts_with('.') && !uuid.contains(['/', '\0']);
    places.extend(uuid.filter(is_name).map(|uuid| format!("{folder}/uuid/{uuid}")));
    places.extend(mac.map(|mac| format!("{folder}/mac/{mac}")));
    places.push(format!("{folder}/default"));
    places
}

#[derive(Debug, Deserialize)]
struct Typed {
    kernel: String,
    #[serde(default)]
    initrd: Vec<String>,
    #[serde(default)]
    cmdline: BTreeMap<String, String>,
}

/// A boot configuration, whose arguments come in the order of their keys; an empty value is a bare key (BC-03).
///
/// # Errors
/// It is none.
pub fn boot(json: &str) -> Result<Boot, String> {
    let Typed { kernel, initrd, cmdline } = object(json)?;
    Ok(Boot { kernel, initrd, args: arguments(&cmdline) })
}

/// A JSON object, and not the list of its values that serde takes for it, too.
pub(super) fn object<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let object: Map<String, Value> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

pub(super) fn arguments(cmdline: &BTreeMap<String, String>) -> Vec<String> {
    let word = |(key, value): (&String, &String)| {
        if value.is_empty() { key.clone() } else { format!("{key}={value}") }
    };
    cmdline.iter().map(word).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::render::loaders;

    /// BC-02.
    #[test]
    fn a_machines_file_is_looked_for_by_uuid_then_mac_then_default() {
        let mac = Some("52:54:00:ab:cd:ef");
        let cases: &[(Option<&str>, Option<&str>, &[&str])] = &[
            (Some("A1"), mac, &["boot/uuid/A1", "boot/mac/52:54:00:ab:cd:ef", "boot/default"]),
            (None, mac, &["boot/mac/52:54:00:ab:cd:ef", "boot/default"]),
            (Some(""), None, &["boot/default"]),
            (Some("../../etc/passwd"), None, &["boot/default"]),
            (Some(".."), None, &["boot/default"]),
            (None, None, &["boot/default"]),
        ];
        for (uuid, mac, want) in cases {
            assert_eq!(places("boot", *uuid, *mac), *want, "{uuid:?} {mac:?}");
        }
    }

    /// BC-03, BC-05.
    #[test]
    fn a_boot_configuration_becomes_a_script() {
        let json = r#"{"kernel": "/image/kernel", "initrd": ["/image/initrd_a", "/image/initrd_b"], "cmdline": {"c": "", "a": "b"}}"#;
        let golden =
            "#!ipxe\nkernel /image/kernel a=b c\ninitrd /image/initrd_a\ninitrd /image/initrd_b\nboot\n";
        assert_eq!(loaders::ipxe(&boot(json).unwrap(), false), golden);
        for wrong in ["", "{", "{}", r#"{"kernel": 1}"#, r#"{"kernel": "k", "cmdline": "a=b"}"#] {
            assert!(boot(wrong).is_err(), "{wrong}");
        }
    }
}
