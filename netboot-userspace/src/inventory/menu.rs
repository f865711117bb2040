//! A PXE boot menu: what a BIOS client shows before it boots (PXE 2.1 sections 2.2.4 and 3.3; option 43).

use std::net::Ipv4Addr;

use netboot_common::wire::pxe::{self, BootItem, sub};
use serde::{Deserialize, Serialize, Serializer};

use super::typed::Values;

/// What is shown, and what can be chosen. Without items: no menu, also where an outer level has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Menu {
    prompt: String,
    timeout: Timeout,
    items: Vec<Item>,
}

/// How long the prompt waits before the first item is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Timeout {
    /// 0 to 254; at 0 nothing is shown.
    Seconds(u8),
    Never,
}

impl Default for Timeout {
    fn default() -> Self {
        Self::Seconds(10)
    }
}

/// One line of the menu.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Item {
    title: String,
    boots: Boots,
}

/// What an item boots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Boots {
    /// The machine's own disk: the client asks nobody.
    Local,
    /// iPXE, and then this profile.
    Profile(String),
    /// A path under the TFTP root.
    File(String),
}

/// A [`Menu`] as typed, in YAML and JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MenuEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(default)]
    items: Vec<ItemEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemEntry {
    title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "truth")]
    local: Option<Values>,
}

/// It takes `true` alone, and YAML reads it as a text.
fn truth<S: Serializer>(_: &Option<Values>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}

const PROMPT: &str = "Press F8 for the boot menu";

impl MenuEntry {
    /// The menu as meant.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<Menu, String> {
        let prompt = text("prompt", self.prompt.as_deref().unwrap_or(PROMPT))?;
        let timeout = self.timeout.as_deref().map_or(Ok(Timeout::default()), timeout)?;
        let items = self.items.iter().enumerate();
        let items = items.map(|(i, item)| item.check().map_err(|fault| format!("items[{i}]: {fault}")));
        let menu = Menu { prompt, timeout, items: items.collect::<Result<_, _>>()? };
        match menu.to_wire(Ipv4Addr::UNSPECIFIED).len() {
            0..=255 => Ok(menu),
            length => Err(format!(
                "takes {length} bytes, and option 43 holds 255: take shorter titles, or fewer items (each takes its title \
                 and 3 bytes, and 7 more where it is not the local disk)"
            )),
        }
    }
}

impl ItemEntry {
    fn check(&self) -> Result<Item, String> {
        let title = text("title", &self.title)?;
        let local = self.local.as_ref().map(|Values(values)| values == &["true"]);
        let boots = match (&self.profile, &self.boot_file, local) {
            (Some(profile), None, None) => Boots::Profile(profile.clone()),
            (None, Some(file), None) => Boots::File(super::settings::boot_file(file)?),
            (None, None, Some(true)) => Boots::Local,
            _ => return Err("takes exactly one of `profile`, `boot_file` and `local: true`".to_owned()),
        };
        Ok(Item { title, boots })
    }
}

fn text(what: &str, text: &str) -> Result<String, String> {
    let ok = |c: char| matches!(c, ' '..='~');
    if (1..=70).contains(&text.len()) && text.chars().all(ok) {
        return Ok(text.to_owned());
    }
    Err(format!("{what}: {text:?} is not a line on a BIOS screen: it takes 1 to 70 plain ASCII characters"))
}

fn timeout(text: &str) -> Result<Timeout, String> {
    let seconds = text.strip_suffix('s').and_then(|digits| digits.parse().ok());
    match seconds {
        _ if text == "never" => Ok(Timeout::Never),
        Some(seconds @ 0..=254) => Ok(Timeout::Seconds(seconds)),
        _ => Err(format!("timeout: {text:?} is no waiting time: write 10s (from 0s to 254s), or never")),
    }
}

impl Menu {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What a choice boots; `None`: there is no such item.
    pub fn chosen(&self, item: BootItem) -> Option<&Boots> {
        let numbered = self.items.iter().enumerate();
        let found =
            numbered.map(|(i, item)| (kind(i, item), &item.boots)).find(|(kind, _)| *kind == item.kind);
        // We have one layer of each: the boot file. Another one, or credentials, nobody has here.
        found.filter(|_| item.layer == 0 && item.kind != pxe::LOCAL_BOOT).map(|(_, boots)| boots)
    }

    /// Profiles that it names.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|item| match &item.boots {
            Boots::Profile(name) => Some(name.as_str()),
            Boots::Local | Boots::File(_) => None,
        })
    }

    /// Option 43. `server`: who answers choices.
    pub fn to_wire(&self, server: Ipv4Addr) -> Vec<u8> {
        let (mut servers, mut menu) = (Vec::new(), Vec::new());
        for (i, item) in self.items.iter().enumerate() {
            let kind = kind(i, item).to_be_bytes();
            menu.extend([&kind[..], &[item.title.len() as u8], item.title.as_bytes()].concat());
            if item.boots != Boots::Local {
                servers.extend([&kind[..], &[1], &server.octets()].concat());
            }
        }
        let timeout = match self.timeout {
            Timeout::Seconds(seconds) => seconds,
            Timeout::Never => pxe::WAIT_FOR_EVER,
        };
        let prompt = [&[timeout], self.prompt.as_bytes()].concat();
        let parts = [
            (sub::DISCOVERY_CONTROL, vec![pxe::DISCOVER_LISTED]),
            (sub::BOOT_SERVERS, servers),
            (sub::BOOT_MENU, menu),
            (sub::MENU_PROMPT, prompt),
        ];
        let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
        let each = |(code, value): (u8, Vec<u8>)| [&[code, value.len() as u8], value.as_slice()].concat();
        parts.flat_map(each).chain([sub::END]).collect()
    }
}

