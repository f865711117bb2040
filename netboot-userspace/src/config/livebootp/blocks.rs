//! `config.yml`, laid over `config-default.yml` beside it. Pure, but for [`document`].
//!
//! A block of a host is a mapping with any of [`KEYS`], wherever it stands; the key above it is the host's name. Keys that stand elsewhere
//! and that we don't know are LiveBOOTP's own where its defaults have them, too, which have all that it knows; else they are mistakes.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::errors::Errors;
use super::super::files::{self, Document};
use super::super::reader::{Field, Place};
use super::super::yaml::Value;

/// What LiveBOOTP comes with: it need not be there.
pub(super) const DEFAULT: &str = "config-default.yml";
/// The operator's.
pub(super) const OWN: &str = "config.yml";

/// The registry's own key.
pub(super) const NAME_SERVERS: &str = "domain-name-servers";

/// Those of a host.
const KEYS: [&str; 5] =
    ["hardware-ethernet", "fixed-address", "image-name", "ssh-authorized-keys", "cmdline-append"];

/// One of the two files; `None`: it is not there, or is wrong. An empty one of the operator's is somebody's who has begun to write it:
/// as a registry of nothing it would take all hosts away.
pub(super) fn document(path: &Path, errors: &mut Errors) -> Option<Document> {
    let is_default = path.ends_with(DEFAULT);
    if is_default && !path.exists() {
        return None;
    }
    let document = files::document(path, errors)?;
    if !is_default && matches!(document.node.value, Value::Null) {
        errors.whole(path, "is empty: write {} where there is no host".to_owned());
        return None;
    }
    Some(document)
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Blocks<'a> {
    pub(super) name_servers: Option<Field<'a>>,
    /// By their names.
    pub(super) hosts: BTreeMap<&'a str, Block<'a>>,
    /// Keys that we don't know, outside of blocks.
    others: Vec<Place>,
}

impl<'a> Blocks<'a> {
    /// Key by key, `own` counts for more.
    pub(super) fn of(default: Option<&'a Document>, own: Option<&'a Document>, errors: &mut Errors) -> Self {
        let mut read = |document: Option<&'a Document>| {
            let mut blocks = Self::default();
            if let Some(Document { source, node }) = document {
                blocks.visit(&Field::document(source.clone(), node), errors);
            }
            blocks
        };
        let (mut blocks, own) = (read(default), read(own));
        for place in &own.others {
            if !blocks.others.iter().any(|known| known.path == place.path) {
                let keys = KEYS.join(", ");
                place.fault(
                    errors,
                    format!("unknown key; known here: {NAME_SERVERS}, and hosts by their names, with {keys}"),
                );
            }
        }
        blocks.name_servers = own.name_servers.or(blocks.name_servers);
        // What hosts have in common may have a section among the defaults: it is no host's.
        blocks.hosts.retain(|name, block| own.hosts.contains_key(name) || block.has_mac());
        for (name, block) in own.hosts {
            match blocks.hosts.get_mut(name) {
                Some(under) => under.lay(block),
                None => drop(blocks.hosts.insert(name, block)),
            }
        }
        blocks
    }

    fn visit(&mut self, field: &Field<'a>, errors: &mut Errors) {
        for (key, field) in field.pairs(errors) {
            if key == NAME_SERVERS {
                self.take_name_servers(field, errors);
            } else if field.is_empty() {
                // Whatever it would be of, there is none.
            } else if !field.is_section() {
                self.others.push(field.place);
            } else if let Some(block) = Block::of(&field, errors) {
                self.take_host(key, block, errors);
            } else {
                self.visit(&field, errors);
            }
        }
    }

    /// Nothing, or an empty list, says that there are none.
    fn take_name_servers(&mut self, field: Field<'a>, errors: &mut Errors) {
        match &self.name_servers {
            Some(_) if field.is_empty() => {}
            Some(first) if !first.is_empty() => {
                field.place.fault(errors, format!("is there already, at {}", first.place.origin()));
            }
            _ => self.name_servers = Some(field),
        }
    }

    fn take_host(&mut self, name: &'a str, block: Block<'a>, errors: &mut Errors) {
        match self.hosts.get(name) {
            Some(first) => {
                let first = first.place.origin();
                block.place.fault(errors, format!("the host {name} is there already, at {first}"));
            }
            None => drop(self.hosts.insert(name, block)),
        }
    }
}

/// What is said of one host.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) place: Place,
    fields: BTreeMap<&'static str, Field<'a>>,
}

impl<'a> Block<'a> {
    /// `None`: it is no host's.
    fn of(field: &Field<'a>, errors: &mut Errors) -> Option<Self> {
        let mut section = field.section(errors)?;
        let typed = KEYS.into_iter().filter_map(|key| Some((key, section.take(key)?)));
        let fields: BTreeMap<_, _> = typed.collect();
        if fields.is_empty() {
            return None;
        }
        section.finish(errors);
        Some(Self { place: field.place.clone(), fields })
    }

    fn lay(&mut self, over: Self) {
        self.place = over.place;
        self.fields.extend(over.fields);
    }

    fn has_mac(&self) -> bool {
        self.fields.contains_key(KEYS[0])
    }

    /// A value that need not be there: nothing is none.
    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        self.fields.get(key).filter(|field| !field.is_empty()).cloned()
    }

    /// The value of `key`, or a fault that names the `example`.
    pub(super) fn required(&self, key: &str, example: &str, errors: &mut Errors) -> Option<Field<'a>> {
        let field = self.fields.get(key).cloned();
        if field.is_none() {
            self.place.fault(errors, format!("`{key}` is missing: add it, as in `{key}: {example}`"));
        }
        field
    }

    /// What a host here has no field for, as an import keeps it.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let text = |key: &str| Some((key.to_owned(), self.fields.get(key)?.as_text()?.to_owned()));
        ["image-name", "ssh-authorized-keys"].into_iter().filter_map(text).collect()
    }
}
