//! Who may act as a machine's agent.
//!
//! The script that starts an agent carries a one-time token, bound to the machine's MAC and to the address that asked
//! for the script, for ten minutes. The agent trades it for a session. Both survive a restart of the daemon; only their
//! SHA-256 is kept. A token is looked up by its SHA-256 too, so what a lookup's duration could tell is about the hash,
//! and each hash found is compared in constant time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use netboot_common::Mac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::{self, Store};

/// Seconds that a one-time token lives: from the script to the agent's first call.
pub const TOKEN_LIFE: u64 = 600;
/// Seconds that a session lives: longer than any installation.
pub const SESSION_LIFE: u64 = 86_400;
/// Grants of all machines together; anybody on the wire can ask for a script.
const MOST: usize = 65_536;

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("the token is not one of ours, or it has expired")]
    Unknown,
    #[error("the token was used already: boot again for a new one")]
    Used,
    #[error("the token belongs to another machine's MAC")]
    OtherMac,
    #[error("the token was given to another address")]
    OtherAddress,
    #[error("the session is not one of ours, or it has ended: boot again")]
    NoSession,
    #[error("too many boots are under way: try again later")]
    Full,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    kind: Kind,
    mac: String,
    address: IpAddr,
    /// Unix time, seconds.
    expires: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Token,
    Used,
    Session,
}

/// All grants that live.
#[derive(Debug)]
pub struct Grants {
    store: Arc<Store>,
    live: Mutex<HashMap<[u8; 32], Grant>>,
}

const PREFIX: &str = "grant/";

impl Grants {
    /// Those that the store remembers.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn open(store: Arc<Store>) -> Result<Self, store::Error> {
        let mut live = HashMap::new();
        for (key, grant) in store.values::<Grant>(PREFIX)? {
            live.extend(key.strip_prefix(PREFIX).and_then(unhex).map(|hash| (hash, grant)));
        }
        Ok(Self { store, live: Mutex::new(live) })
    }

    /// A new one-time token for the machine that asks from `address`. Earlier ones stay valid: firmware and iPXE may
    /// ask more than once.
    ///
    /// # Errors
    /// Too many live, the store can't be written, or there is no randomness.
    pub fn issue(&self, mac: Mac, address: IpAddr, now: u64) -> Result<String, Denied> {
        let token = random()?;
        let grant = Grant { kind: Kind::Token, mac: mac.to_string(), address, expires: now + TOKEN_LIFE };
        let mut live = self.lock();
        self.sweep(&mut live, now)?;
        if live.len() >= MOST {
            return Err(Denied::Full);
        }
        self.put(&mut live, &[(hash(&token), grant)])?;
        Ok(token)
    }

    /// Trades a one-time token for a session token. `leased` is the address that the machine was last seen with.
    ///
    /// # Errors
    /// Why not; the token stays as it was then.
    pub fn redeem(
        &self,
        token: &str,
        mac: Mac,
        peer: IpAddr,
        leased: Option<IpAddr>,
        now: u64,
    ) -> Result<String, Denied> {
        let key = hash(token);
        let mut live = self.lock();
        let grant = find(&live, &key).filter(|grant| grant.expires > now).ok_or(Denied::Unknown)?;
        match grant.kind {
            Kind::Token => {}
            Kind::Used => return Err(Denied::Used),
            Kind::Session => return Err(Denied::Unknown),
        }
        if grant.mac != mac.to_string() {
            return Err(Denied::OtherMac);
        }
        if grant.address != peer && leased != Some(peer) {
            return Err(Denied::OtherAddress);
        }
        let session = random()?;
        let used = Grant { kind: Kind::Used, ..grant.clone() };
        let opened =
            Grant { kind: Kind::Session, address: peer, expires: now + SESSION_LIFE, ..grant.clone() };
        self.put(&mut live, &[(key, used), (hash(&session), opened)])?;
        Ok(session)
    }

    /// Whose session this is.
    ///
    /// # Errors
    /// [`Denied::NoSession`]
    pub fn session(&self, token: &str, now: u64) -> Result<Mac, Denied> {
        let live = self.lock();
        find(&live, &hash(token))
            .filter(|grant| grant.kind == Kind::Session && grant.expires > now)
            .and_then(|grant| grant.mac.parse().ok())
            .ok_or(Denied::NoSession)
    }

    fn put(
        &self,
        live: &mut HashMap<[u8; 32], Grant>,
        grants: &[([u8; 32], Grant)],
    ) -> Result<(), store::Error> {
        let keys: Vec<String> = grants.iter().map(|(hash, _)| key(hash)).collect();
        let values: Vec<_> =
            keys.iter().zip(grants).map(|(key, (_, grant))| (key.as_str(), Some(grant))).collect();
        self.store.put_values(&values)?;
        live.extend(grants.iter().cloned());
        Ok(())
    }

    fn sweep(&self, live: &mut HashMap<[u8; 32], Grant>, now: u64) -> Result<(), store::Error> {
        let ended = |grant: &Grant| grant.expires <= now;
        let keys: Vec<String> = live.iter().filter(|(_, g)| ended(g)).map(|(hash, _)| key(hash)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.store.put_values::<Grant>(&keys.iter().map(|key| (key.as_str(), None)).collect::<Vec<_>>())?;
        live.retain(|_, grant| !ended(grant));
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Grant>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find<'a>(live: &'a HashMap<[u8; 32], Grant>, wanted: &[u8; 32]) -> Option<&'a Grant> {
    let (hash, grant) = live.get_key_value(wanted)?;
    let difference = hash.iter().zip(wanted).fold(0, |all, (a, b)| all | (a ^ b));
    (std::hint::black_box(difference) == 0).then_some(grant)
}

