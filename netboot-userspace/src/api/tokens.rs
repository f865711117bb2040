//! Who may use the API over the network: bearer tokens (RFC 6750), each with a name and a role.
//!
//! A token is 256 random bits, shown once. Of it only the SHA-256 is kept, without salt and stretching: those make up for passwords that
//! people choose, of which there are few enough to try them all; of 2^256 tokens nobody tries a part worth naming, whatever each costs. So
//! a hash that is read from the store is good for nothing, and one cheap hash is all that a request costs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::audit::Said;
use super::auth::Caller;
use super::control::{Shared, read};
use super::roles::Role;
use super::{ApiError, blocking};
use crate::image::digest::Digest;
use crate::store::{self, Store};
use crate::sys::clock::now;

/// What every token begins with, so that people and scanners see what leaked.
const MARK: &str = "netboot_";
/// Under which the store has them.
const PREFIX: &str = "token/";
/// All are compared with each that is tried.
const MOST: usize = 256;
/// Seconds: a hundred years.
const LONGEST: u64 = 100 * 366 * 86_400;
/// Seconds after which the wall's clock, which may be set, is asked again whether a token has expired.
const LOOK_AGAIN: u64 = 60;

/// Why a token can't be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("name: {0:?} is no name for a token: it takes letters, digits and -_., 63 at most")]
    Name(String),
    #[error("there is a token {0} already: remove it first, or choose another name")]
    Taken(String),
    #[error("there is no token {0}")]
    Unknown(String),
    #[error("there are {MOST} tokens already: remove one")]
    Full,
    #[error("the token that was to make it has ended")]
    Ended,
    #[error("expires_in: {0} seconds is no time: it takes 1 to {LONGEST}")]
    Expires(u64),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Name(_) | Refused::Expires(_) => StatusCode::BAD_REQUEST,
            Refused::Taken(_) | Refused::Full => StatusCode::CONFLICT,
            Refused::Unknown(_) => StatusCode::NOT_FOUND,
            Refused::Ended => StatusCode::UNAUTHORIZED,
            Refused::Store(error) => return error.into(),
            Refused::Random(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refused.to_string())
    }
}

/// A token, as it is kept and as it is listed; its secret is neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub name: String,
    pub role: Role,
    /// Unix time, seconds.
    pub created: u64,
    /// The same; `None`: it does not end by itself.
    pub expires: Option<u64>,
    /// It was removed and opens nothing, but the store has it still: it would be valid again after a restart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    token: Token,
    sha256: String,
}

/// One that may be presented, unless it is revoked.
#[derive(Clone, Debug)]
struct Valid {
    token: Token,
    hash: [u8; 32],
}

/// Which token it was, for as long as it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Presented([u8; 32]);

/// All tokens.
#[derive(Debug)]
pub struct Tokens {
    store: Arc<Store>,
    /// Whoever reads them waits for nobody; they are replaced by who has the turn.
    all: ArcSwap<Vec<Valid>>,
    turn: Mutex<()>,
    /// Told of each that is removed.
    removed: watch::Sender<()>,
}

