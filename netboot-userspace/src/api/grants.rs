//! Who may act as a machine's agent.
//!
//! The script that starts an agent carries a one-time token, bound to the machine's MAC and to the address that asked
//! for the script, for ten minutes. The agent trades it for a session, whose token follows from the first: where the answer
//! was lost, asking again gives the same session, until it is used. Both survive a restart of the daemon; only their
//! SHA-256 is kept. A token is looked up by its SHA-256 too, so what a lookup's duration could tell is about the hash,
//! and each hash found is compared in constant time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use netboot_common::Mac;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::image::digest::Digest;
use crate::inventory::boots::BootId;
use crate::store::{self, Pending, Store};

/// Seconds that a one-time token lives: from the script to the agent's first call.
pub const TOKEN_LIFE: u64 = 600;
/// Seconds that a session lives: longer than any installation.
pub const SESSION_LIFE: u64 = 86_400;
/// Seconds for which what a machine boots may be asked for its configurations: a large image is loaded first.
pub const CONFIGURED_LIFE: u64 = 3600;
/// Tokens of one machine that nobody has traded yet: firmware and iPXE may ask more than once.
const TOKENS: usize = 4;
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
    /// Of a session that nobody has used yet: the token that it was traded for, by its hash.
    #[serde(default)]
    unused: Option<[u8; 32]>,
    /// The boot whose script carried it.
    #[serde(default)]
    boot: Option<BootId>,
}

/// What a one-time token was traded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traded {
    /// The session's token.
    pub session: String,
    /// The boot that it belongs to.
    pub boot: Option<BootId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// Not traded yet.
    Token,
    /// Traded for a session that nobody has used yet.
    Traded,
    /// Traded for a session that was used: good for nothing any more.
    Used,
    Session,
    /// Its machine's configurations may be asked for by it.
    Configure,
}

/// By the SHA-256 of their tokens.
type Live = HashMap<[u8; 32], Grant>;
/// New grants, and the end of others.
type Changes = Vec<([u8; 32], Option<Grant>)>;

