//! DHCP options that an operator sets: by name or by number, each of a type, to the bytes that go into replies.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use netboot_common::maps::TEMPLATE_OPTIONS_MAX;

use super::typed::{Typed, Values};

/// Options by code, as the wire has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    codes: BTreeMap<u8, Set>,
    /// What option 43 is made of.
    vendor: BTreeMap<u8, Set>,
}

/// One option. Two are the same if they are so on the wire.
#[derive(Clone, Debug, Default)]
struct Set {
    wire: Vec<u8>,
    typed: Values,
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.wire == other.wire
    }
}

impl Eq for Set {}

impl Hash for Set {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wire.hash(state);
    }
}

/// How a value is written and what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    /// One address.
    Address,
    /// One or more addresses.
    Addresses,
    /// Text, without a NUL behind it (RFC 2132 section 2).
    Text,
    U8,
    U16,
    /// One or more.
    U16s,
    U32,
    I32,
    Bool,
    /// Names, in DNS wire format (RFC 3397 section 2; not compressed).
    Names,
    /// `10.0.0.0/8 via 10.1.0.1` (RFC 3442).
    Routes,
    /// Pairs of hex digits.
    Hex,
}

/// The words before a value that give its type where the option's number alone does not: `252: text:http://wpad`.
const TYPES: [(&str, Type); 12] = [
    ("ip", Type::Address),
    ("ips", Type::Addresses),
    ("text", Type::Text),
    ("u8", Type::U8),
    ("u16", Type::U16),
    ("u16s", Type::U16s),
    ("u32", Type::U32),
    ("i32", Type::I32),
    ("bool", Type::Bool),
    ("names", Type::Names),
    ("routes", Type::Routes),
    ("hex", Type::Hex),
];

/// The options that have a name here: RFC 2132, unless said otherwise.
const NAMED: [(u8, &str, Type); 39] = [
    (2, "time-offset", Type::I32),
    (3, "routers", Type::Addresses),
    (4, "time-servers", Type::Addresses),
    (6, "domain-name-servers", Type::Addresses),
    (7, "log-servers", Type::Addresses),
    (9, "lpr-servers", Type::Addresses),
    (13, "boot-size", Type::U16),
    (15, "domain-name", Type::Text),
    (16, "swap-server", Type::Address),
    (17, "root-path", Type::Text),
    (18, "extensions-path", Type::Text),
    (19, "ip-forwarding", Type::Bool),
    (23, "default-ip-ttl", Type::U8),
    (26, "interface-mtu", Type::U16),
    (28, "broadcast-address", Type::Address),
    (31, "router-discovery", Type::Bool),
    (33, "static-routes", Type::Addresses),
    (35, "arp-cache-timeout", Type::U32),
    (37, "default-tcp-ttl", Type::U8),
    (40, "nis-domain", Type::Text),
    (41, "nis-servers", Type::Addresses),
    (42, "ntp-servers", Type::Addresses),
    (44, "netbios-name-servers", Type::Addresses),
    (46, "netbios-node-type", Type::U8),
    (58, "renewal-time", Type::U32),
    (59, "rebinding-time", Type::U32),
    (64, "nis+-domain", Type::Text),
    (66, "tftp-server-name", Type::Text),
    (69, "smtp-servers", Type::Addresses),
    (72, "www-servers", Type::Addresses),
    (100, "posix-timezone", Type::Text),             // RFC 4833
    (101, "tzdb-timezone", Type::Text),              // RFC 4833
    (108, "ipv6-only-preferred", Type::U32),         // RFC 8925
    (114, "captive-portal", Type::Text),             // RFC 8910
    (119, "domain-search", Type::Names),             // RFC 3397
    (121, "classless-static-routes", Type::Routes),  // RFC 3442
    (125, "vendor-identifying", Type::Hex),          // RFC 3925
    (150, "tftp-server-addresses", Type::Addresses), // RFC 5859
    (209, "pxelinux-configfile", Type::Text),        // RFC 5071
];

/// Options that the protocol itself sets, or that mean nothing in a reply; the reason is the remedy.
const OWN: [(u8, &str); 21] = [
    (0, "it is padding"),
    (1, "it follows from the subnet's prefix"),
    (12, "it is the host's name"),
    (43, "write it as `vendor_options`"),
    (50, "only clients send it"),
    (51, "write it as `lease`"),
    (52, "the server sets it"),
    (53, "the server sets it"),
    (54, "the server sets it"),
    (55, "only clients send it"),
    (56, "the server sets it"),
    (57, "only clients send it"),
    (60, "the server sets it"),
    (61, "only clients send it"),
    (67, "write it as `boot_files`"),
    (82, "only relay agents send it"),
    (93, "only clients send it"),
    (94, "only clients send it"),
    (97, "only clients send it"),
    (118, "only clients send it"),
    (255, "it is the end mark"),
];

