//! Values that several formats write in the same ways.

use super::super::entry::HostEntry;
use super::super::identity::Identifier;

/// A MAC as ISC's and dnsmasq's files write it: leading zeros may be missing (`0:50:56:0:0:1`).
pub(super) fn mac(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err(format!("{text} has wildcards in it: a host here is one machine"));
    }
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let short = |part: &&str| matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(short) {
        return Ok(parts.iter().map(|part| format!("{part:0>2}")).collect::<Vec<_>>().join(":"));
    }
    super::super::entry::mac(text).map(|mac| mac.to_string())
}

/// Bytes as hex digits: `1:52:54:0:12:34:56`, `01-52-54-00-12-34-56`, `015254…`, `0x015254…`.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if let Some(joint) = [':', '-'].into_iter().find(|joint| digits.contains(*joint)) {
        return digits.split(joint).map(byte).collect();
    }
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| byte(&digits[at..at + 2])).collect()
}

fn byte(digits: &str) -> Option<u8> {
    let plain = matches!(digits.len(), 1 | 2) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Bytes, as an entry writes them.
pub(super) fn identifier(bytes: Vec<u8>) -> Result<String, String> {
    match bytes.len() {
        2..=255 => Ok(Identifier(bytes).to_string()),
        length => Err(format!("an identifier takes 2 to 255 bytes, not {length}")),
    }
}

/// Gives a host that was found without a name one that the next reading of the same file gives it, too. True if it did.
pub(super) fn name(entry: &mut HostEntry) -> bool {
    if !entry.name.is_empty() {
        return false;
    }
    let identity = entry.macs.first().or(entry.uuid.as_ref()).or(entry.client_id.as_ref());
    let identity = identity.or(entry.circuit.as_ref()).or(entry.duid.as_ref());
    let Some(identity) = identity else { return false };
    let plain = identity.bytes().all(|b| b.is_ascii_alphanumeric() || b":-".contains(&b));
    let text = |b: u8| if plain { char::from(b).to_string() } else { format!("{b:02x}") };
    let letters = identity.bytes().filter(|b| !plain || b.is_ascii_alphanumeric()).map(text);
    entry.name = format!("host-{}", letters.collect::<String>().to_ascii_lowercase());
    true
}

/// What [`name`] is told by.
pub(super) const NAMELESS: &str = "has no name: it gets one made of its first identity";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn macs_and_bytes_are_read_in_all_their_ways() {
        assert_eq!(mac("0:50:56:0:A:1").unwrap(), "00:50:56:00:0A:01");
        assert_eq!(mac("525400123456").unwrap(), "52:54:00:12:34:56");
        assert!(mac("52:54:00:*:*:*").unwrap_err().contains("wildcards"));
        for wrong in ["52:54:00:12:34", "52:54:00:12:34:567", "g:0:0:0:0:0", "", "::::::"] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
        for text in ["1:2:ab", "01-02-ab", "0102AB", "0x0102ab"] {
            assert_eq!(hex(text), Some(vec![1, 2, 0xab]), "{text}");
        }
        for wrong in ["", "1:2:", "0x", "012", "1:2:abc", "é1", "+1:2"] {
            assert_eq!(hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nameless_hosts_always_get_the_same_name() {
        let name_of = |entry: HostEntry| {
            let mut entry = entry;
            (name(&mut entry), entry.name)
        };
        let macs = vec!["52:54:00:12:34:5A".to_owned()];
        assert_eq!(
            name_of(HostEntry { macs, ..HostEntry::default() }),
            (true, "host-52540012345a".to_owned())
        );
        let client_id = Some("port 7".to_owned());
        let named = name_of(HostEntry { client_id, ..HostEntry::default() });
        assert_eq!(named, (true, "host-706f72742037".to_owned()));
        let name = "a".to_owned();
        assert_eq!(name_of(HostEntry { name, ..HostEntry::default() }), (false, "a".to_owned()));
        assert_eq!(name_of(HostEntry::default()), (false, String::new()));
    }
}
