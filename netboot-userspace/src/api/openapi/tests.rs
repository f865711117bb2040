//! The description has every route and no other, and the fields that our types have and no others.

use std::collections::BTreeSet;

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::*;
use crate::api::assets::Asset;
use crate::api::audit::Record;
use crate::api::changes::{Answer, Batch};
use crate::api::roles::Role;
use crate::api::tokens::{NewToken, Token};
use crate::inventory::entry::{HostEntry, HostPatch};
use crate::inventory::events::Event;
use crate::inventory::group::GroupEntry;
use crate::inventory::menu::MenuEntry;
use crate::inventory::observed::Machine;

/// Reads nothing: it only hears which fields a type asks for.
struct Fields<'a>(&'a mut BTreeSet<&'static str>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(fields);
        Err(Error::custom("enough"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<'de, T: Deserialize<'de>>() -> BTreeSet<&'static str> {
    let mut fields = BTreeSet::new();
    assert!(T::deserialize(Fields(&mut fields)).is_err());
    fields
}

#[test]
fn types_are_described_as_they_are() {
    let shown_of_group = fields::<GroupEntry>().into_iter().chain(["origin", "left_out"]);
    let types: [(&str, BTreeSet<&str>); 13] = [
        ("Group", shown_of_group.collect()),
        ("HostEntry", fields::<HostEntry>()),
        ("HostPatch", fields::<HostPatch>()),
        ("Menu", fields::<MenuEntry>()),
        ("Machine", fields::<Machine>()),
        ("Event", fields::<Event>()),
        ("Batch", fields::<Batch>()),
        ("BatchAnswer", fields::<Answer>()),
        ("NewToken", fields::<NewToken>()),
        ("Token", fields::<Token>()),
        ("Record", fields::<Record>()),
        ("Asset", fields::<Asset>()),
        ("Error", BTreeSet::from(["error"])),
    ];
    let document = document().unwrap();
    for (name, fields) in types {
        let described = &document["components"]["schemas"][name]["properties"];
        let described: BTreeSet<&str> = described.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, fields, "{name}: say in openapi/schemas.json what it has");
    }
    assert_eq!(document["components"]["schemas"]["Role"]["enum"], json!(Role::ALL.map(Role::name)));
}

#[test]
fn every_route_is_described_and_no_other() {
    let document = document().unwrap();
    assert_eq!((&document["openapi"], &document["servers"][0]["url"]), (&json!("3.1.0"), &json!("/api/v1")));
    let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(|(verb, operation)| {
            (path.clone(), verb.to_uppercase(), operation["x-role"].as_str().unwrap().to_owned())
        })
    });
    let described: BTreeSet<_> = described.collect();
    let routes = ROUTES
        .iter()
        .map(|route| (route.path.to_owned(), route.verb.name().to_owned(), route.role.name().to_owned()));
    assert_eq!((described.len(), described), (ROUTES.len(), routes.collect()));
    let mut ids: Vec<String> = ROUTES.iter().map(id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), ROUTES.len(), "each has a name of its own");
}

#[test]
fn what_the_description_refers_to_is_there_and_all_of_it_is_referred_to() {
    let document = document().unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(found, schemas.keys().cloned().collect());
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                found.insert(target.strip_prefix("#/components/schemas/").unwrap().to_owned());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
