//! What a configuration must be before a machine is given it.

use serde_json::Value;

use crate::config::yaml;

/// Cloud-config, or a script (BC-31).
///
/// # Errors
/// It is neither, or no YAML.
pub fn check_cloud(text: &str) -> Result<(), String> {
    if text.starts_with("#!") {
        return Ok(());
    }
    let first = text.lines().next().unwrap_or_default().trim_end();
    if first != "#cloud-config" {
        return Err("is neither cloud-config, whose first line is `#cloud-config`, nor a script, which begins with `#!`".into());
    }
    match yaml::parse(text) {
        Ok(_) => Ok(()),
        // What is wrong would quote what stands there.
        Err((at, _)) => Err(format!("is cloud-config, but no YAML: see line {}", at.line)),
    }
}

/// Whether a file's name says that it is Ignition's JSON; others are templates of Butane (BC-30).
pub fn is_ignition(name: &str) -> bool {
    name.ends_with(".ign") || name.ends_with(".ignition")
}

/// An Ignition configuration: JSON that says its version.
///
/// # Errors
/// It is no such thing.
pub fn check_ignition(text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
    match &value["ignition"]["version"] {
        Value::String(_) => Ok(()),
        _ => Err("has no `ignition.version`: it is no Ignition configuration".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BC-31.
    #[test]
    fn cloud_config_and_scripts_pass() {
        let cases = [
            ("#cloud-config\ncoreos:\n  units: []\n", true),
            ("#cloud-config\n", true),
            ("#cloud-config  \nhostname: a\n", true),
            ("#!/bin/sh\necho : [\n", true),
            ("hostname: a\n", false),
            ("#cloud-configuration\n", false),
            ("#cloud-config\na: [\n", false),
            ("", false),
        ];
        for (text, passes) in cases {
            assert_eq!(check_cloud(text).is_ok(), passes, "{text:?}: {:?}", check_cloud(text));
        }
    }

    /// BC-30.
    #[test]
    fn ignition_is_json_with_a_version() {
        let cases = [
            (r#"{"ignition":{"version":"3.3.0"},"passwd":{}}"#, true),
            (r#"{"ignition":{"version":"2.2.0"}}"#, true),
            (r#"{"ignition":{}}"#, false),
            ("[]", false),
            ("variant: fcos\n", false),
            ("", false),
        ];
        for (text, passes) in cases {
            assert_eq!(check_ignition(text).is_ok(), passes, "{text}");
        }
        assert!(is_ignition("a.ign") && is_ignition("b.ignition") && !is_ignition("c.yaml"));
    }
}
