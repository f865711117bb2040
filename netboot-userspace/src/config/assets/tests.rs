//! Upstreams as they are typed.

use super::*;
use crate::config::{Checked, Errors, load, show};

#[test]
fn urls_are_split_where_their_host_ends() {
    for (text, origin, path) in [
        ("http://a.example/x/", "http://a.example", "/x/"),
        ("HTTPS://A.example:443", "https://a.example", ""),
        ("https://a.example:8443/", "https://a.example:8443", "/"),
        ("http://[2001:db8::1]:81/a", "http://[2001:db8::1]:81", "/a"),
    ] {
        let (split, rest) = Origin::split(text).unwrap();
        assert_eq!((split.to_string().as_str(), rest), (origin, path), "{text}");
    }
    for text in ["ftp://a/", "a/b", "http:///x", "http://u@h/", "http://h:0/", "http://h:x/", "http://[::1/x"]
    {
        assert_eq!(Origin::split(text), None, "{text}");
    }
}

#[test]
fn an_upstream_has_a_folder_and_no_query() {
    for text in ["http://h/a?b", "http://h/../a", "http://h/a b", "http://h/#a", "file:///etc"] {
        assert!(url(text).is_err(), "{text}");
    }
    assert_eq!(url("http://h").unwrap().1, "/");
    assert_eq!(url("http://h/a/b").unwrap().1, "/a/b/");
    for text in ["/assets/", "/", "a/../b", "", "..", "a//b"] {
        assert!(prefix(text).is_err(), "{text}");
    }
    for text in ["/assets/debian/", "debian", "/debian/"] {
        assert_eq!(prefix(text).unwrap(), "debian/");
    }
}

const SITE: &str = "interfaces: [{ name: eth0, dhcp: proxy }]
tftp: { root: . }
ipxe: .
assets: ASSETS
default_profile: p
profiles: [{ name: p, kernel: debian/linux, initrd: [own] }]
";

fn site(assets: &str) -> Result<Checked, Errors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netboot.yaml");
    std::fs::write(folder.path().join("own"), "").unwrap();
    std::fs::write(&path, SITE.replace("ASSETS", assets)).unwrap();
    load(&path)
}

#[test]
fn assets_may_name_upstreams_and_profiles_their_files() {
    let digest = "AB".repeat(32);
    let upstream = format!(
        "prefix: /assets/debian/, url: 'https://deb.example/debian', digests: {{ 'a/b': '{digest}' }}, digest_files: [SUMS, '*.sha256'], digest_required: true, check_after: 1d, most: 1G, connections: 2, connect: 5s, read: 7s, total: 9m, least: 2K, allow_private: true"
    );
    let checked = site(&format!("{{ folder: ., cache: 5G, upstreams: [{{ {upstream} }}] }}"));
    let checked = checked.unwrap_or_else(|errors| panic!("{errors}"));
    let Cache { size, upstreams, .. } = &checked.cache;
    let own = &upstreams[0];
    assert_eq!((*size, own.prefix.as_str(), own.path.as_str()), (5 << 30, "debian/", "/debian/"));
    assert_eq!(own.digests["a/b"], digest.to_ascii_lowercase());
    assert_eq!((own.most, own.connections, own.allow_private), (1 << 30, 2, true));
    assert!(own.digest_required);
    let seconds = Duration::from_secs;
    let deadlines = Deadlines { connect: seconds(5), read: seconds(7), total: seconds(540), least: 2048 };
    assert_eq!((own.deadlines, own.check_after), (deadlines, seconds(86_400)));
    let mut shown = show(&checked);
    assert_eq!(shown["assets"]["upstreams"][0]["url"], "https://deb.example/debian/");
    // What is shown can be typed, as far as there is anything.
    shown["assets"]["folder"] = ".".into();
    shown["assets"]["upstreams"][0].as_object_mut().unwrap().remove("ca");
    let again = site(&shown["assets"].to_string()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(again.cache, checked.cache);
    // The shortest, and none at all.
    let least = site("{ folder: ., upstreams: [{ prefix: debian, url: 'http://10.0.0.1' }] }").unwrap();
    assert!(!least.cache.upstreams[0].allow_private);
    assert!(site(".").unwrap_err().to_string().contains("debian/linux"), "nobody has it");
}

#[test]
fn the_longest_prefix_has_a_file_and_no_folder_is_one() {
    let two = "{ folder: ., upstreams: [{ prefix: debian, url: 'http://a/' }, { prefix: debian/x, url: 'http://b/' }] }";
    let cache = site(two).unwrap().cache;
    let of = |name: &str| cache.upstream(name).map(|(index, _)| index);
    for (name, index) in [
        ("debian/y", Some(0)),
        ("debian/x/y", Some(1)),
        ("debian/x", Some(0)),
        ("debian/xy", Some(0)),
        ("debian/", None),
        ("debian/x/", None),
        ("debian", None),
        ("debianx/y", None),
    ] {
        assert_eq!(of(name), index, "{name}");
    }
}

#[test]
fn what_is_wrong_of_an_upstream_is_said_where_it_is() {
    let fine = "prefix: debian, url: 'http://a/'";
    for (upstreams, field, words) in [
        ("{ url: 'http://a/' }", "assets.upstreams[0]", "`prefix` is missing"),
        ("{ prefix: debian }", "assets.upstreams[0]", "`url` is missing"),
        ("{ prefix: ../x, url: 'http://a/' }", "assets.upstreams[0].prefix", "is no prefix"),
        ("{ prefix: debian, url: 'ftp://a/' }", "assets.upstreams[0].url", "is no upstream"),
        ("{ FINE, ca: none.pem }", "assets.upstreams[0].ca", "none.pem can't be read"),
        ("{ FINE, digests: { a: abc } }", "assets.upstreams[0].digests.a", "is not a SHA-256"),
        ("{ FINE, digests: { ../a: abc } }", "assets.upstreams[0].digests.../a", "is no file below"),
        ("{ FINE, digest_files: ['*'] }", "assets.upstreams[0].digest_files[0]", "names no digests"),
        ("{ FINE, digest_required: true }", "assets.upstreams[0].digest_required", "no digest is named"),
        // With the notes of both.
        ("{ FINE, most: 10G }", "assets.upstreams[0].most", "half of the cache"),
        ("{ FINE, connections: 0 }", "assets.upstreams[0].connections", "is not a number of connections"),
        ("{ FINE, read: 0s }", "assets.upstreams[0].read", "is not a time"),
        (
            "{ FINE, allow-private: true }",
            "assets.upstreams[0].allow-private",
            "did you mean `allow_private`?",
        ),
        ("{ FINE }, { FINE }", "assets.upstreams[1]", "has an upstream already"),
    ] {
        let upstreams = upstreams.replace("FINE", fine);
        let errors = site(&format!("{{ folder: ., upstreams: [{upstreams}] }}")).expect_err(&upstreams);
        let fault = errors.iter().find(|fault| fault.message.contains(words));
        let fault = fault.unwrap_or_else(|| panic!("{upstreams}\nwant {words}\ngot\n{errors}"));
        assert_eq!((fault.line, fault.field.as_str()), (4, field), "{upstreams}\n{errors}");
    }
}
