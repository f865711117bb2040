//! Lists of digests, as `sha256sum` and distributions write them. Pure.

use crate::image::digest::Digest;

/// The SHA-256 that a list has for a file. `name`: as the list calls it, relative to its own folder; a list of one digest alone is about
/// `only`.
///
/// Lines are `DIGEST  NAME`, `DIGEST *NAME`, `SHA256 (NAME) = DIGEST`, or the digest alone.
pub(super) fn find(list: &str, name: &str, only: bool) -> Option<String> {
    let lines = || list.lines().filter_map(line);
    let named = lines().find(|(_, of)| of.trim_start_matches("./") == name);
    let lone = || {
        let mut all = lines();
        let first = all.next().filter(|_| all.next().is_none());
        // `sha256sum` was run on it by whatever path it had there.
        let file = name.rsplit('/').next();
        first.filter(|(_, of)| only && (of.is_empty() || of.rsplit('/').next() == file))
    };
    named.or_else(lone).map(|(digest, _)| digest)
}

/// Digest and name; the name may be empty.
fn line(line: &str) -> Option<(String, &str)> {
    let line = line.trim_end();
    if let Some(rest) = line.strip_prefix("SHA256 (") {
        let (name, digest) = rest.rsplit_once(") = ")?;
        return Some((digest_of(digest)?, name));
    }
    let (digest, rest) = line.split_at_checked(64)?;
    let name = match rest.as_bytes() {
        [] => "",
        [b' ', b' ' | b'*', ..] => &rest[2..],
        [b' ' | b'\t', ..] => rest[1..].trim_start(),
        _ => return None,
    };
    Some((digest_of(digest)?, name))
}

fn digest_of(text: &str) -> Option<String> {
    text.parse().ok().map(|digest: Digest| digest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_as_every_tool_writes_them() {
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        let list = format!(
            "# made by hand\n{a}  ./netboot/linux\n{b} *initrd.gz\nSHA256 (x (1)) = {a}\n0123  short\n"
        );
        assert_eq!(find(&list, "netboot/linux", false), Some(a.clone()));
        assert_eq!(find(&list, "initrd.gz", false), Some(b.to_ascii_lowercase()));
        assert_eq!(find(&list, "x (1)", false), Some(a.clone()));
        for name in ["linux", "short", "", "netboot"] {
            assert_eq!(find(&list, name, true), None, "{name}");
        }
        for list in [format!("{a}\n"), format!("{a}  /srv/build/disk.img\n"), a.clone()] {
            assert_eq!(find(&list, "images/disk.img", true), Some(a.clone()), "{list}");
            assert_eq!(find(&list, "images/disk.img", false), None, "{list}");
        }
        assert_eq!(find(&format!("{a}  other.img"), "disk.img", true), None);
        assert_eq!(find("\u{e4}".repeat(40).as_str(), "x", true), None);
    }
}
