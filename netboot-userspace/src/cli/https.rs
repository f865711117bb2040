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
    let tls = Config { listen: https.listen, identity, most };
    Ok((Some(tls), connections - most.min(connections - 1)))
}