/// What a reply has room for when nothing else is in it, in two parts (RFC 3396).
const OPTION_MAX: usize = TEMPLATE_OPTIONS_MAX - 2 * 2;

/// RFC 8925 section 3.4: a client takes no shorter time.
const V6_ONLY_WAIT_MIN: u32 = 300;

/// The option that vendor options make up (RFC 2132 section 8.4).
const VENDOR_OPTIONS: u8 = 43;

impl Options {
    /// Adds an option as it is typed: a name or a number, and one or more values.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn set(&mut self, key: &str, values: &[&str]) -> Result<(), String> {
        let (code, kind) = find(key)?;
        if let Some((_, why)) = OWN.iter().find(|(own, _)| *own == code) {
            return Err(format!("option {code} can't be set here: {why}"));
        }
        let set = Set { wire: encoded(code, kind, values)?, typed: values.into() };
        match self.codes.insert(code, set) {
            Some(_) => Err(format!("option {code} is set twice: by its name or by its number, once")),
            None => Ok(()),
        }
    }

    /// Sub-options of option 43, each with its type before its value: `1: ip:10.0.0.1`.
    ///
    /// # Errors
    /// As [`Options::set`].
    pub fn set_vendor(&mut self, key: &str, values: &[&str]) -> Result<(), String> {
        let code: u8 = key.parse().ok().filter(|code| (1..255).contains(code)).ok_or_else(|| {
            format!("{key:?} is not a sub-option of option 43: it takes a number from 1 to 254")
        })?;
        let set = Set { wire: encoded(code, None, values)?, typed: values.into() };
        if self.vendor.insert(code, set).is_some() {
            return Err(format!("sub-option {code} is set twice"));
        }
        let each = |(code, set): (&u8, &Set)| [&[*code, set.wire.len() as u8], set.wire.as_slice()].concat();
        // The end mark stays last (RFC 2132 section 8.4).
        let wire: Vec<u8> = self.vendor.iter().flat_map(each).chain([255]).collect();
        let length = wire.len();
        self.codes.insert(VENDOR_OPTIONS, Set { wire, typed: Values::default() });
        match length {
            0..=255 => Ok(()),
            length => Err(format!("all sub-options together take {length} bytes, and option 43 holds 255")),
        }
    }

    /// Option 108, which is for clients that ask for it.
    pub fn v6_only_wait(&self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.get(108)?.first_chunk()?))
    }

    /// By code.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.codes.get(&code).map(|set| set.wire.as_slice())
    }

    /// In the order of their codes, as the wire has them.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.codes.iter().map(|(code, set)| (*code, set.wire.as_slice()))
    }

    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// These, in place of those of `base` with the same codes.
    pub fn over(&self, base: &Self) -> Self {
        let mut codes = base.codes.clone();
        codes.extend(self.codes.iter().map(|(code, set)| (*code, set.clone())));
        let vendor = if self.vendor.is_empty() { &base.vendor } else { &self.vendor };
        Self { codes, vendor: vendor.clone() }
    }

    /// As they were typed, without those of the vendor. By name where there is one.
    pub fn typed(&self) -> Typed {
        let own = self.codes.iter().filter(|(code, _)| **code != VENDOR_OPTIONS);
        own.map(|(code, set)| (name_of(*code), set.typed.clone())).collect()
    }

    /// Sub-options of option 43, as they were typed.
    pub fn vendor_typed(&self) -> Typed {
        self.vendor.iter().map(|(code, set)| (code.to_string(), set.typed.clone())).collect()
    }
}

/// The one way to write an option's key: its name, or its number where it has none.
///
/// # Errors
/// It is no option.
pub fn canonical(key: &str) -> Result<String, String> {
    find(key).map(|(code, _)| name_of(code))
}

fn name_of(code: u8) -> String {
    match NAMED.iter().find(|(known, ..)| *known == code) {
        Some((_, name, _)) => (*name).to_owned(),
        None => code.to_string(),
    }
}

/// `KEY=VALUE`, with commas between several values where an option takes several.
///
/// # Errors
/// As [`Options::set`].
pub fn pair(text: &str) -> Result<(String, Values), String> {
    let (key, value) = text.split_once('=').ok_or("is written KEY=VALUE, as in ntp-servers=10.0.0.1")?;
    let (code, kind) = find(key)?;
    let values = split(kind, value);
    Options::default().set(key, &values)?;
    Ok((name_of(code), values.as_slice().into()))
}

