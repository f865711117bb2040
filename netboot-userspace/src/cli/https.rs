//! HTTPS as it is configured: its certificate, and its share of what all connections may have.

use std::sync::Arc;

use crate::config::{Checked, Level};
use crate::http::tls::{Config, Identity, IdentityError};
use crate::sys::clock;

/// The certificate and its key, as their files are now; `None`: there is no HTTPS.
pub(super) fn identity(config: &Checked) -> Result<Option<Arc<Identity>>, IdentityError> {
    let https = config.http.https.as_ref();
    https.map(|https| Identity::load(&https.certificate, &https.key).map(Arc::new)).transpose()
}

/// What is wrong with them.
pub(super) fn misfit(config: &Checked) -> Option<(Level, String)> {
    identity(config).err().map(|error| (Level::Https, error.to_string()))
}

/// What clients will not like about a certificate that is in order otherwise.
pub(super) fn warning(identity: &Identity) -> Option<String> {
    let reason = identity.facts().invalid(i64::try_from(clock::now()).unwrap_or(i64::MAX))?;
    Some(format!("HTTPS: the certificate is refused by its clients, for {reason}: netboot tls renew"))
}

/// The listener, and how many connections all others may have then.
pub(super) fn listener(
    config: &Checked,
    connections: usize,
) -> Result<(Option<Config>, usize), IdentityError> {
    let Some((https, identity)) = config.http.https.as_ref().zip(identity(config)?) else {
        return Ok((None, connections));
    };
    // Each takes as many descriptors again as a plain one.
    let most = (connections / 3).max(1);
    let tls = Config { listen: https.listen, identity, most, dhe: https.dhe };
    Ok((Some(tls), connections - most.min(connections - 1)))
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
        for (made, told) in [(1_000_000_000, true), (clock::now(), false)] {
            let authority = authority::authority("a test's", made).unwrap();
            let server = authority::server(&authority, &["a.test".to_owned()], made).unwrap();
            write(&certificate, server.certificate).unwrap();
            write(&key, server.key).unwrap();
            set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
            let warning = warning(&Identity::load(&certificate, &key).unwrap());
            assert_eq!(warning.is_some(), told, "{warning:?}");
            assert!(warning.is_none_or(|text| text.contains("it has expired on Tue, 09 Sep 2003")));
        }
    }
}