/// All grants that live.
#[derive(Debug)]
pub struct Grants {
    store: Arc<Store>,
    live: Mutex<Live>,
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
            live.extend(hash_of(&key).map(|hash| (hash, grant)));
        }
        Ok(Self { store, live: Mutex::new(live) })
    }

    /// A new one-time token for the `boot` of the machine that asks from `address`. Earlier ones stay valid, up to four.
    ///
    /// # Errors
    /// The store can't be written, or there is no randomness.
    pub fn issue(&self, mac: Mac, address: IpAddr, boot: Option<BootId>, now: u64) -> Result<String, Denied> {
        let (mac, expires) = (mac.to_string(), now + TOKEN_LIFE);
        self.add(Grant { kind: Kind::Token, mac, address, expires, unused: None, boot }, now)
    }

    /// A new token for the configurations of what the `boot` of the machine boots. Earlier ones stay valid, up to four.
    ///
    /// # Errors
    /// As [`Grants::issue`].
    pub fn issue_configure(
        &self,
        mac: Mac,
        address: IpAddr,
        boot: Option<BootId>,
        now: u64,
    ) -> Result<String, Denied> {
        let (mac, expires) = (mac.to_string(), now + CONFIGURED_LIFE);
        self.add(Grant { kind: Kind::Configure, mac, address, expires, unused: None, boot }, now)
    }

    /// Whether this token is for the configurations of this machine, and of its boot that is `in_force`, as far as both are known.
    pub fn configures(&self, token: &str, mac: Mac, in_force: Option<BootId>, now: u64) -> bool {
        let is_boot =
            |grant: &Grant| grant.boot.zip(in_force).is_none_or(|(boot, in_force)| boot == in_force);
        let is_its = |grant: &&Grant| {
            grant.kind == Kind::Configure
                && grant.expires > now
                && grant.mac == mac.to_string()
                && is_boot(grant)
        };
        find(&self.lock(), &hash(token)).filter(is_its).is_some()
    }

    fn add(&self, grant: Grant, now: u64) -> Result<String, Denied> {
        let token = random()?;
        let written = {
            let mut live = self.lock();
            let mut changes = room(&live, &grant, now);
            changes.push((hash(&token), Some(grant)));
            self.put(&mut live, changes)?
        };
        written.wait()?;
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
    ) -> Result<Traded, Denied> {
        let key = hash(token);
        let session = session_of(token);
        let (boot, written) = {
            let mut live = self.lock();
            let grant = find(&live, &key).filter(|grant| grant.expires > now).ok_or(Denied::Unknown)?;
            match grant.kind {
                Kind::Token | Kind::Traded => {}
                Kind::Used => return Err(Denied::Used),
                Kind::Session | Kind::Configure => return Err(Denied::Unknown),
            }
            if grant.mac != mac.to_string() {
                return Err(Denied::OtherMac);
            }
            if grant.address != peer && leased != Some(peer) {
                return Err(Denied::OtherAddress);
            }
            if grant.kind == Kind::Traded {
                return Ok(Traded { session, boot: grant.boot });
            }
            let boot = grant.boot;
            let (traded, expires) = (Grant { kind: Kind::Traded, ..grant.clone() }, now + SESSION_LIFE);
            let opened =
                Grant { kind: Kind::Session, address: peer, expires, unused: Some(key), ..grant.clone() };
            // A machine runs one agent: the session of its last boot ends here.
            let earlier =
                live.iter().filter(|(_, other)| other.kind == Kind::Session && other.mac == opened.mac);
            let mut changes: Changes = earlier.map(|(hash, _)| (*hash, None)).collect();
            changes.extend([(key, Some(traded)), (hash(&session), Some(opened))]);
            (boot, self.put(&mut live, changes)?)
        };
        written.wait()?;
        Ok(Traded { session, boot })
    }

    /// Whose session this is. From its first use on, the token that it was traded for is good for nothing.
    ///
    /// # Errors
    /// [`Denied::NoSession`]
    pub fn session(&self, token: &str, now: u64) -> Result<Mac, Denied> {
        let (key, mut live) = (hash(token), self.lock());
        let grant = find(&live, &key).filter(|grant| grant.kind == Kind::Session && grant.expires > now);
        let grant = grant.cloned().ok_or(Denied::NoSession)?;
        if let Some(first) = grant.unused {
            let used = find(&live, &first).map(|token| Grant { kind: Kind::Used, ..token.clone() });
            let session = Grant { unused: None, ..grant.clone() };
            // A crash before it is written only lets the same machine ask for the same session once more.
            self.put(&mut live, vec![(first, used), (key, Some(session))])?.forget();
        }
        grant.mac.parse().map_err(|_| Denied::NoSession)
    }

    /// In force at once, and on the disk when the answer was waited for. Under the lock, so that both have the same order.
    fn put(&self, live: &mut Live, changes: Changes) -> Result<Pending, store::Error> {
        let keys: Vec<String> = changes.iter().map(|(hash, _)| key(hash)).collect();
        let values: Vec<_> =
            keys.iter().zip(&changes).map(|(key, (_, grant))| (key.as_str(), grant.as_ref())).collect();
        let pending = self.store.put_values(&values)?;
        for (hash, grant) in changes {
            match grant {
                Some(grant) => live.insert(hash, grant),
                None => live.remove(&hash),
            };
        }
        Ok(pending)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What must go before one more token: what has ended, and the oldest tokens of its kind where those of this machine and address, or
/// all together, are too many. Who asks in a machine's name from elsewhere takes none of its tokens away.
fn room(live: &Live, new: &Grant, now: u64) -> Changes {
    let (ended, alive): (Vec<_>, Vec<_>) = live.iter().partition(|(_, grant)| grant.expires <= now);
    let mut gone: Vec<[u8; 32]> = ended.into_iter().map(|(hash, _)| *hash).collect();
    let full = alive.len() >= MOST;
    let is_kind = |grant: &Grant| grant.kind == new.kind;
    let is_own = |grant: &Grant| is_kind(grant) && grant.mac == new.mac && grant.address == new.address;
    let mut own: Vec<_> = alive.iter().filter(|(_, grant)| is_own(grant)).collect();
    own.sort_unstable_by_key(|(_, grant)| grant.expires);
    gone.extend(own.iter().take((own.len() + 1).saturating_sub(TOKENS)).map(|(hash, _)| **hash));
    if full {
        let mut tokens: Vec<_> = alive.into_iter().filter(|(_, grant)| is_kind(grant)).collect();
        tokens.sort_unstable_by_key(|(_, grant)| grant.expires);
        gone.extend(tokens.iter().take(MOST / 16).map(|(hash, _)| **hash));
    }
    gone.into_iter().map(|hash| (hash, None)).collect()
}

fn find<'a>(live: &'a Live, wanted: &[u8; 32]) -> Option<&'a Grant> {
    let (hash, grant) = live.get_key_value(wanted)?;
    let difference = hash.iter().zip(wanted).fold(0, |all, (a, b)| all | (a ^ b));
    (std::hint::black_box(difference) == 0).then_some(grant)
}

