//! The files of a configuration: `netboot.yaml`, and the lists in `hosts.d/`, `profiles.d/` and `groups.d/` beside it.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::errors::{Errors, Source};
use super::yaml::{self, Node};

/// One file, as typed.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) source: Rc<Source>,
    pub(super) node: Node,
}

/// All files, as typed.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) main: Document,
    /// Each a list.
    pub(super) hosts: Vec<Document>,
    /// Each a list.
    pub(super) profiles: Vec<Document>,
    /// Each a list.
    pub(super) groups: Vec<Document>,
    /// What relative paths start from.
    pub(super) folder: PathBuf,
}

/// Reads them all; `None` if the main file can't be read.
pub(super) fn read(path: &Path, errors: &mut Errors) -> Option<Raw> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let main = document(path, errors);
    let hosts = drop_ins(&folder.join("hosts.d"), errors);
    let profiles = drop_ins(&folder.join("profiles.d"), errors);
    let groups = drop_ins(&folder.join("groups.d"), errors);
    Some(Raw { main: main?, hosts, profiles, groups, folder })
}

pub(super) fn document(path: &Path, errors: &mut Errors) -> Option<Document> {
    let text = match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                errors.whole(path, "is not UTF-8 text".to_owned());
                return None;
            }
        },
        Err(error) => {
            errors.whole(path, format!("can't be read: {error}"));
            return None;
        }
    };
    let source = Rc::new(Source::new(path, &text));
    match yaml::parse(&text) {
        Ok(node) => Some(Document { source, node }),
        Err((at, message)) => {
            errors.push(source.fault(at, "", format!("is not YAML: {message}")));
            None
        }
    }
}

/// The `*.yaml` files of a folder, by name. A folder that isn't there is empty.
fn drop_ins(folder: &Path, errors: &mut Errors) -> Vec<Document> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            errors.whole(folder, format!("can't be read: {error}"));
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
    paths.retain(|path| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden
            && path
                .extension()
                .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|e| extension == *e))
    });
    paths.sort();
    paths.iter().filter_map(|path| drop_in(path, errors)).collect()
}

/// An empty one is somebody's who has begun to write it: as a list of nothing it would take away all that it had.
fn drop_in(path: &Path, errors: &mut Errors) -> Option<Document> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        errors.whole(path, "is empty: a list is wanted, [] where there is nothing".to_owned());
        return None;
    }
    document(path, errors)
}
