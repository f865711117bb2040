//! What boots machines in place of the inventory (`netboot boot`, `api`, `quick`): asked over HTTP, and its files fetched.

mod remote;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::request::Parts;
use netboot_common::Mac;
use netboot_common::class::Class;
use tokio::runtime::Handle;

use self::remote::Remote;
use super::watch::Watch;
use crate::api::ApiState;
use crate::api::pixiecore::{self, Answering, Booter, Caller, Pixiecore};
use crate::config::{Checked, Origin};
use crate::dhcp::{Gate, Then};
use crate::http;
use crate::http::upstream;
use crate::inventory::events::Events;
use crate::pixiecore::seal::{KEY, Sealer};
use crate::pixiecore::{Base, Boot, Cpu, Place, base64, seal};
use crate::sys::place;

/// Bytes of an API's answer.
const ANSWER: usize = 1 << 20;
/// Where the key is kept.
const KEY_FILE: &str = "signing.key";

/// What was asked for on the command line.
#[derive(Debug)]
pub(in crate::cli) struct Booting {
    pub(in crate::cli) what: What,
    /// Files that the operator gave, by their names in URLs.
    pub(in crate::cli) given: Vec<(String, Given)>,
    /// The folder of `file:` URLs.
    pub(in crate::cli) files: Option<PathBuf>,
    /// Servers that files are fetched from wherever they are.
    pub(in crate::cli) hosts: Vec<Origin>,
    /// `None`: one of our own, kept in the state's folder.
    pub(in crate::cli) key: Option<[u8; KEY]>,
    /// How long the name of a file is good.
    pub(in crate::cli) lifetime: Duration,
}

/// Who says what machines boot.
#[derive(Debug)]
pub(in crate::cli) enum What {
    Same(Boot),
    Api { url: String, base: Base, timeout: Duration, tells_arch: bool },
}

/// A file that the operator gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Given {
    Path(PathBuf),
    Url(String),
}

/// Opens what boots machines in place of the inventory, if anything does; who is asked for each of them, if anybody is.
///
/// # Errors
/// As [`Booting::open`].
pub(super) fn open(
    booting: Option<Booting>,
    config: &Checked,
    state: &ApiState,
    watch: Watch,
) -> anyhow::Result<Option<Arc<dyn Gate>>> {
    let Some(booting) = booting else { return Ok(None) };
    let opened = booting.open(&config.paths.state, state.events.clone(), watch)?;
    let gate: Option<Arc<dyn Gate>> = match &opened.booter {
        Booter::Same(_) => None,
        Booter::Asked(caller) => {
            tracing::info!("what each machine boots says {caller}");
            Some(Arc::new(AskFirst(caller.clone())))
        }
    };
    // Once.
    let _ = state.pixiecore.set(Arc::new(opened));
    Ok(gate)
}

impl Booting {
    /// `state`: the folder of what is kept.
    ///
    /// # Errors
    /// The key can't be read or kept.
    fn open(self, state: &Path, events: Arc<Events>, watch: Watch) -> anyhow::Result<Pixiecore> {
        let path = state.join(KEY_FILE);
        let key = self.key.map_or_else(|| kept_key(&path).with_context(|| path.display().to_string()), Ok)?;
        let typed = self.given.iter().filter_map(|(_, given)| match given {
            Given::Url(url) => Origin::split(url).map(|(origin, _)| origin),
            Given::Path(_) => None,
        });
        let hosts = self.hosts.iter().cloned().chain(typed).collect();
        let told = watch.clone();
        let accesses: Arc<dyn Fn(http::Event) + Send + Sync> = Arc::new(move |event| told.http(event));
        let bootif = matches!(self.what, What::Same(_));
        let (booter, trust) = match self.what {
            What::Same(boot) => (Booter::Same(Arc::new(boot)), None),
            What::Api { url, base, timeout, tells_arch } => {
                let known = upstream::Trust::of_system().map_err(anyhow::Error::msg)?;
                let trust = known.clone();
                let ask: pixiecore::Ask = Arc::new(move |url| {
                    let trust = trust.clone();
                    Box::pin(async move { upstream::get(&trust, &url, timeout, ANSWER).await })
                });
                let (runtime, events) = (Handle::current(), events.clone());
                let caller = Caller::new(&url, base, tells_arch, timeout, ask, runtime, events);
                (Booter::Asked(Arc::new(caller)), Some(known))
            }
        };
        let remote = Remote::new(state.join("remote"), hosts, trust, events, accesses.clone());
        let files = Arc::new(Sources {
            given: self.given.into_iter().collect(),
            folder: self.files,
            local: http::Named::new(accesses),
            remote,
        });
        Ok(Pixiecore {
            booter,
            files: Arc::new(Files(files)),
            sealer: Sealer::new(&key),
            lifetime: self.lifetime,
            bootif,
        })
    }
}

/// The key in this file, which is made where it is not there: names that were given out before a restart are good after it.
fn kept_key(path: &Path) -> anyhow::Result<[u8; KEY]> {
    match std::fs::read_to_string(path) {
        Ok(text) => return seal::key(&text).map_err(anyhow::Error::msg),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut key = [0; KEY];
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let text = format!("{}\n", base64::to_url(&key));
    place::put(&[(path.to_owned(), text.as_bytes(), 0o600)], true).map_err(|(_, error)| error)?;
    Ok(key)
}

/// Where the files of boots are.
struct Sources {
    given: HashMap<String, Given>,
    folder: Option<PathBuf>,
    local: http::Named,
    remote: Remote,
}

struct Files(Arc<Sources>);

impl pixiecore::Files for Files {
    fn has(&self, name: &str) -> bool {
        self.0.given.contains_key(name)
    }

    fn answer(&self, place: Place, request: Parts) -> Answering {
        let sources = self.0.clone();
        Box::pin(async move {
            let place = match place {
                Place::Named(name) => match sources.given.get(&name) {
                    Some(Given::Path(path)) => return sources.local.answer(path, request).await,
                    Some(Given::Url(url)) => Place::Remote(url.clone()),
                    None => Place::Named(name),
                },
                place => place,
            };
            match (place, &sources.folder) {
                (Place::Remote(url), _) => sources.remote.answer(&url, request).await,
                (Place::Local(name), Some(folder)) => {
                    sources.local.answer_below(folder, &name, request).await
                }
                // By a server with the same key, and another folder.
                (Place::Local(_) | Place::Named(_), _) => remote::none("no such file here"),
            }
        })
    }
}

/// Has the API asked before a machine is offered anything.
struct AskFirst(Arc<Caller>);

impl Gate for AskFirst {
    fn ask(&self, mac: Mac, class: Class, then: Then) {
        self.0.of_dhcp(mac, Cpu::of(class), move |verdict| then(verdict.is_ok()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn px_58_the_key_is_the_same_after_a_restart_and_nobody_else_s() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        let key = kept_key(&path).unwrap();
        assert_eq!(kept_key(&path).unwrap(), key);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        // What a killed server left, and others may read, becomes no key.
        let left = other.path().join(format!(".{KEY_FILE}.new"));
        std::fs::write(&left, "").unwrap();
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o644)).unwrap();
        let path_of_other = other.path().join(KEY_FILE);
        assert_ne!(kept_key(&path_of_other).unwrap(), key);
        assert_eq!(std::fs::metadata(path_of_other).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "AAAA").unwrap();
        assert!(kept_key(&path).unwrap_err().to_string().contains("has 3 bytes"));
    }
}
