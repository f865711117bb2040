//! Each template, tried for each host before a machine asks for it. Pure.
//!
//! What a machine says of itself is not known then: not the parameters of its query, and not what groups say that it comes into by
//! them. What may be missing for that alone is no fault.

use std::collections::{BTreeMap, HashMap};

use netboot_common::Mac;
use serde_json::{Map, Value, json};

use super::asked::Asked;
use super::config;
use super::machine::Machine;
use crate::inventory::configs::{Config, Kind};
use crate::inventory::trial::Trial;
use crate::inventory::{Boot, Snapshot};
use crate::template::{Fault, Template};

/// How many parameters of a query are made up for a template.
const PARAMETERS: usize = 64;

/// What is wrong with the templates of profiles, a line each: the profile, and what, for which host first, and for how many more.
pub fn faults(snapshot: &Snapshot, default_profile: Option<&str>) -> Vec<(String, String)> {
    let mut parsed: HashMap<(String, Kind), Result<Template, String>> = HashMap::new();
    let mut found: BTreeMap<(String, Kind), (String, usize)> = BTreeMap::new();
    for trial in snapshot.trials(default_profile).filter(|trial| trial.host.boot != Boot::Ignore) {
        let key = (trial.profile.name.clone(), trial.kind);
        let template = parsed.entry(key.clone()).or_insert_with(|| template(&trial, snapshot));
        let tried =
            template.as_ref().map_err(Clone::clone).and_then(|template| tried(template, &trial, snapshot));
        if let Err(fault) = tried {
            let first =
                || (format!("configs.{}: {fault}: for host {}", trial.kind.name(), trial.host.name), 0);
            found.entry(key).and_modify(|(_, more)| *more += 1).or_insert_with(first);
        }
    }
    let line = |((profile, _), (fault, more)): ((String, Kind), (String, usize))| {
        (profile, if more > 0 { format!("{fault} and {more} more") } else { fault })
    };
    found.into_iter().map(line).collect()
}

fn template(trial: &Trial, snapshot: &Snapshot) -> Result<Template, String> {
    let name = match trial.profile.configs.get(trial.kind) {
        Some(Config::File(name)) => name.as_str(),
        _ => "template",
    };
    let text = trial.text(snapshot)?;
    if is_plain(trial) {
        // It is served as it is: what stands in braces is JSON's.
        config::check_ignition(text).map_err(|what| format!("{name} {what}"))?;
        return Template::parse(name, "").map_err(|fault| fault.to_string());
    }
    let template = Template::parse(name, text).map_err(|fault| fault.to_string())?;
    template.check(&()).map_err(|fault| fault.to_string()).map(|()| template)
}

/// Whether it is Ignition's JSON, and no template.
fn is_plain(trial: &Trial) -> bool {
    let config = trial.profile.configs.get(trial.kind);
    trial.kind == Kind::Ignition && matches!(config, Some(Config::File(name)) if config::is_ignition(name))
}

fn tried(template: &Template, trial: &Trial, snapshot: &Snapshot) -> Result<(), String> {
    if is_plain(trial) {
        return Ok(());
    }
    let host = &*trial.host;
    // That a machine has one is known of all of them.
    let mac = host.macs.first().copied().or(Some(Mac::default()));
    let machine = Machine { mac, host: Some(host), group: trial.group.as_deref(), labels: &trial.labels };
    let data = machine.data(trial.layered.metadata(), &Asked::default());
    let may_come = |key: &str| snapshot.groups().iter().any(|group| group.metadata.contains_key(key));
    let text = rendered(template, data, may_come).map_err(|fault| fault.to_string())?;
    let Some(text) = text else { return Ok(()) };
    let checked = match trial.kind {
        Kind::Cloud => config::check_cloud(&text),
        Kind::Ignition if text.trim_start().starts_with('{') => config::check_ignition(&text),
        Kind::Ignition | Kind::Generic => Ok(()),
    };
    checked.map_err(|what| format!("what it makes {what}"))
}

