//! Who may use the API over the network: bearer tokens (RFC 6750), each with a name and a role.
//!
//! A token is 256 random bits, shown once. Of it only the SHA-256 is kept, without salt and stretching: those make up for passwords that
//! people choose, of which there are few enough to try them all; of 2^256 tokens nobody tries a part worth naming, whatever each costs. So
//! a hash that is read from the store is good for nothing, and one cheap hash is all that a request costs.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::audit::Said;
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
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    token: Token,
    sha256: String,
}

/// One that may be presented.
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
    all: RwLock<Vec<Valid>>,
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
        let all = RwLock::new(kept.filter_map(valid).collect());
        Ok(Self { store, all })
    }

    /// Makes a token; its secret, which nobody can be told again.
    ///
    /// # Errors
    /// Why not; there is none then.
    pub fn add(&self, name: &str, role: Role, expires_in: Option<u64>, now: u64) -> Result<String, Refused> {
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
        let token = Token { name: name.to_owned(), role, created: now, expires };
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.iter().any(|other| other.token.name == name) {
            return Err(Refused::Taken(name.to_owned()));
        }
        if all.len() >= MOST {
            return Err(Refused::Full);
        }
        let kept = Kept { token: token.clone(), sha256: Digest(hash).to_string() };
        self.store.put_values(&[(&key(name), Some(&kept))])?.wait()?;
        all.push(Valid { token, hash });
        Ok(secret)
    }

    /// Nobody may use it from now on.
    ///
    /// # Errors
    /// There is none, or the store can't be written: then it is valid until the next start at most.
    pub fn remove(&self, name: &str) -> Result<(), Refused> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|valid| valid.token.name == name);
        all.remove(at.ok_or_else(|| Refused::Unknown(name.to_owned()))?);
        Ok(self.store.put_values::<Kept>(&[(&key(name), None)])?.wait()?)
    }

    /// All of them, those that have expired too.
    pub fn list(&self) -> Vec<Token> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut tokens: Vec<Token> = all.iter().map(|valid| valid.token.clone()).collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        tokens
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

    fn valid(&self, hash: &[u8; 32], now: u64) -> Option<Token> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for valid in all.iter() {
            if is_same(&valid.hash, hash) {
                found = Some(valid);
            }
        }
        let alive = |valid: &&Valid| valid.token.expires.is_none_or(|end| now < end);
        found.filter(alive).map(|valid| valid.token.clone())
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Made {
    #[serde(flatten)]
    pub token: Token,
    /// For `Authorization: Bearer`. It is nowhere else.
    pub secret: String,
}

pub(super) async fn list(State(state): Shared) -> Json<Vec<Token>> {
    Json(state.tokens.list())
}

pub(super) async fn add(
    State(state): Shared,
    body: Bytes,
) -> Result<(StatusCode, Said, Json<Made>), ApiError> {
    let NewToken { name, role, expires_in } = read(&body)?;
    let (created, text) = (now(), format!("token {name} added, with the role {role}"));
    blocking(move || {
        let secret = state.tokens.add(&name, role, expires_in, created)?;
        let token = Token { name, role, created, expires: expires_in.map(|time| created + time) };
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
}
