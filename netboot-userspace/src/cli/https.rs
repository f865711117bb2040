//! HTTPS as it is configured: its certificate, and its share of what all connections may have.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Checked;
use crate::http::date;
use crate::http::tls::{Config, Identity, IdentityError};
use crate::sys::clock;

/// Who is told of a certificate's end a month before it has time to see to it. Seconds.
const SOON: i64 = 30 * 86_400;

/// The certificate and its key, as their files are now; `None`: there is no HTTPS.
pub(super) fn identity(config: &Checked) -> Result<Option<Arc<Identity>>, IdentityError> {
    let https = config.http.https.as_ref();
    https.map(|https| Identity::load(&https.certificate, &https.key).map(Arc::new)).transpose()
}

/// What clients don't like about a certificate that is in order otherwise, or won't before long.
pub(super) fn warning(identity: &Identity) -> Option<String> {
    let facts = identity.facts();
    let now = i64::try_from(clock::now()).unwrap_or(i64::MAX);
    let remedy = if facts.is_ours { "netboot tls renew" } else { "replace it" };
    if let Some(reason) = facts.invalid(now) {
        return Some(format!("HTTPS: the certificate is refused by its clients, for {reason}: {remedy}"));
    }
    let until = (facts.not_after < now.saturating_add(SOON)).then(|| date::format(facts.not_after))?;
    Some(format!("HTTPS: the certificate, or one behind it, expires on {until}: {remedy}"))
}

/// The listener, and how many connections there may be then in all.
pub(super) fn listener(
    config: &Checked,
    identity: Option<Arc<Identity>>,
    connections: usize,
) -> (Option<Config>, usize) {
    let Some((https, identity)) = config.http.https.as_ref().zip(identity) else {
        return (None, connections);
    };
    let (total, most) = shares(connections);
    let (dhe, kernel) = (https.dhe, https.kernel);
    (Some(Config { listen: https.listen, identity, most, dhe, kernel }), total)
}

/// Of the descriptors of so many connections: how many there may be then in all, and by TLS. One of those takes three.
fn shares(descriptors: usize) -> (usize, usize) {
    let most = (descriptors / 4).max(1);
    (descriptors.saturating_sub(2 * most).max(1), most)
}

/// Where plain HTTP is to be had of whom a client has `reached` by TLS.
pub(super) fn plain(listen: SocketAddr, reached: SocketAddr) -> SocketAddr {
    let ip = if listen.ip().is_unspecified() { reached.ip() } else { listen.ip() };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::http::tls::authority;

    #[test]
    fn a_certificate_that_has_expired_is_told_of_and_one_in_force_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
        let (now, day) = (clock::now(), 86_400);
        let cases = [
            // An authority's ten years, and its server's two.
            (
                1_000_000_000,
                1_000_000_000,
                "it has expired on Tue, 09 Sep 2003 01:46:40 GMT: netboot tls renew",
            ),
            (now - 3645 * day, now, "or one behind it, expires on "),
            (now - 720 * day, now - 720 * day, ": netboot tls renew"),
            (now - 690 * day, now - 690 * day, ""),
            (now, now, ""),
        ];
        for (first, second, told) in cases {
            let authority = authority::authority("a test's", first).unwrap();
            let server = authority::server(&authority, &["a.test".to_owned()], second).unwrap();
            write(&certificate, server.certificate).unwrap();
            write(&key, server.key).unwrap();
            set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
            let warning = warning(&Identity::load(&certificate, &key).unwrap()).unwrap_or_default();
            assert!(warning.contains(told) && warning.is_empty() == told.is_empty(), "{warning}");
        }
    }

    #[test]
    fn connections_by_tls_take_no_more_descriptors_than_there_are() {
        for descriptors in [3, 75, 459, 11_385, 16_384] {
            let (total, most) = shares(descriptors);
            assert!(most <= total && total + 2 * most <= descriptors, "{total}, {most} of {descriptors}");
        }
        assert_eq!((shares(1), shares(0)), ((1, 1), (1, 1)), "one at least");
    }

    #[test]
    fn who_came_by_tls_is_sent_to_where_plain_http_listens() {
        for (listen, reached, want) in [
            ("0.0.0.0:8080", "10.0.0.1:8443", "10.0.0.1:8080"),
            ("[::]:8080", "[fd00::1]:8443", "[fd00::1]:8080"),
            ("10.0.0.2:80", "10.0.0.1:8443", "10.0.0.2:80"),
        ] {
            assert_eq!(plain(listen.parse().unwrap(), reached.parse().unwrap()), want.parse().unwrap());
        }
    }
}