/// The text; `None`: it hangs on what the machine will say of itself.
fn rendered(
    template: &Template,
    mut data: Map<String, Value>,
    may_come: impl Fn(&str) -> bool,
) -> Result<Option<String>, Fault> {
    let looks_at_query = template.text().contains("request");
    let mut query = Map::new();
    loop {
        data.insert("request".to_owned(), json!({ "query": query, "raw_query": "" }));
        let fault = match template.render(&Value::Object(data.clone()), &()) {
            Ok(text) => return Ok(Some(text).filter(|_| !looks_at_query)),
            Err(fault) => fault,
        };
        let missing = missing(&fault);
        match missing {
            Some(key) if may_come(key) => return Ok(None),
            _ if !looks_at_query => return Err(fault),
            // It may be what a made-up value leads to.
            None => return Ok(None),
            Some(key) if query.contains_key(key) => return Err(fault),
            Some(_) if query.len() == PARAMETERS => return Ok(None),
            Some(key) => drop(query.insert(key.to_owned(), "".into())),
        }
    }
}

/// The key that a template asked for, and that is not there.
fn missing(fault: &Fault) -> Option<&str> {
    fault.what.strip_prefix("map has no entry for key \"")?.split('"').next()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Named, profile};
    use crate::inventory::entry::HostEntry;
    use crate::inventory::group::GroupEntry;

    /// One profile with this configuration, three hosts, of which one is ignored, and a group that machines come into by themselves.
    fn faults_of(kind: &str, text: &str) -> Vec<String> {
        let named = Named { templates: [("a.ign".to_owned(), "{}".into())].into(), ..Named::default() };
        let typed =
            json!({ "name": "p", "local": true, "metadata": { "role": "web" }, "configs": { kind: text } });
        let profiles = vec![profile(&typed, &named).unwrap()];
        let host = |name: &str, more: Value| {
            let mut typed = json!({ "name": name, "profile": "p" });
            typed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<HostEntry>(typed).unwrap().check("hosts:1").unwrap()
        };
        let hosts = vec![
            host("a", json!({ "macs": ["52:54:00:00:00:01"], "metadata": { "rack": 7 } })),
            host("b", json!({ "macs": ["52:54:00:00:00:02"] })),
            host("c", json!({ "macs": ["52:54:00:00:00:03"] })),
            host("d", json!({ "macs": ["52:54:00:00:00:04"], "boot": "ignore" })),
        ];
        let group = json!({ "name": "g", "selector": { "os": "x" }, "metadata": { "disk": "sda" } });
        let group = serde_json::from_value::<GroupEntry>(group).unwrap().check("groups:1").unwrap();
        let snapshot = Snapshot::new(hosts, profiles).unwrap().with_groups([Arc::new(group)]).unwrap();
        let faults = faults(&snapshot.with_named(named), None);
        faults.into_iter().map(|(profile, fault)| format!("{profile}: {fault}")).collect()
    }

    #[test]
    fn each_template_is_tried_for_each_host() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("generic", "# {{.hostname}} {{.mac}} {{.role}}\n", &[]),
            (
                "generic",
                "# {{.rack}}\n",
                &[
                    "p: configs.generic: template:1:5: map has no entry for key \"rack\"",
                    ": for host b and 1 more",
                ],
            ),
            ("generic", "{{if .role}}\n", &["{{if}} without {{end}}: for host a and 2 more"]),
            ("generic", "# {{nosuch .role}}\n", &["function \"nosuch\" not defined"]),
            // Not known yet: what is asked, and which group that leads to.
            ("generic", "# {{.request.query.os}} {{.request.query.foo}} {{.request.raw_query}}\n", &[]),
            ("generic", "# {{len (index .request.query \"os\")}}\n", &[]),
            ("generic", "# {{.disk}}\n", &[]),
            ("generic", "# {{.request.query.os}} {{.nope}}\n", &["no entry for key \"nope\""]),
            ("cloud", "#cloud-config\nhostname: {{.hostname}}\n", &[]),
            (
                "cloud",
                "#cloud-config\na: [{{.role}}\n",
                &["what it makes is cloud-config, but no YAML: see line"],
            ),
            ("ignition", "{\"ignition\": {}}\n", &["what it makes has no `ignition.version`"]),
            ("ignition", "variant: fcos\n", &[]),
            ("ignition", "a.ign", &["a.ign has no `ignition.version`"]),
        ];
        for (kind, text, want) in cases {
            let found = faults_of(kind, text);
            assert_eq!(found.len(), usize::from(!want.is_empty()), "{text}: {found:?}");
            for want in *want {
                assert!(found[0].contains(want), "{text}: {found:?}");
            }
        }
    }
}