/// 256 random bits, as hex digits.
fn random() -> Result<String, Denied> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Denied::Random)?;
    Ok(Digest(bytes).to_string())
}

/// The session that `token` is traded for: only who has the one can know the other.
fn session_of(token: &str) -> String {
    let mut digest = Sha256::new_with_prefix(b"netboot session ");
    digest.update(token.as_bytes());
    Digest(digest.finalize().into()).to_string()
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn key(hash: &[u8; 32]) -> String {
    format!("{PREFIX}{}", Digest(*hash))
}

fn hash_of(key: &str) -> Option<[u8; 32]> {
    let Digest(hash) = key.strip_prefix(PREFIX)?.parse().ok()?;
    Some(hash)
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
        let boot = "6567a10000000001".parse().ok();
        let token = grants.issue(MAC, ip(1), boot, 1000).unwrap();
        assert_eq!(token.len(), 64);
        let refused = |token: &str, mac, peer, now| grants.redeem(token, mac, peer, None, now).unwrap_err();
        assert!(matches!(refused("x", MAC, ip(1), 1000), Denied::Unknown));
        assert!(matches!(refused(&token, OTHER, ip(1), 1000), Denied::OtherMac));
        assert!(matches!(refused(&token, MAC, ip(2), 1000), Denied::OtherAddress));
        assert!(matches!(refused(&token, MAC, ip(1), 1000 + TOKEN_LIFE), Denied::Unknown));
        assert!(matches!(grants.session(&token, 1000).unwrap_err(), Denied::NoSession));
        let traded = grants.redeem(&token, MAC, ip(1), None, 1001).unwrap();
        let again = grants.redeem(&token, MAC, ip(1), None, 1002).expect("the answer was lost");
        assert_eq!((again.boot, &again), (boot, &traded), "of the same boot");
        let session = traded.session;
        assert!(matches!(refused(&token, OTHER, ip(1), 1002), Denied::OtherMac));
        assert!(matches!(refused(&session, MAC, ip(1), 1002), Denied::Unknown));
        assert_eq!(grants.session(&session, 1002).unwrap(), MAC);
        assert!(matches!(refused(&token, MAC, ip(1), 1002), Denied::Used), "the session was used");
        assert!(matches!(grants.session(&session, 1001 + SESSION_LIFE).unwrap_err(), Denied::NoSession));
        let second = grants.issue(MAC, ip(1), None, 1000).unwrap();
        grants.redeem(&second, MAC, ip(7), Some(ip(7)), 1001).expect("the address it leases now");
    }

    #[test]
    fn a_machine_has_a_few_tokens_and_one_session() {
        let dir = tempfile::tempdir().unwrap();
        let grants = Grants::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        let tokens: Vec<_> = (0..6).map(|i| grants.issue(MAC, ip(1), None, 1000 + i).unwrap()).collect();
        grants.issue(OTHER, ip(2), None, 1000).unwrap();
        let trade = |token: &str| grants.redeem(token, MAC, ip(1), None, 1010);
        assert!(matches!(trade(&tokens[1]).unwrap_err(), Denied::Unknown), "the oldest are gone");
        let first = trade(&tokens[2]).unwrap().session;
        let second = trade(&tokens[3]).unwrap().session;
        assert!(matches!(grants.session(&first, 1011).unwrap_err(), Denied::NoSession));
        assert_eq!(grants.session(&second, 1011).unwrap(), MAC);
        assert_eq!(grants.store.values::<Grant>(PREFIX).unwrap().len(), grants.live.lock().unwrap().len());
    }

    #[test]
    fn a_token_for_configurations_is_its_machines_for_an_hour_and_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let token = {
            let grants = Grants::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
            let once = grants.issue(MAC, ip(1), None, 1000).unwrap();
            assert!(!grants.configures(&once, MAC, None, 1000));
            grants.issue_configure(MAC, ip(1), "6567a10000000001".parse().ok(), 1000).unwrap()
        };
        let grants = Grants::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        let (boot, next) = ("6567a10000000001".parse().ok(), "6567a10000000002".parse().ok());
        for (token, mac, in_force, now, want) in [
            (token.as_str(), MAC, boot, 1000, true),
            (token.as_str(), MAC, None, 1000, true),
            (token.as_str(), MAC, next, 1000, false),
            (token.as_str(), MAC, boot, 999 + CONFIGURED_LIFE, true),
            (token.as_str(), MAC, boot, 1000 + CONFIGURED_LIFE, false),
            (token.as_str(), OTHER, None, 1000, false),
            ("", MAC, boot, 1000, false),
        ] {
            assert_eq!(grants.configures(token, mac, in_force, now), want, "{mac} {in_force:?} {now}");
        }
        assert!(matches!(grants.redeem(&token, MAC, ip(1), None, 1000).unwrap_err(), Denied::Unknown));
        assert!(matches!(grants.session(&token, 1000).unwrap_err(), Denied::NoSession));
        for i in 0..4 {
            assert!(grants.configures(&token, MAC, None, 1000 + i));
            grants.issue_configure(MAC, ip(2), None, 1001 + i).unwrap();
            grants.issue(MAC, ip(1), None, 1001 + i).unwrap();
        }
        assert!(grants.configures(&token, MAC, None, 1005), "what others ask for takes no token away");
        (0..4).for_each(|i| drop(grants.issue_configure(MAC, ip(1), None, 1001 + i).unwrap()));
        assert!(!grants.configures(&token, MAC, None, 1005), "the oldest of its own is gone");
    }

    #[test]
    fn grants_survive_a_restart_and_end() {
        let dir = tempfile::tempdir().unwrap();
        let (token, session) = {
            let grants = Grants::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
            let used = grants.issue(MAC, ip(1), None, 1000).unwrap();
            let session = grants.redeem(&used, MAC, ip(1), None, 1000).unwrap().session;
            (grants.issue(MAC, ip(1), None, 1000).unwrap(), session)
        };
        let grants = Grants::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        assert_eq!(grants.session(&session, 1001).unwrap(), MAC);
        grants.redeem(&token, MAC, ip(1), None, 1001).unwrap();
        grants.issue(MAC, ip(1), None, 1000 + 2 * SESSION_LIFE).unwrap();
        assert_eq!(grants.live.lock().unwrap().len(), 1);
        assert_eq!(grants.store.values::<Grant>(PREFIX).unwrap().len(), 1);
    }
}
