//! `matchbox`: a data folder of bootcfg or matchbox, and the key that signs what machines are given.

use std::path::{Path, PathBuf};

use super::check::folder_of;
use super::entries;
use super::errors::Errors;
use super::reader::{Place, Section};

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
            let has =
                |folders: &[&'static str]| folders.iter().copied().find(|folder| path.join(folder).is_dir());
            let (served, clouds) = EPOCHS.split_at(3);
            if has(served).is_none()
                && let Some(between) = has(&BETWEEN)
            {
                return Err(format!(
                    "{} has {between}, as bootcfg had before there were groups: that is not served; \
                     `netboot host import --from bootcfg` reads its machines",
                    path.display()
                ));
            }
            if has(served).or_else(|| has(clouds)).is_some() {
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

/// A fault where a folder that everybody is served from has the key in it.
pub(super) fn keep_out(ring: &Path, served: &Path, site: &Place, errors: &mut Errors) {
    let real = |path: &Path| path.canonicalize().ok();
    if let (Some(at), Some(folder)) = (real(ring), real(served))
        && at.starts_with(&folder)
    {
        let (ring, served) = (ring.display(), served.display());
        site.fault(
            errors,
            format!("matchbox.key_ring: {ring} is below {served}, which everybody is served from: put it elsewhere"),
        );
    }
}

/// Folders that a data folder has, of one epoch or the other.
const EPOCHS: [&str; 4] = ["groups", "profiles", "boot", "cloud"];
/// Those of the versions between the two, which have a `cloud` as well.
const BETWEEN: [&str; 2] = ["machines", "specs"];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::config::{Matchbox, load};

    fn loaded(section: &str, folders: &[&str]) -> Result<Matchbox, String> {
        let dir = tempfile::tempdir().unwrap();
        for folder in folders {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("ring"), "").unwrap();
        std::fs::create_dir(dir.path().join("assets")).unwrap();
        std::fs::write(dir.path().join("assets/ring"), "").unwrap();
        let main =
            format!("interfaces: [{{ name: eth1, dhcp: proxy }}]\nassets: assets\nmatchbox: {section}\n");
        std::fs::write(dir.path().join("netboot.yaml"), main).unwrap();
        let checked = load(&dir.path().join("netboot.yaml")).map_err(|errors| errors.to_string())?;
        let short = |path: std::path::PathBuf| path.strip_prefix(dir.path()).unwrap().to_owned();
        let Matchbox { data, key_ring } = checked.matchbox;
        Ok(Matchbox { data: data.map(short), key_ring: key_ring.map(short) })
    }

    /// BC-01, BC-20: what is not there is said at the start.
    #[test]
    fn a_data_folder_is_one_of_two_kinds() {
        let both = Matchbox { data: Some("data".into()), key_ring: Some("ring".into()) };
        for folder in ["data/groups", "data/profiles", "data/boot", "data/cloud"] {
            assert_eq!(loaded("{ data: data, key_ring: ring }", &[folder]), Ok(both.clone()), "{folder}");
        }
        assert_eq!(loaded("{}", &[]), Ok(Matchbox::default()));
        let between = loaded("{ data: data }", &["data/cloud", "data/specs/orion"]).unwrap_err();
        assert!(
            between.contains("has specs, as bootcfg had") && between.contains("host import"),
            "{between}"
        );
        assert!(loaded("{ data: data }", &["data/groups", "data/specs"]).is_ok(), "what was left behind");
        for (section, want) in [
            ("{ data: data/groups, key_ring: assets/ring }", "/assets/ring is below "),
            ("{ data: none }", "matchbox.data: "),
            (
                "{ data: data }",
                "has neither matchbox's folders (groups, profiles) nor bootcfg's (boot, cloud)",
            ),
            ("{ data: ring }", "is not a folder"),
            ("{ key_ring: none }", "matchbox.key_ring: "),
            ("{ dato: data }", "dato"),
        ] {
            let fault = loaded(section, &["data/ignition"]).unwrap_err();
            assert!(fault.contains(want), "{section}: {fault}");
        }
    }
}