/// The same of a sub-option of option 43.
///
/// # Errors
/// As [`Options::set_vendor`].
pub fn vendor_pair(text: &str) -> Result<(String, Values), String> {
    let (key, value) = text.split_once('=').ok_or("is written NUMBER=TYPE:VALUE, as in 1=ip:10.0.0.1")?;
    let values = split(None, value);
    let mut options = Options::default();
    options.set_vendor(key, &values)?;
    let key = options.vendor_typed().into_keys().next().unwrap_or_default();
    Ok((key, values.as_slice().into()))
}

/// The values of an option as one text, which [`split_values`] takes apart again.
pub fn join(key: &str, values: &Values) -> String {
    joined(find(key).ok().and_then(|(_, kind)| kind), values)
}

/// The same of a sub-option of option 43.
pub fn join_vendor(values: &Values) -> String {
    joined(None, values)
}

/// The values of an option that a text holds: with commas between them where it takes several.
pub fn split_values(key: &str, text: &str) -> Values {
    let kind = find(key).ok().and_then(|(_, kind)| kind);
    split(kind, text).as_slice().into()
}

/// The same of a sub-option of option 43.
pub fn split_vendor_values(text: &str) -> Values {
    split(None, text).as_slice().into()
}

fn joined(kind: Option<Type>, Values(values): &Values) -> String {
    let first = values.first().map(String::as_str).unwrap_or_default();
    values.join(if takes_several(kind, first) { "," } else { "" })
}

fn split(kind: Option<Type>, text: &str) -> Vec<&str> {
    if takes_several(kind, text) { text.split(',').collect() } else { vec![text] }
}

fn takes_several(kind: Option<Type>, text: &str) -> bool {
    let kind = explicit(text).map(|(kind, _)| kind).or(kind);
    matches!(kind, Some(Type::Addresses | Type::U16s | Type::Names | Type::Routes))
}

/// The code, and its type where that is known.
fn find(key: &str) -> Result<(u8, Option<Type>), String> {
    let by_code = |code: u8| NAMED.iter().find(|(known, ..)| *known == code).map(|(.., kind)| *kind);
    if let Ok(code) = key.parse::<u8>() {
        return Ok((code, by_code(code)));
    }
    let name = key.to_ascii_lowercase().replace('_', "-");
    match NAMED.iter().find(|(_, known, _)| *known == name) {
        Some((code, _, kind)) => Ok((*code, Some(*kind))),
        None => Err(format!(
            "{key:?} is no DHCP option that has a name here: write its number, as in `252: text:…`"
        )),
    }
}

/// The type that stands before a value, and what is behind it.
fn explicit(value: &str) -> Option<(Type, &str)> {
    let (word, rest) = value.split_once(':')?;
    let (_, kind) = TYPES.iter().find(|(name, _)| *name == word)?;
    Some((*kind, rest))
}

fn encoded(code: u8, kind: Option<Type>, values: &[&str]) -> Result<Vec<u8>, String> {
    let first = values.first().copied().unwrap_or_default();
    let (kind, first) = match (explicit(first), kind) {
        (Some((kind, rest)), _) => (kind, rest),
        (None, Some(kind)) => (kind, first),
        (None, None) => {
            let words = TYPES.map(|(word, _)| format!("{word}:")).join(", ");
            return Err(format!("option {code} has no type here: put one of {words} before its value"));
        }
    };
    let values: Vec<&str> =
        std::iter::once(first).chain(values.iter().skip(1).copied()).map(str::trim).collect();
    let bytes = encode(kind, &values)?;
    if code == 108 && bytes < V6_ONLY_WAIT_MIN.to_be_bytes().to_vec() {
        return Err(format!(
            "ipv6-only-preferred takes at least {V6_ONLY_WAIT_MIN} seconds (RFC 8925 section 3.4)"
        ));
    }
    match bytes.len() {
        0 => Err(format!("option {code} is empty")),
        1..=OPTION_MAX => Ok(bytes),
        length => Err(format!("option {code} takes {length} bytes, and a reply has room for {OPTION_MAX}")),
    }
}

