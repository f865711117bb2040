//! What each host's first boot would be set up by, as far as its entry says: for whoever tries templates before machines ask for
//! them. Pure.

use std::sync::Arc;

use super::configs::Kind;
use super::group::{Group, profile_name};
use super::labels::Labels;
use super::layered::Layered;
use super::{Host, Profile, Snapshot};

/// One template, and what it would be filled in with for one host.
#[derive(Clone, Debug)]
pub struct Trial {
    pub host: Arc<Host>,
    /// By its entry's labels alone: what it will say of itself nobody knows yet.
    pub labels: Labels,
    pub group: Option<Arc<Group>>,
    pub profile: Arc<Profile>,
    pub kind: Kind,
    pub layered: Layered,
}

impl Trial {
    /// The template's text.
    ///
    /// # Errors
    /// There is no such file.
    pub fn text<'a>(&'a self, snapshot: &'a Snapshot) -> Result<&'a str, String> {
        self.profile.configs.get(self.kind).map_or(Ok(""), |config| config.text(snapshot.templates()))
    }
}

impl Snapshot {
    /// Every template of every host. `default_profile`: that of hosts whose entry and group name none.
    pub fn trials(&self, default_profile: Option<&str>) -> impl Iterator<Item = Trial> {
        self.hosts().flat_map(move |host| {
            let labels = Labels::default().of_host(host);
            let group = self.groups().of(&labels).cloned();
            let profile = profile_name(Some(host), group.as_deref(), default_profile);
            let profile = profile.and_then(|name| self.profile(name)).cloned();
            let kinds = profile.into_iter().flat_map(|profile| {
                let has = Kind::ALL.into_iter().filter(|kind| profile.configs.get(*kind).is_some());
                has.map(|kind| (profile.clone(), kind)).collect::<Vec<_>>()
            });
            let all = kinds.map(|(profile, kind)| {
                let layered = Layered::of(group.as_deref(), Some(&profile), Some(host));
                let (host, labels, group) = (host.clone(), labels.clone(), group.clone());
                Trial { host, labels, group, profile, kind, layered }
            });
            all.collect::<Vec<_>>()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Named, profile};
    use crate::inventory::entry::HostEntry;
    use crate::inventory::group::GroupEntry;

    #[test]
    fn every_template_of_every_host_is_met_with_what_its_levels_say() {
        let templates = [("web.yaml".to_owned(), "web".into())].into();
        let named = Named { templates, ..Named::default() };
        let read = |typed: Value| profile(&typed, &named).unwrap();
        let profiles = vec![
            read(
                json!({ "name": "web", "local": true, "metadata": { "a": 1, "b": 1 }, "configs": { "cloud": "web.yaml" } }),
            ),
            read(json!({ "name": "plain", "local": true })),
            read(json!({ "name": "both", "local": true, "configs": { "ignition": "{}", "generic": "#x" } })),
        ];
        let host =
            |typed: Value| serde_json::from_value::<HostEntry>(typed).unwrap().check("hosts:1").unwrap();
        let hosts = vec![
            host(
                json!({ "name": "a", "macs": ["52:54:00:00:00:01"], "labels": { "role": "web" }, "metadata": { "b": 2 } }),
            ),
            host(json!({ "name": "b", "macs": ["52:54:00:00:00:02"], "profile": "plain" })),
            host(json!({ "name": "c", "macs": ["52:54:00:00:00:03"] })),
        ];
        let group =
            json!({ "name": "g", "selector": { "role": "web" }, "profile": "web", "metadata": { "c": 3 } });
        let group = serde_json::from_value::<GroupEntry>(group).unwrap().check("groups:1").unwrap();
        let snapshot = Snapshot::new(hosts, profiles).unwrap().with_groups([Arc::new(group)]).unwrap();
        let snapshot = snapshot.with_named(named.clone());
        let found: Vec<_> = snapshot
            .trials(Some("both"))
            .map(|trial| {
                let text = trial.text(&snapshot).unwrap().to_owned();
                (trial.host.name.clone(), trial.kind, text, Value::Object(trial.layered.metadata()))
            })
            .collect();
        let want = [
            ("a".to_owned(), Kind::Cloud, "web".to_owned(), json!({ "a": 1, "b": 2, "c": 3 })),
            ("c".to_owned(), Kind::Ignition, "{}".to_owned(), json!({})),
            ("c".to_owned(), Kind::Generic, "#x".to_owned(), json!({})),
        ];
        assert_eq!(found, want);
    }
}
