//! Files that are there whole or not at all, and never readable by more than their mode says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// A file that is to be: where, its content, and its mode.
pub type New<'a> = (PathBuf, &'a [u8], u32);

/// Puts files into folders that are there; `replace`: also where there are some. All are on the disk before the first has its name, so that
/// those of different times are beside each other for a moment only.
///
/// # Errors
/// With what can't be written.
pub fn put(files: &[New<'_>], replace: bool) -> Result<(), (PathBuf, io::Error)> {
    let put = put_all(files, replace);
    if put.is_err() {
        // There may be secrets in them.
        files.iter().for_each(|(path, ..)| drop(fs::remove_file(beside(path))));
    }
    put
}

fn put_all(files: &[New<'_>], replace: bool) -> Result<(), (PathBuf, io::Error)> {
    for (path, bytes, mode) in files {
        write(&beside(path), bytes, *mode).map_err(|error| (path.clone(), error))?;
    }
    for (path, ..) in files {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let named = renameat_with(CWD, beside(path), CWD, path, flags);
        named.map_err(|error| (path.clone(), io::Error::from(error)))?;
    }
    for (path, ..) in files {
        let folder = folder_of(path);
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| (folder.to_owned(), error))?;
    }
    Ok(())
}

/// What becomes `path`.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// A name alone is in the folder that we are in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // What was left of an attempt before may have other permissions, or be open to others.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_unasked_though_it_was_not_there_a_moment_ago() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.key");
        let file = |text: &'static str| [(path.clone(), text.as_bytes(), 0o600_u32)];
        put(&file("first"), false).unwrap();
        let (at, error) = put(&file("second"), false).unwrap_err();
        assert_eq!((&at, error.kind()), (&path, io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert!(!beside(&path).exists(), "nor does a secret stay behind");
        put(&file("third"), true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
    }

    #[test]
    fn no_file_has_its_name_before_all_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let [key, certificate] = ["server.key", "server.crt"].map(|name| dir.path().join(name));
        fs::write(&key, "old").unwrap();
        // There is no room for the second one.
        fs::create_dir_all(beside(&certificate)).unwrap();
        let files = [(key.clone(), &b"new"[..], 0o600_u32), (certificate, &b"new"[..], 0o644)];
        put(&files, true).unwrap_err();
        assert_eq!(fs::read_to_string(&key).unwrap(), "old");
        assert!(!beside(&key).exists());
    }

    #[test]
    fn a_name_alone_is_in_the_folder_that_we_are_in() {
        for (path, folder) in [("server.key", "."), ("tls/server.key", "tls"), ("/server.key", "/")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder));
        }
    }
}