impl Tokens {
    /// Those that the store remembers.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn open(store: Arc<Store>) -> Result<Self, store::Error> {
        let kept = store.values::<Kept>(PREFIX)?.into_iter();
        let valid = |(_, Kept { token, sha256 }): (String, Kept)| {
            sha256.parse().ok().map(|Digest(hash)| Valid { token, hash })
        };
        let all = ArcSwap::from_pointee(kept.filter_map(valid).collect());
        Ok(Self { store, all, turn: Mutex::default(), removed: watch::Sender::new(()) })
    }

    /// Makes a token; its secret, which nobody can be told again.
    ///
    /// # Errors
    /// Why not; there is none then.
    pub fn add(&self, name: &str, role: Role, expires_in: Option<u64>, now: u64) -> Result<String, Refused> {
        self.add_by(None, name, role, expires_in, now)
    }

    /// The same, for the holder of a token: one that is removed at the same time makes none.
    fn add_by(
        &self,
        maker: Option<Presented>,
        name: &str,
        role: Role,
        expires_in: Option<u64>,
        now: u64,
    ) -> Result<String, Refused> {
        let ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 63 || !name.chars().all(ok) {
            return Err(Refused::Name(name.to_owned()));
        }
        if let Some(never) = expires_in.filter(|time| !(1..=LONGEST).contains(time)) {
            return Err(Refused::Expires(never));
        }
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(Refused::Random)?;
        let secret = format!("{MARK}{}", Digest(bits));
        let (hash, expires) = (hash(&secret), expires_in.map(|time| now + time));
        let token = Token { name: name.to_owned(), role, created: now, expires, revoked: false };
        let _turn = self.turn();
        if maker.is_some_and(|maker| !self.is_valid(maker, now)) {
            return Err(Refused::Ended);
        }
        let mut all = Vec::clone(&self.all.load());
        if all.iter().any(|other| other.token.name == name) {
            return Err(Refused::Taken(name.to_owned()));
        }
        if all.len() >= MOST {
            return Err(Refused::Full);
        }
        let kept = Kept { token: token.clone(), sha256: Digest(hash).to_string() };
        self.store.put_values(&[(&key(name), Some(&kept))])?.wait()?;
        all.push(Valid { token, hash });
        self.all.store(Arc::new(all));
        Ok(secret)
    }

    /// Nobody may use it from now on.
    ///
    /// # Errors
    /// There is none, or the store can't be written: then it stays revoked until the daemon ends, and can be removed again.
    pub fn remove(&self, name: &str) -> Result<(), Refused> {
        let _turn = self.turn();
        let mut all = Vec::clone(&self.all.load());
        let at = all.iter().position(|valid| valid.token.name == name);
        let at = at.ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        all[at].token.revoked = true;
        self.all.store(Arc::new(all.clone()));
        self.removed.send_replace(());
        self.store.put_values::<Kept>(&[(&key(name), None)])?.wait()?;
        all.remove(at);
        self.all.store(Arc::new(all));
        Ok(())
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, those that have expired too.
    pub fn list(&self) -> Vec<Token> {
        let mut tokens: Vec<Token> = self.all.load().iter().map(|valid| valid.token.clone()).collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        tokens
    }

    /// Those that only the running daemon knows to be removed, a line each.
    pub(super) fn notices(&self) -> Vec<String> {
        let revoked = self.list().into_iter().filter(|token| token.revoked);
        let notice = |Token { name, .. }: Token| {
            format!(
                "the token {name} was removed, but the store has it still, and it is valid again after a restart: \
                 `netboot token remove {name}` once the store can be written"
            )
        };
        revoked.map(notice).collect()
    }

    /// Whose secret this is. Every hash is compared, and each as a whole: how long it takes tells nothing of any.
    pub(super) fn holder(&self, secret: &str, now: u64) -> Option<(Token, Presented)> {
        let hash = hash(secret);
        self.valid(&hash, now).map(|token| (token, Presented(hash)))
    }

    /// Whether it still is one.
    pub(super) fn is_valid(&self, Presented(hash): Presented, now: u64) -> bool {
        self.valid(&hash, now).is_some()
    }

    /// Resolves when it is one no longer: at once when it is removed.
    pub(super) async fn ended(&self, presented: Presented) {
        let mut removed = self.removed.subscribe();
        loop {
            let now = now();
            let Some(token) = self.valid(&presented.0, now) else { return };
            let left = token.expires.map(|end| end.saturating_sub(now).clamp(1, LOOK_AGAIN));
            tokio::select! {
                // It fails only with us.
                _ = removed.changed() => {}
                () = after(left) => {}
            }
        }
    }

    fn valid(&self, hash: &[u8; 32], now: u64) -> Option<Token> {
        let all = self.all.load();
        // A clock that is behind one of them was not set yet: what had expired stays so.
        let now = all.iter().map(|valid| valid.token.created).fold(now, u64::max);
        let mut found = None;
        for valid in all.iter() {
            if is_same(&valid.hash, hash) {
                found = Some(valid);
            }
        }
        let alive =
            |Valid { token, .. }: &&Valid| !token.revoked && token.expires.is_none_or(|end| now < end);
        found.filter(alive).map(|valid| valid.token.clone())
    }
}