fn encode(kind: Type, values: &[&str]) -> Result<Vec<u8>, String> {
    let one = || match values {
        [one] => Ok(*one),
        _ => Err(format!("takes one value, not {}", values.len())),
    };
    let each = |read: fn(&str) -> Result<Vec<u8>, String>| {
        values.iter().map(|value| read(value)).collect::<Result<Vec<_>, _>>().map(|parts| parts.concat())
    };
    match kind {
        Type::Address => address(one()?),
        Type::Addresses => each(address),
        Type::Text => Ok(one()?.as_bytes().to_vec()),
        Type::U8 => number::<u8, 1>(one()?, u8::to_be_bytes),
        Type::U16 => number::<u16, 2>(one()?, u16::to_be_bytes),
        Type::U16s => each(|text| number::<u16, 2>(text, u16::to_be_bytes)),
        Type::U32 => number::<u32, 4>(one()?, u32::to_be_bytes),
        Type::I32 => number::<i32, 4>(one()?, i32::to_be_bytes),
        Type::Bool => match one()? {
            "true" => Ok(vec![1]),
            "false" => Ok(vec![0]),
            other => Err(format!("{other:?} is neither true nor false")),
        },
        Type::Names => each(name),
        Type::Routes => each(route),
        Type::Hex => hex(&values.concat()),
    }
}

fn address(text: &str) -> Result<Vec<u8>, String> {
    super::entry::address(text).map(|ip| ip.octets().to_vec())
}

fn number<T: std::str::FromStr, const N: usize>(
    text: &str,
    bytes: fn(T) -> [u8; N],
) -> Result<Vec<u8>, String> {
    let number = text.parse().map_err(|_| format!("{text:?} is not a number of {N} bytes"))?;
    Ok(bytes(number).to_vec())
}

/// RFC 1035 section 3.1.
fn name(text: &str) -> Result<Vec<u8>, String> {
    let host = super::entry::host_name(text.trim_end_matches('.'))?;
    let labels = host.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    Ok(labels.chain([0]).collect())
}

