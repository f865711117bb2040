//! What machines are given from beside the inventory: the data folder and the key ring that the configuration names.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::rooms;
use crate::api::ApiState;
use crate::api::render::{Folder, Rendering, Signer, Unfit};
use crate::config::{Checked, Level};
use crate::render::trial;

/// Where the key ring's passphrase is: in no file, and in no argument.
const PASSPHRASE: &str = "NETBOOT_PASSPHRASE";

/// # Errors
/// The key ring signs nothing.
pub(super) fn open(config: &Checked) -> anyhow::Result<Rendering> {
    let folder = config.matchbox.data.clone().map(|data| Arc::new(Folder::new(data)));
    Ok(Rendering { folder, signer: signer(config)? })
}

/// How soon a change of the data folder is known to those who ask for nothing in it: DHCP, and TFTP.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at the data folder again and again, as long as the site serves. On a network's file system it may hang: nobody else does then.
pub(super) async fn follow(state: Weak<ApiState>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(state) = state.upgrade() else { return };
        let _ = tokio::task::spawn_blocking(move || state.refresh_folder()).await;
    }
}

/// Tries what is named beside the inventory: all that is wrong with it. What can't be tried without the server's environment.
///
/// # Errors
/// The key ring signs nothing, or there is something wrong in the data folder.
pub(super) fn check(config: &Checked) -> anyhow::Result<Option<String>> {
    let untried = match signer(config) {
        Ok(_) => None,
        Err(Unfit::Locked(fault)) => Some(format!("not tried, for {PASSPHRASE} is not set here: {fault}")),
        Err(fault) => return Err(fault.into()),
    };
    let Some(folder) = config.matchbox.data.clone().map(Folder::new) else { return Ok(untried) };
    let faults = folder.faults();
    if !faults.is_empty() {
        anyhow::bail!("matchbox.data: {}\n{}", folder.path().display(), faults.join("\n"));
    }
    Ok(untried)
}

/// What is wrong with the templates of profiles, as far as the configured hosts show it.
pub(super) fn templates(config: &Checked) -> Vec<(Level, String)> {
    if config.profiles.iter().all(|profile| profile.configs.is_empty()) {
        return Vec::new();
    }
    // Hosts that contradict each other are said elsewhere.
    let Ok(snapshot) = rooms::snapshot(config) else { return Vec::new() };
    let faults = trial::faults(&snapshot, config.default_profile.as_deref());
    let placed = faults.into_iter().map(|(name, fault)| {
        let place = config.profiles.iter().position(|profile| profile.name == name);
        (place.map_or(Level::Site, Level::Profile), fault)
    });
    placed.collect()
}

fn signer(config: &Checked) -> Result<Option<Signer>, Unfit> {
    let Some(ring) = &config.matchbox.key_ring else { return Ok(None) };
    let passphrase = std::env::var(PASSPHRASE).ok();
    Signer::open(ring, passphrase.as_deref()).map(Some).map_err(|unfit| match unfit {
        Unfit::Locked(fault) => Unfit::Locked(format!("matchbox.key_ring: {fault}")),
        Unfit::Wrong(fault) => Unfit::Wrong(format!("matchbox.key_ring: {fault}")),
    })
}
