//! The files of a configuration: `netboot.yaml`, and the lists in `hosts.d/`, `profiles.d/` and `groups.d/` beside it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::errors::{Errors, Source};
use super::yaml::{self, Node};
use crate::sys::open::RegularFile;

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
    // The operator may name whatever can be read, as a pipe.
    let main = text(path, std::fs::read(path), errors);
    let hosts = drop_ins(&folder.join("hosts.d"), errors);
    let profiles = drop_ins(&folder.join("profiles.d"), errors);
    let groups = drop_ins(&folder.join("groups.d"), errors);
    Some(Raw { main: main?, hosts, profiles, groups, folder })
}

/// A file that is found beside others: no FIFO is waited for.
pub(super) fn document(path: &Path, errors: &mut Errors) -> Option<Document> {
    let bytes = regular(path).and_then(|mut file| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes)
    });
    text(path, bytes, errors)
}

pub(super) fn regular(path: &Path) -> io::Result<File> {
    // What stands in the way the system tells best.
    RegularFile::open(path).map(|opened| opened.file).map_err(|refusal| match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => io::Error::other("it is no regular file"),
        Ok(_) => io::Error::other(refusal),
        Err(error) => error,
    })
}

fn text(path: &Path, bytes: io::Result<Vec<u8>>, errors: &mut Errors) -> Option<Document> {
    let text = match bytes {
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
    if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
        errors.whole(path, "is empty: a list is wanted, [] where there is nothing".to_owned());
        return None;
    }
    document(path, errors)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode};

    use crate::config::load;

    /// A FIFO that nobody writes to is a fault like another: whoever opened it would wait for ever.
    #[test]
    fn no_fifo_in_the_place_of_a_file_is_waited_for() {
        const MAIN: &str = "\
interfaces: [{ name: eth1, dhcp: proxy }]
assets: .
livebootp: { config: registry, images: images, ssh_authorized_keys: keys }
profiles: [{ name: a, kernel: fifo, initrd: folder }]
";
        const OWN: &str = "\
n1: { hardware-ethernet: '52:54:00:12:34:56', image-name: web/1, ssh-authorized-keys: fifo }
";
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let fifo = |name: &str| rustix::fs::mknodat(CWD, at(name), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for folder in ["hosts.d", "registry", "images/web/1", "keys", "folder"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("netboot.yaml"), MAIN).unwrap();
        std::fs::write(at("registry/config.yml"), OWN).unwrap();
        for name in
            ["fifo", "hosts.d/x.yaml", "registry/config-default.yml", "keys/fifo", "images/web/1/kernel"]
        {
            fifo(name);
        }
        let faults = load(&at("netboot.yaml")).unwrap_err().to_string();
        for want in [
            "/fifo can't be read: it is no regular file",
            "/folder can't be read: it is no regular file",
            "hosts.d/x.yaml: can't be read: it is no regular file",
            "registry/config-default.yml: can't be read: it is no regular file",
            "keys/fifo can't be read: ",
        ] {
            assert!(faults.contains(want), "{want}: {faults}");
        }
    }
}
