//! What a machine's system is set up by at its first boot: templates that a profile names, or holds. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The templates of the site, by the name of each file below its folder.
pub type Templates = BTreeMap<String, Arc<str>>;

/// Which of a profile's templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// cloud-init's.
    Cloud,
    /// Ignition's, or Butane's, which becomes that.
    Ignition,
    /// Anything.
    Generic,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Cloud, Self::Ignition, Self::Generic];

    /// The key in `configs`, and the path that serves it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Ignition => "ignition",
            Self::Generic => "generic",
        }
    }
}

/// The templates of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configs {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Config>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignition: Option<Config>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generic: Option<Config>,
}

impl Configs {
    pub const fn get(&self, kind: Kind) -> Option<&Config> {
        match kind {
            Kind::Cloud => self.cloud.as_ref(),
            Kind::Ignition => self.ignition.as_ref(),
            Kind::Generic => self.generic.as_ref(),
        }
    }

    /// Puts one in.
    pub fn set(&mut self, kind: Kind, config: Option<Config>) {
        match kind {
            Kind::Cloud => self.cloud = config,
            Kind::Ignition => self.ignition = config,
            Kind::Generic => self.generic = config,
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.cloud.is_none() && self.ignition.is_none() && self.generic.is_none()
    }
}

/// One template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Config {
    /// A file of the site's templates.
    File(String),
    /// The template itself.
    Inline(String),
}

impl From<String> for Config {
    /// What has more than one line, or begins as no file's name does, is the template itself.
    fn from(text: String) -> Self {
        if text.contains('\n') || text.starts_with(['{', '#', '<']) {
            return Self::Inline(text);
        }
        Self::File(text)
    }
}

impl From<Config> for String {
    fn from(config: Config) -> Self {
        match config {
            Config::File(text) | Config::Inline(text) => text,
        }
    }
}

impl Config {
    /// The template's text.
    ///
    /// # Errors
    /// There is no such file.
    pub fn text<'a>(&'a self, templates: &'a Templates) -> Result<&'a str, String> {
        let name = match self {
            Self::Inline(text) => return Ok(text),
            Self::File(name) => name,
        };
        templates.get(name).map(|text| &**text).ok_or_else(|| {
            let known = templates.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "there is none".to_owned() } else { format!("there are {known}") };
            format!("{name:?} is no file of the templates folder ({known}); text of its own has more than one line")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_a_file_or_what_stands_there() {
        let templates = Templates::from([("web/a.yaml".to_owned(), "from a file".into())]);
        let cases = [
            ("web/a.yaml", Ok("from a file")),
            ("#cloud-config", Ok("#cloud-config")),
            ("{\"ignition\": {}}", Ok("{\"ignition\": {}}")),
            ("a\nb", Ok("a\nb")),
            ("web/b.yaml", Err("\"web/b.yaml\" is no file of the templates folder (there are web/a.yaml)")),
        ];
        for (typed, want) in cases {
            let config = Config::from(typed.to_owned());
            assert_eq!(String::from(config.clone()), typed);
            match (config.text(&templates), want) {
                (Ok(text), Ok(want)) => assert_eq!(text, want),
                (Err(fault), Err(want)) => assert!(fault.starts_with(want), "{fault}"),
                (found, want) => panic!("{typed}: {found:?}, not {want:?}"),
            }
        }
    }
}
