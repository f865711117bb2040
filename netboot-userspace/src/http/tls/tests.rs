//! Certificates and keys as files, and what is wrong with them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::{self, Issued};
use super::{Facts, Identity};

const NOW: u64 = 1_800_000_000;
static AUTHORITY: LazyLock<Issued> = LazyLock::new(|| authority::authority("a test's", NOW).unwrap());

fn issued(names: &[&str]) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    authority::server(&AUTHORITY, &names, NOW).unwrap()
}

/// Writes both, the key with these permissions, and loads them.
fn load(folder: &Path, certificate: &str, key: &str, mode: u32) -> Result<Identity, String> {
    let paths: [PathBuf; 2] = ["a.crt", "a.key"].map(|name| folder.join(name));
    fs::write(&paths[0], certificate).unwrap();
    fs::write(&paths[1], key).unwrap();
    fs::set_permissions(&paths[1], fs::Permissions::from_mode(mode)).unwrap();
    Identity::load(&paths[0], &paths[1]).map_err(|error| error.to_string())
}

#[test]
fn a_certificate_is_for_its_names_and_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["boot.example.net", "*.example.net", "10.10.0.1", "fd00::1"];
    let Issued { certificate, key } = issued(&names);
    let identity = load(folder.path(), &certificate, &key, 0o640).unwrap();
    let facts = identity.facts();
    assert_eq!(facts.names, names);
    let day = 86_400;
    let now = NOW as i64;
    assert_eq!((facts.not_before, facts.not_after), (now - day, now + 730 * day));
    assert_eq!(facts.invalid(now), None);
    assert_eq!(
        facts.invalid(facts.not_after + 1).unwrap(),
        "it has expired on Sun, 14 Jan 2029 08:00:00 GMT"
    );
    assert_eq!(facts.invalid(0).unwrap(), "it is not valid before Thu, 14 Jan 2027 08:00:00 GMT");
}

#[test]
fn what_is_wrong_with_the_files_is_said_of_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Identity::load(&folder.path().join("x"), &folder.path().join("y")).unwrap_err().to_string();
    assert!(missing.contains("/x can't be read: No such file") && missing.contains("tls init"), "{missing}");
    let (one, other) = (issued(&["a.test"]), issued(&["a.test"]));
    let broken = one.certificate.replace("MII", "AII");
    for (certificate, key, mode, want) in [
        (&one.certificate, &one.key, 0o644, "a.key is a key that every user may use (mode 0644): chmod 0600"),
        (&one.certificate, &one.key, 0o602, "a.key is a key that every user may use (mode 0602)"),
        (&one.certificate, &other.key, 0o600, "a.key is the key of another certificate than"),
        (&one.key, &one.key, 0o600, "a.crt has no certificate in it (PEM)"),
        (&one.certificate, &one.certificate, 0o600, "a.key has no private key in it (PEM)"),
        (&broken, &one.key, 0o600, "a.crt can't be used: "),
        (&"-----BEGIN CERTIFICATE-----\nx".to_owned(), &one.key, 0o600, "a.crt can't be used: it is not PEM"),
    ] {
        let error = load(folder.path(), certificate, key, mode).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
    let folder_for_file =
        Identity::load(folder.path(), &folder.path().join("a.key")).unwrap_err().to_string();
    assert!(folder_for_file.contains("not a file"), "{folder_for_file}");
}

#[test]
fn names_are_names_or_addresses() {
    for name in ["", "a b", "http://x", "10.0.0.1/8", "*.", "a.*.b", "[fd00::1]", "x:8443"] {
        let error = authority::server(&AUTHORITY, &[name.to_owned()], NOW).unwrap_err();
        assert!(matches!(&error, authority::Error::Name(wrong) if wrong == name), "{name}: {error}");
    }
    assert!(matches!(authority::server(&AUTHORITY, &[], NOW), Err(authority::Error::NoNames)));
}

#[test]
fn an_authority_signs_in_its_own_time_and_with_its_own_key() {
    let names = ["a.test".to_owned()];
    let day = 86_400;
    // Its ten years are nearly over.
    let late = authority::server(&AUTHORITY, &names, NOW + 3640 * day).unwrap();
    let until = authority::shown(&AUTHORITY.certificate).unwrap().0.not_after;
    assert_eq!(authority::shown(&late.certificate).unwrap().0.not_after, until);
    let expired = authority::server(&AUTHORITY, &names, NOW + 3651 * day).unwrap_err().to_string();
    assert!(expired.contains("it has expired on "), "{expired}");
    let mixed = Issued { key: authority::authority("b", NOW).unwrap().key, ..AUTHORITY.clone() };
    assert!(matches!(authority::server(&mixed, &names, NOW), Err(authority::Error::Mismatch)));
}

#[test]
fn whose_a_certificate_is_shows_in_it() {
    let other = authority::authority("a test's", NOW).unwrap();
    let server = issued(&["a.test"]).certificate;
    assert_eq!(authority::is_of(&server, &AUTHORITY.certificate), Ok(true));
    assert_eq!(authority::is_of(&server, &other.certificate), Ok(false));
    assert!(authority::shown(&server).unwrap().0.is_ours);
    let key = rcgen::KeyPair::generate().unwrap();
    let foreign =
        rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    assert_eq!(authority::is_of(&foreign, &AUTHORITY.certificate), Ok(false));
    assert!(!authority::shown(&foreign).unwrap().0.is_ours);
}

#[test]
fn rfc5280_a_common_name_has_64_characters_at_most() {
    let long = format!("{}.example.net", "a".repeat(60));
    for issued in [authority::authority(&long, NOW).unwrap(), issued(&[&long])] {
        let (_, der, _) = authority::shown(&issued.certificate).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert!(parsed.subject().iter_common_name().all(|name| name.as_str().unwrap().len() <= 64));
    }
}

#[test]
fn a_fingerprint_is_that_of_the_first_certificate() {
    let server = issued(&["a.test"]);
    let (facts, der, fingerprint) = authority::shown(&server.certificate).unwrap();
    assert_eq!(facts.names, ["a.test"]);
    assert_eq!((fingerprint.len(), fingerprint.matches(':').count()), (95, 31));
    assert_ne!(fingerprint, authority::shown(&AUTHORITY.certificate).unwrap().2);
    assert_eq!(Facts::of(&der.into()).unwrap(), facts);
    assert!(!format!("{server:?}").contains("PRIVATE"), "no key is in a log");
}
