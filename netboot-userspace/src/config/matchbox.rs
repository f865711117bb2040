//! `matchbox`: a data folder of bootcfg or matchbox, and the key that signs what machines are given.

use std::path::{Path, PathBuf};

use super::check::folder_of;
use super::entries;
use super::errors::Errors;
use super::reader::Section;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matchbox {
    /// Its groups, profiles and templates; or `boot/` and `cloud/` of the first epoch.
    pub data: Option<PathBuf>,
    /// OpenPGP secret keys, the first of which signs.
    pub key_ring: Option<PathBuf>,
}

pub(super) fn read(top: &mut Section<'_>, base: &Path, errors: &mut Errors) -> Matchbox {
    let Some(mut section) = top.take("matchbox").and_then(|field| field.section(errors)) else {
        return Matchbox::default();
    };
    let data = section.take("data").and_then(|field| {
        field.parse(errors, |text| {
            let path = folder_of(text, base)?;
            if EPOCHS.iter().any(|folder| path.join(folder).is_dir()) {
                return Ok(path);
            }
            Err(format!(
                "{} has neither matchbox's folders (groups, profiles) nor bootcfg's (boot, cloud)",
                path.display()
            ))
        })
    });
    let key_ring = section.take("key_ring").and_then(|field| {
        field.parse(errors, |text| {
            let path = entries::folder(text, base)?;
            entries::readable(&path).map(|()| path)
        })
    });
    section.finish(errors);
    Matchbox { data, key_ring }
}

/// Folders that a data folder has, of one epoch or the other.
const EPOCHS: [&str; 4] = ["groups", "profiles", "boot", "cloud"];