/// RFC 3442: the prefix length, as many bytes of the network as it covers, the router.
fn route(text: &str) -> Result<Vec<u8>, String> {
    let shape = || format!("{text:?} is not a route: write it as in 10.0.0.0/8 via 10.1.0.1");
    let (network, router) = text.split_once(" via ").ok_or_else(shape)?;
    let (network, prefix) = network.trim().split_once('/').ok_or_else(shape)?;
    let network: Ipv4Addr = network.parse().map_err(|_| shape())?;
    let router: Ipv4Addr = router.trim().parse().map_err(|_| shape())?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32).ok_or_else(shape)?;
    let covered = usize::from(prefix).div_ceil(8);
    Ok([&[prefix], &network.octets()[..covered], &router.octets()].concat())
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let shape = || format!("{text:?} is not hex: write pairs of hex digits, as in 01:02:ff");
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return Err(shape());
    }
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| shape());
    (0..digits.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, values: &[&str]) -> Result<Vec<u8>, String> {
        let mut options = Options::default();
        options.set(key, values)?;
        let (_, bytes) = options.iter().next().unwrap();
        Ok(bytes.to_vec())
    }

    #[test]
    fn each_type_becomes_its_bytes() {
        let cases: [(&str, &[&str], &[u8]); 15] = [
            ("ntp-servers", &["10.0.0.1", "10.0.0.2"], &[10, 0, 0, 1, 10, 0, 0, 2]),
            ("42", &["10.0.0.1"], &[10, 0, 0, 1]),
            ("NTP_servers", &["10.0.0.1"], &[10, 0, 0, 1]),
            ("domain-name", &["lab.example"], b"lab.example"),
            ("interface-mtu", &["9000"], &[0x23, 0x28]),
            ("time-offset", &["-3600"], &[0xff, 0xff, 0xf1, 0xf0]),
            ("ip-forwarding", &["true"], &[1]),
            ("domain-search", &["a.example", "b."], b"\x01a\x07example\0\x01b\0"),
            (
                "classless-static-routes",
                &["10.0.0.0/8 via 10.1.0.1", "0.0.0.0/0 via 10.1.0.2"],
                &[8, 10, 10, 1, 0, 1, 0, 10, 1, 0, 2],
            ),
            ("ipv6-only-preferred", &["1800"], &[0, 0, 7, 8]),
            ("252", &["text:http://wpad/x"], b"http://wpad/x"),
            ("224", &["hex:01:02ff"], &[1, 2, 255]),
            ("225", &["u16s:1", "2"], &[0, 1, 0, 2]),
            ("domain-name", &["hex:00"], &[0]),
            ("captive-portal", &["https://p/"], b"https://p/"),
        ];
        for (key, values, bytes) in cases {
            assert_eq!(one(key, values).as_deref(), Ok(bytes), "{key} {values:?}");
        }
    }

    #[test]
    fn what_is_wrong_says_what_would_be_right() {
        let cases: [(&str, &[&str], &str); 13] = [
            ("ntp", &["10.0.0.1"], "write its number"),
            ("300", &["1"], "write its number"),
            ("252", &["http"], "put one of ip:, "),
            ("ntp-servers", &["ntp.example"], "not an IPv4 address"),
            ("domain-name", &["a", "b"], "takes one value, not 2"),
            ("interface-mtu", &["70000"], "not a number of 2 bytes"),
            ("ip-forwarding", &["yes"], "neither true nor false"),
            ("classless-static-routes", &["10.0.0.0/33 via 10.0.0.1"], "10.0.0.0/8 via 10.1.0.1"),
            ("224", &["hex:0"], "pairs of hex digits"),
            ("53", &["u8:1"], "the server sets it"),
            ("67", &["text:x"], "write it as `boot_files`"),
            ("ipv6-only-preferred", &["299"], "at least 300 seconds"),
            ("domain-name", &[], "option 15 is empty"),
        ];
        for (key, values, words) in cases {
            let error = one(key, values).unwrap_err();
            assert!(error.contains(words), "{key} {values:?}: {error}");
        }
        let long = "x".repeat(301);
        assert!(one("252", &[&format!("text:{long}")]).unwrap_err().contains("room for 300"));
    }

    #[test]
    fn rfc2132_4_vendor_options_end_with_255_inside_their_length() {
        let mut options = Options::default();
        options.set_vendor("1", &["ip:10.0.0.1"]).unwrap();
        options.set_vendor("241", &["text:acs"]).unwrap();
        assert_eq!(options.get(43), Some(&[1, 4, 10, 0, 0, 1, 241, 3, b'a', b'c', b's', 255][..]));
        assert!(options.set_vendor("255", &["u8:1"]).unwrap_err().contains("1 to 254"));
        assert!(options.set_vendor("2", &["1"]).unwrap_err().contains("no type here"));
    }

    #[test]
    fn options_are_shown_as_they_were_typed_and_read_again() {
        let mut options = Options::default();
        options.set("NTP_servers", &["10.0.0.1", "10.0.0.2"]).unwrap();
        options.set("252", &["text:http://wpad"]).unwrap();
        options.set_vendor("1", &["ip:10.0.0.7"]).unwrap();
        let typed = options.typed();
        let keys: Vec<&str> = typed.keys().map(String::as_str).collect();
        assert_eq!(keys, ["252", "ntp-servers"]);
        let mut again = Options::default();
        for (key, values) in &typed {
            again.set(key, &values.as_strs()).unwrap();
        }
        for (key, values) in &options.vendor_typed() {
            again.set_vendor(key, &values.as_strs()).unwrap();
        }
        assert_eq!(again, options);
        assert!(options.set("42", &["10.0.0.3"]).unwrap_err().contains("option 42 is set twice"));
        assert!(options.set_vendor("1", &["u8:1"]).unwrap_err().contains("sub-option 1 is set twice"));
    }

    #[test]
    fn pairs_of_a_command_are_split_where_an_option_takes_several_values() {
        let cases = [
            ("ntp-servers=10.0.0.1,10.0.0.2", "ntp-servers", vec!["10.0.0.1", "10.0.0.2"]),
            ("42=10.0.0.1", "ntp-servers", vec!["10.0.0.1"]),
            ("domain-name=a,b=c", "domain-name", vec!["a,b=c"]),
            ("252=text:http://wpad/x,y", "252", vec!["text:http://wpad/x,y"]),
            ("225=u16s:1,2", "225", vec!["u16s:1", "2"]),
        ];
        for (text, key, values) in cases {
            let (found, read) = pair(text).unwrap();
            assert_eq!((found.as_str(), read.as_strs()), (key, values), "{text}");
        }
        assert_eq!(vendor_pair("1=ip:10.0.0.1").unwrap().0, "1");
        for (text, words) in
            [("252", "KEY=VALUE"), ("252=x", "put one of ip:"), ("53=u8:1", "the server sets it")]
        {
            assert!(pair(text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn the_nearer_level_wins() {
        let (mut site, mut host) = (Options::default(), Options::default());
        site.set("ntp-servers", &["10.0.0.1"]).unwrap();
        site.set("domain-name", &["site"]).unwrap();
        host.set("domain-name", &["host"]).unwrap();
        let all = host.over(&site);
        assert_eq!((all.get(42), all.get(15)), (Some(&[10, 0, 0, 1][..]), Some(&b"host"[..])));
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<u8> =
            NAMED.iter().map(|(code, ..)| *code).chain(OWN.map(|(code, _)| code)).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