/// 256 random bits, as hex digits.
fn random() -> Result<String, Denied> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Denied::Random)?;
    Ok(hex(&bytes))
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn key(hash: &[u8; 32]) -> String {
    format!("{PREFIX}{}", hex(hash))
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_token_is_good_once_for_its_machine_for_ten_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let grants = Grants::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        let token = grants.issue(MAC, ip(1), 1000).unwrap();
        assert_eq!(token.len(), 64);
        let refused = |token: &str, mac, peer, now| grants.redeem(token, mac, peer, None, now).unwrap_err();
        assert!(matches!(refused("x", MAC, ip(1), 1000), Denied::Unknown));
        assert!(matches!(refused(&token, OTHER, ip(1), 1000), Denied::OtherMac));
        assert!(matches!(refused(&token, MAC, ip(2), 1000), Denied::OtherAddress));
        assert!(matches!(refused(&token, MAC, ip(1), 1000 + TOKEN_LIFE), Denied::Unknown));
        assert!(matches!(grants.session(&token, 1000).unwrap_err(), Denied::NoSession));
        let session = grants.redeem(&token, MAC, ip(1), None, 1001).unwrap();
        assert!(matches!(refused(&token, MAC, ip(1), 1002), Denied::Used));
        assert!(matches!(refused(&session, MAC, ip(1), 1002), Denied::Unknown));
        assert_eq!(grants.session(&session, 1002).unwrap(), MAC);
        assert!(matches!(grants.session(&session, 1001 + SESSION_LIFE).unwrap_err(), Denied::NoSession));
        let second = grants.issue(MAC, ip(1), 1000).unwrap();
        grants.redeem(&second, MAC, ip(7), Some(ip(7)), 1001).expect("the address it leases now");
    }

    #[test]
    fn grants_survive_a_restart_and_end() {
        let dir = tempfile::tempdir().unwrap();
        let (token, session) = {
            let grants = Grants::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
            let used = grants.issue(MAC, ip(1), 1000).unwrap();
            let session = grants.redeem(&used, MAC, ip(1), None, 1000).unwrap();
            (grants.issue(MAC, ip(1), 1000).unwrap(), session)
        };
        let grants = Grants::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        assert_eq!(grants.session(&session, 1001).unwrap(), MAC);
        grants.redeem(&token, MAC, ip(1), None, 1001).unwrap();
        grants.issue(MAC, ip(1), 1000 + 2 * SESSION_LIFE).unwrap();
        assert_eq!(grants.live.lock().unwrap().len(), 1);
        assert_eq!(grants.store.values::<Grant>(PREFIX).unwrap().len(), 1);
    }
}
