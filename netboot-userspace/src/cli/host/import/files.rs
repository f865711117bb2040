//! The files that are read.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::inventory::import::{Format, Source, bootcfg};

/// One file, standard input, or what of a data folder may name hosts.
pub(super) fn sources(format: Format, path: &Path) -> anyhow::Result<Vec<Source>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("reading standard input")?;
        return Ok(vec![source("standard input".to_owned(), bytes)?]);
    }
    let metadata = fs::metadata(path).with_context(|| format!("{} can't be read", path.display()))?;
    match (metadata.is_dir(), format) {
        (false, _) => Ok(vec![file(path)?]),
        (true, Format::Bootcfg) => folder(path)?.iter().map(|path| file(path)).collect(),
        (true, _) => bail!("{} is a folder: name a file in it", path.display()),
    }
}

fn file(path: &Path) -> anyhow::Result<Source> {
    let bytes = fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    source(path.display().to_string(), bytes)
}

fn source(name: String, bytes: Vec<u8>) -> anyhow::Result<Source> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
            bail!("{name}:{line}: is not UTF-8 text")
        }
    }
}

/// The files below `root` that may name a host, in order. Links are followed to files only.
fn folder(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = || format!("{} can't be read", folder.display());
        for entry in fs::read_dir(&folder).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let path = entry.path();
            if entry.file_type().with_context(unreadable)?.is_dir() {
                folders.push(path);
            } else if path.strip_prefix(root).is_ok_and(|path| bootcfg::concerns(&path.to_string_lossy())) {
                found.push(path);
            }
        }
    }
    found.sort();
    match found.is_empty() {
        true => bail!("{} has no groups, machines, boot or cloud folder of bootcfg's", root.display()),
        false => Ok(found),
    }
}
