//! What is said of one machine: by itself when it asks, by the operator, by what was seen of it before. Groups select by it. Pure.

use std::collections::BTreeMap;

use netboot_common::Mac;
use netboot_common::class::Class;

use super::Host;
use super::identity::Uuid;

/// The label that names a machine's port: of a host, every MAC of its entry counts.
const MAC: &str = "mac";

/// What one request may say: records of machines keep it, and anybody can invent machines. Bytes.
const MOST: usize = 4096;

/// One value for each key; keys keep their case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    values: BTreeMap<String, String>,
    /// The MACs of its host, beside the one that asks.
    macs: Vec<String>,
}

/// What DHCP hears of a machine that has no entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub mac: Option<Mac>,
    pub uuid: Option<Uuid>,
    pub class: Option<Class>,
}

impl Heard {
    /// The keys of all that it may say.
    pub(super) const KEYS: [&str; 3] = [MAC, "uuid", "arch"];

    /// No more than its MAC: what the kernel's lanes know a lease's client by.
    pub fn by_mac(mac: Mac) -> Self {
        Self { mac: Some(mac), ..Self::default() }
    }
}

impl From<Heard> for Labels {
    fn from(Heard { mac, uuid, class }: Heard) -> Self {
        let arch = class.and_then(|class| arch(class.name()));
        Self::default().or(MAC, mac).or("uuid", uuid).or("arch", arch)
    }
}

/// The architecture of a class of clients, as iPXE's `${buildarch}` names it. A BIOS may be followed by either of two.
pub(super) fn arch(class: &str) -> Option<&'static str> {
    let mut words = class.split('-');
    words.find_map(|word| match word {
        "ia32" => Some("i386"),
        "x64" => Some("x86_64"),
        "arm32" => Some("arm32"),
        "arm64" => Some("arm64"),
        _ => None,
    })
}

impl Labels {
    /// Of a request's query parameters, decoded, in their order: of several with the same key the first counts. A `mac`, in any
    /// case, is written as we write it; one that is none is dropped, and so is what is too much.
    pub fn of_query<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut first = BTreeMap::new();
        for (key, value) in parameters {
            first.entry(key).or_insert(value);
        }
        let (mut labels, mut room) = (Self::default(), MOST);
        for (key, value) in first {
            let Some(left) = room.checked_sub(key.len() + value.len()) else { continue };
            room = left;
            labels.values.extend(normal(key, value).ok().map(|value| (key.to_owned(), value)));
        }
        labels
    }

    /// What was seen of the machine otherwise: counts where it did not say so itself, or said nothing (iPXE leaves empty what it does
    /// not know).
    #[must_use]
    pub fn or(mut self, key: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value.filter(|_| self.get(key).is_none_or(str::is_empty)) {
            self.values.insert(key.to_owned(), value.to_string());
        }
        self
    }

    /// What the operator says of the host that it is: counts for more than what the machine says, for anybody can say that.
    #[must_use]
    pub fn of_host(mut self, host: &Host) -> Self {
        let own = host.labels.iter().filter(|(key, _)| !key.eq_ignore_ascii_case(MAC));
        self.values.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        self.values.insert("hostname".to_owned(), host.name.clone());
        self.values.extend(host.uuid.map(|uuid| ("uuid".to_owned(), uuid.to_string())));
        self.values.extend(host.serial.clone().map(|serial| ("serial".to_owned(), serial)));
        self.macs.extend(host.macs.iter().map(Mac::to_string));
        self.or(MAC, host.macs.first())
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// What [`Labels::of_query`] makes these again of.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.values.clone()
    }

    /// By key, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Every value that a selector may find under this key: of `mac`, all of the host's.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let more: &[String] = if key == MAC { &self.macs } else { &[] };
        self.get(key).into_iter().chain(more.iter().map(String::as_str))
    }
}

/// A value as it is compared: MACs in one spelling, UUIDs in lower case.
///
/// # Errors
/// It is no MAC.
pub(super) fn normal(key: &str, value: &str) -> Result<String, String> {
    if key.eq_ignore_ascii_case(MAC) {
        let mac: Mac = value.parse().map_err(|error| format!("{value:?} is {error}"))?;
        return Ok(mac.to_string());
    }
    Ok(if key == "uuid" { value.to_ascii_lowercase() } else { value.to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::inventory::entry::HostEntry;

    /// Row BC-24 of the boot servers' survey.
    #[test]
    fn labels_are_the_first_values_of_the_query() {
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: [(Pairs, Pairs); 7] = [
            (&[("os", "installed"), ("region", "x")], &[("os", "installed"), ("region", "x")]),
            (&[("a", "1"), ("a", "2"), ("A", "3")], &[("A", "3"), ("a", "1")]),
            (&[("mac", "52-54-00-AB-CD-EF")], &[("mac", "52:54:00:ab:cd:ef")]),
            (&[("mAc", "525400ABCDEF")], &[("mAc", "52:54:00:ab:cd:ef")]),
            (&[("mac", "nonsense"), ("uuid", "U-1")], &[("uuid", "u-1")]),
            (&[("mac", "nonsense"), ("mac", "52:54:00:ab:cd:ef")], &[]),
            (&[("serial", "")], &[("serial", "")]),
        ];
        for (query, want) in cases {
            let labels = Labels::of_query(query.iter().copied());
            assert_eq!(labels.iter().collect::<Vec<_>>(), want, "{query:?}");
        }
        let long = "x".repeat(MOST);
        let labels = Labels::of_query([("a", "1"), ("long", long.as_str()), ("mac", "525400ABCDEF")]);
        assert_eq!(
            labels.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            ["a", "mac"],
            "what is too much is left out"
        );
    }

    #[test]
    fn a_classs_architecture_is_what_ipxe_calls_it() {
        let cases = [
            (Class::Bios, None),
            (Class::EfiIa32, Some("i386")),
            (Class::EfiX64, Some("x86_64")),
            (Class::EfiX64Http, Some("x86_64")),
            (Class::EfiArm64, Some("arm64")),
            (Class::Plain, None),
        ];
        for (class, want) in cases {
            assert_eq!(arch(class.name()), want, "{}", class.name());
        }
    }

    #[test]
    fn the_operators_word_counts_for_more_than_the_machines() {
        let entry: HostEntry = serde_json::from_value(serde_json::json!({
            "name": "n1", "macs": ["52:54:00:00:00:01", "52:54:00:00:00:02"],
            "labels": { "role": "worker", "mac": "52:54:00:00:00:09" },
        }))
        .unwrap();
        let host = entry.check("test:1").unwrap();
        let asked = [
            ("role", "controller"),
            ("hostname", "n9"),
            ("mac", "52-54-00-00-00-02"),
            ("os", "x"),
            ("arch", ""),
        ];
        let labels = Labels::of_query(asked).of_host(&host).or("os", Some("y")).or("arch", Some("i386"));
        let want = [
            ("arch", "i386"),
            ("hostname", "n1"),
            ("mac", "52:54:00:00:00:02"),
            ("os", "x"),
            ("role", "worker"),
        ];
        assert_eq!(labels.iter().collect::<Vec<_>>(), want);
        let macs: Vec<_> = labels.all("mac").collect();
        assert_eq!(macs, ["52:54:00:00:00:02", "52:54:00:00:00:01", "52:54:00:00:00:02"]);
    }
}
