//! Recipes: data of the folder `recipes/`, and what they come to for a version and an architecture. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde::Deserialize;

/// All of them, by name.
pub(super) const RECIPES: [(&str, &str); 10] = [
    ("alpine", include_str!("../../../recipes/alpine.yaml")),
    ("arch", include_str!("../../../recipes/arch.yaml")),
    ("centos-stream", include_str!("../../../recipes/centos-stream.yaml")),
    ("debian", include_str!("../../../recipes/debian.yaml")),
    ("fedora", include_str!("../../../recipes/fedora.yaml")),
    ("fedora-coreos", include_str!("../../../recipes/fedora-coreos.yaml")),
    ("flatcar", include_str!("../../../recipes/flatcar.yaml")),
    ("talos", include_str!("../../../recipes/talos.yaml")),
    ("ubuntu", include_str!("../../../recipes/ubuntu.yaml")),
    ("xyz", include_str!("../../../recipes/xyz.yaml")),
];

/// A system. Its texts may name `{mirror}`, `{version}`, `{arch}`, and what its version sets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    pub(super) about: String,
    mirror: String,
    /// What operators call an architecture, and what the system does.
    arch: BTreeMap<String, String>,
    /// `None`: it takes a version.
    default: Option<String>,
    /// By name, or by a pattern in which `#` is a number.
    versions: BTreeMap<String, Version>,
    kernel: String,
    #[serde(default)]
    initrd: Vec<String>,
    #[serde(default)]
    cmdline: String,
}

/// What is different with a version, and the words that it sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Version {
    kernel: Option<String>,
    initrd: Option<Vec<String>>,
    cmdline: Option<String>,
    #[serde(flatten)]
    words: BTreeMap<String, String>,
}

/// What is booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) kernel: String,
    pub(super) initrd: Vec<String>,
    pub(super) cmdline: String,
}

impl Recipe {
    pub(super) fn read(name: &str, text: &str) -> anyhow::Result<Self> {
        serde_saphyr::from_str(text).with_context(|| format!("the recipe {name}"))
    }

    pub(super) fn named(name: &str) -> anyhow::Result<Self> {
        match RECIPES.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Self::read(name, text),
            None => bail!("{name} is no recipe: there are {}", RECIPES.map(|(name, _)| name).join(", ")),
        }
    }

    /// Its versions, for a person.
    pub(super) fn known(&self) -> String {
        let all: Vec<&str> = self.versions.keys().map(String::as_str).collect();
        let default = self.default.as_deref().map(|default| format!(" (unless told: {default})"));
        format!("{}{}", all.join(", "), default.unwrap_or_default())
    }

    pub(super) fn fill(
        &self,
        name: &str,
        version: Option<&str>,
        arch: &str,
        mirror: Option<&str>,
    ) -> anyhow::Result<Filled> {
        let Some(version) = version.or(self.default.as_deref()) else {
            bail!("{name} takes a version, # is a number: {}", self.known())
        };
        let exact = self.versions.get(version);
        let mut patterns = self.versions.iter();
        let found =
            exact.or_else(|| patterns.find(|(pattern, _)| matches(pattern, version)).map(|(_, found)| found));
        let Some(found) = found else {
            bail!("{version} is no version of {name}, # is a number: {}", self.known())
        };
        let Some(arch) = self.arch.get(arch) else {
            let known: Vec<&str> = self.arch.keys().map(String::as_str).collect();
            bail!("{name} is not made for {arch}: --arch {}", known.join(", --arch "))
        };
        let mirror = mirror.map_or(self.mirror.as_str(), |mirror| mirror.trim_end_matches('/'));
        let fill = |text: &str| -> anyhow::Result<String> {
            let mut text = text.replace("{mirror}", mirror);
            for (word, value) in &found.words {
                text = text.replace(&format!("{{{word}}}"), value);
            }
            let text = text.replace("{version}", version).replace("{arch}", arch);
            if text.contains(['{', '}']) {
                bail!("the recipe {name}: {text} has a word that nothing sets");
            }
            Ok(text)
        };
        let initrd = found.initrd.as_ref().unwrap_or(&self.initrd);
        Ok(Filled {
            kernel: fill(found.kernel.as_ref().unwrap_or(&self.kernel))?,
            initrd: initrd.iter().map(|initrd| fill(initrd)).collect::<anyhow::Result<_>>()?,
            cmdline: fill(found.cmdline.as_ref().unwrap_or(&self.cmdline))?,
        })
    }
}

/// `#` is one or more digits, all else is itself.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    for c in pattern.chars() {
        let after = match c {
            '#' => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
            c => rest.strip_prefix(c).unwrap_or(rest),
        };
        if after.len() == rest.len() {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn px_04_every_recipe_comes_to_urls_for_every_version_and_architecture() {
        for (name, text) in RECIPES {
            let recipe = Recipe::read(name, text).unwrap();
            assert!(recipe.arch.contains_key("amd64") && recipe.arch.contains_key("x86_64"), "{name}");
            assert!(recipe.default.iter().all(|default| recipe.versions.contains_key(default)), "{name}");
            for version in recipe.versions.keys().map(|version| version.replace('#', "12")) {
                for arch in recipe.arch.keys() {
                    let filled = recipe.fill(name, Some(&version), arch, None).unwrap();
                    for url in filled.initrd.iter().chain([&filled.kernel]) {
                        let is_url = url.starts_with("https://") || url.starts_with("http://");
                        assert!(
                            is_url && url.chars().all(|c| c.is_ascii_graphic()),
                            "{name} {version}: {url}"
                        );
                        assert!(!url.split_once("://").unwrap().1.contains("//"), "{url}");
                    }
                    assert!(!filled.cmdline.chars().any(char::is_control), "{name}: {}", filled.cmdline);
                }
            }
        }
    }

    #[test]
    fn px_04_another_mirror_takes_the_place_of_the_recipe_s() {
        let recipe = Recipe::named("debian").unwrap();
        let filled = recipe.fill("debian", None, "x86_64", Some("http://mirror.example/debian/")).unwrap();
        let folder = "http://mirror.example/debian/dists/stable/main/installer-amd64/current/images/netboot/debian-installer/amd64";
        assert_eq!(filled.kernel, format!("{folder}/linux"));
        assert_eq!(filled.initrd, [format!("{folder}/initrd.gz")]);
        let recipe = Recipe::named("ubuntu").unwrap();
        let focal = recipe.fill("ubuntu", Some("focal"), "amd64", None).unwrap();
        assert!(focal.kernel.contains("/legacy-images/") && focal.cmdline.is_empty(), "{focal:?}");
    }

    #[test]
    fn px_04_what_is_not_known_is_an_error_that_names_what_is() {
        let error = |version, arch| {
            let recipe = Recipe::named("debian").unwrap();
            recipe.fill("debian", Some(version), arch, None).unwrap_err().to_string()
        };
        assert!(error("hamm", "amd64").contains("bookworm, bullseye"), "{}", error("hamm", "amd64"));
        assert!(error("stable", "vax").contains("--arch amd64"));
        let none = Recipe::named("beos").unwrap_err().to_string();
        assert!(none.contains("alpine, arch, centos-stream"), "{none}");
        let talos = Recipe::named("talos").unwrap();
        assert!(talos.fill("talos", None, "amd64", None).unwrap_err().to_string().contains("v#.#.#"));
        for (version, is_one) in
            [("v1.11.5", true), ("1.11.5", false), ("v1.11", false), ("v1.11.5-rc", false)]
        {
            assert_eq!(talos.fill("talos", Some(version), "amd64", None).is_ok(), is_one, "{version}");
        }
    }
}
