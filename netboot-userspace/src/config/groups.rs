//! Groups, from the main file's list and from the drop-in folder.

use std::collections::HashMap;

use super::entries;
use super::errors::Errors;
use super::reader::{Field, Place, Section};
use crate::inventory::entry;
use crate::inventory::group::{self, Group, Selector};

/// A group, with the places of what is checked against other things later.
#[derive(Debug)]
pub(super) struct GroupAt {
    pub(super) group: Group,
    pub(super) place: Place,
    profile: Option<Place>,
    /// Nothing was typed to select by: what is wrong there is no reason to call it the default group.
    is_default: bool,
}

pub(super) fn group(field: &Field<'_>, errors: &mut Errors) -> Option<GroupAt> {
    let mut section = field.section(errors)?;
    let name = section.required("name", "rack7", errors).and_then(|f| f.parse(errors, group::group_name));
    let (selector, is_default) = selector(&mut section, errors);
    let profile = section.take("profile");
    let profile = profile.and_then(|field| Some((field.text(errors)?.to_owned(), field.place)));
    let cmdline = section.take("cmdline").and_then(|f| f.parse(errors, entry::cmdline)).unwrap_or_default();
    let metadata = entries::metadata(&mut section, errors);
    let place = section.place.clone();
    section.finish(errors);
    let (profile, profile_place) = profile.unzip();
    let group = Group { name: name?, selector, profile, cmdline, metadata, origin: place.origin() };
    Some(GroupAt { group, place, profile: profile_place, is_default })
}

/// `selector: { mac: 52:54:00:12:34:56, region: [a, b], hostname: node[01-16] }`
fn selector(section: &mut Section<'_>, errors: &mut Errors) -> (Selector, bool) {
    let mut selector = Selector::default();
    let before = errors.len();
    let pairs = section.take("selector").map(|field| field.pairs(errors)).unwrap_or_default();
    let is_default = pairs.is_empty() && errors.len() == before;
    for (key, field) in pairs {
        let before = errors.len();
        let fields = field.one_or_more(errors);
        let values: Vec<&str> = fields.iter().filter_map(|value| value.text(errors)).collect();
        if errors.len() > before {
            continue;
        }
        if let Err(fault) = selector.add(key, &values) {
            field.place.fault(errors, fault);
        }
    }
    (selector, is_default)
}

/// Faults where two groups have the same name, or both have every machine, or one boots what isn't there.
pub(super) fn check(
    groups: &[GroupAt],
    known_profile: impl Fn(&str) -> Result<(), String>,
    errors: &mut Errors,
) {
    let (mut names, mut default) = (HashMap::new(), None);
    for GroupAt { group, place, profile, is_default } in groups {
        if let Some(first) = names.insert(&group.name, &group.origin) {
            place.fault(errors, format!("the group {} is there already, at {first}", group.name));
        }
        if *is_default && let Some(first) = default.replace(&group.origin) {
            place.fault(
                errors,
                format!("has no selectors, nor has the group at {first}: every machine is in both"),
            );
        }
        if let (Some(name), Some(place)) = (&group.profile, profile)
            && let Err(fault) = known_profile(name)
        {
            place.fault(errors, fault);
        }
    }
}