/// An item's boot server type: its place, counted from the first type that is anybody's to use.
fn kind(index: usize, item: &Item) -> u16 {
    match item.boots {
        Boots::Local => pxe::LOCAL_BOOT,
        Boots::Profile(_) | Boots::File(_) => pxe::FIRST_OWN_TYPE + index as u16,
    }
}

impl From<&Menu> for MenuEntry {
    fn from(menu: &Menu) -> Self {
        let timeout = match menu.timeout {
            Timeout::Seconds(seconds) => format!("{seconds}s"),
            Timeout::Never => "never".to_owned(),
        };
        let item = |Item { title, boots }: &Item| {
            let entry = ItemEntry { title: title.clone(), ..ItemEntry::default() };
            match boots {
                Boots::Local => ItemEntry { local: Some(Values(vec!["true".to_owned()])), ..entry },
                Boots::Profile(name) => ItemEntry { profile: Some(name.clone()), ..entry },
                Boots::File(file) => ItemEntry { boot_file: Some(file.clone()), ..entry },
            }
        };
        let items = menu.items.iter().map(item).collect();
        Self { prompt: Some(menu.prompt.clone()), timeout: Some(timeout), items }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn menu(json: Value) -> Result<Menu, String> {
        serde_json::from_value::<MenuEntry>(json).map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn pxe_2_1_a_menu_is_option_43_with_its_end_inside_its_length() {
        let menu = menu(json!({ "prompt": "F8", "timeout": "3s", "items": [
            { "title": "Disk", "local": true },
            { "title": "In", "profile": "install" },
            { "title": "L", "boot_file": "lpxelinux.0" },
        ] }))
        .unwrap();
        let want = [
            &[6, 1, 7][..],
            &[8, 14, 0x80, 1, 1, 10, 0, 0, 1, 0x80, 2, 1, 10, 0, 0, 1],
            &[9, 16, 0, 0, 4, b'D', b'i', b's', b'k', 0x80, 1, 2, b'I', b'n', 0x80, 2, 1, b'L'],
            &[10, 3, 3, b'F', b'8'],
            &[255],
        ];
        assert_eq!(menu.to_wire([10, 0, 0, 1].into()), want.concat());
        let item = |kind, layer| menu.chosen(BootItem { kind, layer });
        assert_eq!(item(0x8001, 0), Some(&Boots::Profile("install".into())));
        assert_eq!(item(0x8002, 0), Some(&Boots::File("lpxelinux.0".into())));
        for (kind, layer) in [(0, 0), (0x8000, 0), (0x8003, 0), (0x8001, 1), (0x8001, 0x8000)] {
            assert_eq!(item(kind, layer), None, "{kind:x} {layer:x}");
        }
        assert_eq!(MenuEntry::from(&menu).check().as_ref(), Ok(&menu));
        let shown = json!(MenuEntry::from(&menu));
        assert_eq!((&shown["items"][0]["local"], &shown["timeout"]), (&json!(true), &json!("3s")));
    }

    #[test]
    fn what_no_bios_could_show_is_refused() {
        let titled = |title: &str| json!({ "items": [{ "title": title, "local": true }] });
        let many = |count| -> Value {
            let item = |i| json!({ "title": format!("An item of this menu {i:2}"), "profile": "p" });
            json!({ "prompt": "F8", "items": (0..count).map(item).collect::<Vec<_>>() })
        };
        assert!(menu(many(7)).is_ok());
        let cases = [
            (titled(""), "items[0]: title: \"\" is not a line on a BIOS screen"),
            (titled("é"), "plain ASCII"),
            (json!({ "items": [{ "title": "x" }] }), "items[0]: takes exactly one of"),
            (json!({ "items": [{ "title": "x", "local": false }] }), "takes exactly one of"),
            (json!({ "items": [{ "title": "x", "local": true, "profile": "p" }] }), "takes exactly one of"),
            (json!({ "items": [{ "title": "x", "boot_file": "a b" }] }), "visible ASCII"),
            (json!({ "timeout": "255s" }), "timeout: \"255s\" is no waiting time"),
            (json!({ "timeout": "10" }), "write 10s"),
            (json!({ "prompt": "\n" }), "prompt: "),
            (json!({ "promt": "x" }), "unknown field `promt`, expected one of `prompt`"),
            (many(8), "and option 43 holds 255"),
        ];
        for (json, words) in cases {
            let fault = menu(json.clone()).unwrap_err();
            assert!(fault.contains(words), "{json}: {fault}");
        }
        assert!(menu(json!({ "items": [] })).unwrap().is_empty());
    }
}