/// `None`: never.
async fn after(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// What a new token is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    pub name: String,
    pub role: Role,
    /// Seconds; without it, it does not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A token with its secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Made {
    #[serde(flatten)]
    pub token: Token,
    /// For `Authorization: Bearer`. It is nowhere else.
    pub secret: String,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("token", &self.token).finish_non_exhaustive()
    }
}

pub(super) async fn list(State(state): Shared) -> Json<Vec<Token>> {
    Json(state.tokens.list())
}

pub(super) async fn add(
    State(state): Shared,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<(StatusCode, Said, Json<Made>), ApiError> {
    let NewToken { name, role, expires_in } = read(&body)?;
    let (created, text) = (now(), format!("token {name} added, with the role {role}"));
    blocking(move || {
        let secret = state.tokens.add_by(caller.token, &name, role, expires_in, created)?;
        let expires = expires_in.map(|time| created + time);
        let token = Token { name, role, created, expires, revoked: false };
        Ok((StatusCode::CREATED, Said(text), Json(Made { token, secret })))
    })
    .await?
}

pub(super) async fn remove(
    State(state): Shared,
    Path(name): Path<String>,
) -> Result<(StatusCode, Said), ApiError> {
    blocking(move || {
        state.tokens.remove(&name)?;
        Ok((StatusCode::NO_CONTENT, Said(format!("token {name} removed"))))
    })
    .await?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_from_its_making_to_its_end_over_restarts_and_is_nowhere_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let (ci, ops) = {
            let tokens = Tokens::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
            let ci = tokens.add("ci", Role::Boot, Some(90), 1000).unwrap();
            (ci, tokens.add("ops", Role::Admin, None, 1000).unwrap())
        };
        assert!(ci != ops && ci.starts_with(MARK) && ci.len() == MARK.len() + 64);
        let file = std::fs::read(dir.path().join(store::FILE)).unwrap();
        for secret in [&ci, &ops] {
            let digits = &secret.as_bytes()[MARK.len()..];
            assert!(!file.windows(64).any(|bytes| bytes == digits), "the store has only its hash");
        }
        let tokens = Tokens::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        let name = |secret: &str, now| tokens.holder(secret, now).map(|(token, _)| (token.name, token.role));
        assert_eq!(name(&ci, 1089), Some(("ci".to_owned(), Role::Boot)));
        assert_eq!((name(&ci, 1090), name("", 1000), name(&ci[1..], 1000)), (None, None, None));
        assert_eq!(name(&ops, u64::MAX), Some(("ops".to_owned(), Role::Admin)));
        let (_, presented) = tokens.holder(&ops, 1).unwrap();
        assert!(tokens.is_valid(presented, 1));
        tokens.remove("ops").unwrap();
        assert!(!tokens.is_valid(presented, 1) && name(&ops, 1).is_none());
        let again = tokens.add("ops", Role::View, None, 1000).unwrap();
        assert!(!tokens.is_valid(presented, 1) && name(&again, 1).is_some(), "its name alone is nothing");
    }

    #[test]
    fn what_can_not_be_a_token_is_refused_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        tokens.add("ci", Role::View, None, 0).unwrap();
        let refused = |name: &str, time| tokens.add(name, Role::View, time, 0).unwrap_err().to_string();
        for (name, time, words) in [
            ("", None, "is no name for a token"),
            ("a b", None, "is no name for a token"),
            ("../x", None, "is no name for a token"),
            ("ci", None, "there is a token ci already"),
            ("x", Some(0), "expires_in: 0 seconds"),
            ("x", Some(u64::MAX), "is no time"),
        ] {
            assert!(refused(name, time).contains(words), "{name}: {}", refused(name, time));
        }
        assert_eq!(tokens.remove("x").unwrap_err().to_string(), "there is no token x");
        (1..MOST).for_each(|i| drop(tokens.add(&format!("t{i}"), Role::View, None, 0).unwrap()));
        assert!(refused("one-more", None).contains("256 tokens already"));
        assert_eq!(tokens.list().len(), MOST);
    }

    #[test]
    fn a_clock_that_is_not_set_yet_brings_no_expired_token_back() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        let short = tokens.add("short", Role::View, Some(90), 1000).unwrap();
        assert!(tokens.holder(&short, 1089).is_some());
        tokens.add("later", Role::View, None, 2000).unwrap();
        assert!(tokens.holder(&short, 5).is_none());
    }

    #[test]
    fn a_removed_token_makes_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        let ops = tokens.add("ops", Role::Admin, None, 0).unwrap();
        let maker = tokens.holder(&ops, 0).map(|(_, presented)| presented);
        tokens.add_by(maker, "one", Role::View, None, 0).unwrap();
        tokens.remove("ops").unwrap();
        let refused = tokens.add_by(maker, "two", Role::View, None, 0).unwrap_err();
        assert!(matches!(refused, Refused::Ended), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_end_of_a_token_hears_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(Arc::new(Store::open(dir.path()).unwrap())).unwrap();
        let short = tokens.add("short", Role::View, Some(1), now()).unwrap();
        let expires = tokens.list()[0].expires.unwrap();
        if let Some((_, presented)) = tokens.holder(&short, now()) {
            tokens.ended(presented).await;
        }
        assert!(now() >= expires);
        let long = tokens.add("long", Role::View, Some(1000), now()).unwrap();
        let (_, presented) = tokens.holder(&long, now()).unwrap();
        tokio::join!(tokens.ended(presented), async { tokens.remove("long").unwrap() });
    }

    /// A disk on which nothing can be written once it is full.
    #[derive(Debug, Default)]
    struct Disk {
        bytes: redb::backends::InMemoryBackend,
        is_full: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Disk {
        fn room(&self) -> std::io::Result<()> {
            let is_full = self.is_full.load(std::sync::atomic::Ordering::SeqCst);
            if is_full { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl redb::StorageBackend for Disk {
        fn len(&self) -> std::io::Result<u64> {
            self.bytes.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.bytes.read(offset, out)
        }

        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.room()?;
            self.bytes.set_len(len)
        }

        fn sync_data(&self) -> std::io::Result<()> {
            self.room()
        }

        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.room()?;
            self.bytes.write(offset, data)
        }
    }

    #[test]
    fn a_token_that_the_store_can_not_forget_stays_revoked_and_is_told_of() {
        let disk = Disk::default();
        let is_full = disk.is_full.clone();
        let store = Store::on(disk, store::Clock::starting_at(1_000_000_000)).unwrap();
        let tokens = Tokens::open(Arc::new(store)).unwrap();
        let ops = tokens.add("ops", Role::Admin, None, 0).unwrap();
        assert!(tokens.notices().is_empty() && !tokens.list()[0].revoked);
        is_full.store(true, std::sync::atomic::Ordering::SeqCst);
        for _ in 0..2 {
            let refused = tokens.remove("ops").unwrap_err();
            assert!(matches!(refused, Refused::Store(_)), "it can be tried again: {refused}");
            assert!(tokens.holder(&ops, 0).is_none(), "it opens nothing");
            assert!(tokens.list()[0].revoked);
            assert!(tokens.notices()[0].contains("valid again after a restart: `netboot token remove ops`"));
        }
    }
}
