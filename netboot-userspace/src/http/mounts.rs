//! Which paths are static files, and which file a path means.

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::open::{self, Identity, Listed, Refusal, RegularFile, Root};

/// Files that the data plane serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// Everything below these folders, the first that has it.
    Folder {
        /// Where: starts and ends with `/`.
        prefix: String,
        /// The folders.
        roots: Vec<PathBuf>,
        /// Whether folders are answered with the list of what they have.
        index: bool,
    },
    /// One file; symbolic links are followed, as the operator named it.
    File {
        /// Where: starts with `/`.
        path: String,
        /// The file.
        file: PathBuf,
    },
}

/// Mounts with their folders held open.
#[derive(Debug)]
pub(super) struct Mounts(Vec<Open>);

#[derive(Debug)]
pub(super) enum Open {
    Folder { prefix: String, roots: Vec<Root>, index: bool },
    File { path: String, file: PathBuf },
}

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Place<'a> {
    /// A static path, of this mount.
    Static(&'a Open),
    /// One that no file can have.
    Malformed,
    /// Not ours.
    Elsewhere,
}

impl Mounts {
    pub(super) fn open(mounts: &[Mount]) -> Result<Self, (PathBuf, io::Error)> {
        mounts.iter().map(Open::new).collect::<Result<_, _>>().map(Self)
    }

    /// Looks a path up; `normal` becomes its normal form.
    pub(super) fn find(&self, path: &str, normal: &mut String) -> Place<'_> {
        let well_formed = normalise(path, normal);
        match self.of(normal) {
            None => Place::Elsewhere,
            Some(_) if !well_formed => Place::Malformed,
            Some(mount) => Place::Static(mount),
        }
    }

    /// Whose a path in its normal form is.
    pub(super) fn of(&self, normal: &str) -> Option<&Open> {
        self.0.iter().find(|mount| mount.covers(normal))
    }
}

impl Open {
    fn new(mount: &Mount) -> Result<Self, (PathBuf, io::Error)> {
        match mount {
            Mount::Folder { prefix, roots, index } => {
                let roots = roots.iter().map(|path| Root::open(path).map_err(|error| (path.clone(), error)));
                let prefix = format!("/{}/", prefix.trim_matches('/'));
                Ok(Self::Folder {
                    prefix: prefix.replace("//", "/"),
                    roots: roots.collect::<Result<_, _>>()?,
                    index: *index,
                })
            }
            Mount::File { path, file } => Ok(Self::File { path: path.clone(), file: file.clone() }),
        }
    }

    fn covers(&self, path: &str) -> bool {
        match self {
            Self::Folder { prefix, .. } => path.starts_with(prefix.as_str()),
            Self::File { path: own, .. } => path == own,
        }
    }

    /// Opens what a path in its normal form means, and says which of the mount's folders has it.
    pub(super) fn file(&self, path: &str) -> Result<(usize, RegularFile), Refusal> {
        let (prefix, roots) = match self {
            Self::File { file, .. } => return RegularFile::open(file).map(|file| (0, file)),
            Self::Folder { prefix, roots, .. } => (prefix, roots),
        };
        let name = path.get(prefix.len()..).unwrap_or_default();
        if name.is_empty() || name.ends_with('/') {
            return Err(Refusal::NotFound);
        }
        let mut reason = Refusal::NotFound;
        for (index, root) in roots.iter().enumerate() {
            match root.file(name) {
                Err(Refusal::NotFound) => {}
                // What may not be served hides nothing behind it.
                Err(Refusal::Forbidden) => reason = Refusal::Forbidden,
                found => return found.map(|file| (index, file)),
            }
        }
        Err(reason)
    }

    /// What the path means now, if it still is the file of this one of the mount's folders: those before it have no such name.
    pub(super) fn identity(&self, path: &str, root: usize) -> Option<Identity> {
        match self {
            Self::File { file, .. } => open::identity(file).ok(),
            Self::Folder { prefix, roots, .. } => {
                let name = path.get(prefix.len()..)?;
                let missing = |root: &Root| root.identity(name).err() == Some(Refusal::NotFound);
                let before = roots.get(..root)?;
                roots.get(root).filter(|_| before.iter().all(missing))?.identity(name).ok()
            }
        }
    }

    /// One of the folders.
    pub(super) fn root(&self, root: usize) -> Option<&Path> {
        match self {
            Self::Folder { roots, .. } => roots.get(root).map(Root::path),
            Self::File { .. } => None,
        }
    }

    /// Whether the path is a folder's, of which there is a list.
    pub(super) fn is_listed(&self, path: &str) -> bool {
        let Self::Folder { prefix, roots, index: true } = self else { return false };
        let name = path.get(prefix.len()..).unwrap_or_default().trim_end_matches('/');
        roots.iter().any(|root| root.is_folder(name))
    }

    /// What the folder of this path has, where such lists are wanted and it is one: the first names in their order. Waits for the disk.
    pub(super) fn list(&self, path: &str, most: usize) -> Option<Vec<Listed>> {
        let Self::Folder { prefix, roots, index: true } = self else { return None };
        let name = path.get(prefix.len()..)?.trim_end_matches('/');
        let mut folders = roots.iter().filter_map(|root| root.list(name, most).ok()).peekable();
        folders.peek()?;
        let mut listed: Vec<Listed> = folders.flatten().collect();
        // The sort is stable: the first folder's comes first.
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        listed.dedup_by(|later, first| later.name == first.name);
        listed.truncate(most);
        Some(listed)
    }
}

/// Writes the path with each segment decoded once and without empty and `.` segments, as far as it is well-formed:
/// `..`, an encoded slash, a NUL or a broken escape ends it, with `false`.
pub(super) fn normalise(path: &str, out: &mut String) -> bool {
    out.clear();
    out.push('/');
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        if !decode(segment, out) || &out[start..] == ".." {
            out.truncate(start);
            return false;
        }
        let last = segments.peek().is_none();
        match &out[start..] {
            "" => {}
            "." => out.truncate(start),
            _ if last => {}
            _ => out.push('/'),
        }
    }
    true
}

fn decode(segment: &str, out: &mut String) -> bool {
    if !segment.contains('%') {
        out.push_str(segment);
        return !segment.contains('\0');
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                _ => return false,
            },
            byte => bytes.push(byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains(['/', '\0']) => {
            out.push_str(&text);
            true
        }
        _ => false,
    }
}

/// The media type by file name (UEFI 2.10 section 24.7.3 for the first three).
pub(super) fn media_type(path: &str) -> &'static str {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is = |other: &str| extension.eq_ignore_ascii_case(other);
    if is("efi") {
        "application/efi"
    } else if is("iso") {
        "application/vnd.efi-iso"
    } else if is("img") {
        "application/vnd.efi-img"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(mounts: &Mounts, path: &str) -> Result<(usize, RegularFile), Refusal> {
        let mut normal = String::new();
        match mounts.find(path, &mut normal) {
            Place::Static(mount) => mount.file(&normal),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn uhb_8_paths_are_normalised_without_redirect() {
        for (path, want) in [
            ("/assets/a", "/assets/a"),
            ("//assets//./a", "/assets/a"),
            ("/assets/a%20b", "/assets/a b"),
            ("/assets/%2541", "/assets/%41"),
            ("/assets/", "/assets/"),
            ("/assets/.", "/assets/"),
            ("/", "/"),
        ] {
            let mut out = String::new();
            assert!(normalise(path, &mut out), "{path}");
            assert_eq!(out, want);
        }
    }

    #[test]
    fn uhb_7_media_types_of_what_firmware_boots() {
        for (path, want) in [
            ("/loaders/snponly.efi", "application/efi"),
            ("/a/BOOTX64.EFI", "application/efi"),
            ("/a/live.iso", "application/vnd.efi-iso"),
            ("/a/disk.img", "application/vnd.efi-img"),
            ("/a/vmlinuz", "application/octet-stream"),
            ("/a.efi/vmlinuz", "application/octet-stream"),
        ] {
            assert_eq!(media_type(path), want, "{path}");
        }
    }

    #[test]
    fn paths_that_climb_or_hide_something_are_malformed() {
        for path in [
            "/assets/../x",
            "/assets/%2e%2e/x",
            "/assets/.%2E",
            "/assets/a%2fb",
            "/assets/%00",
            "/assets/%4",
            "/assets/%zz",
            "/assets/%ff",
        ] {
            let mut out = String::new();
            assert!(!normalise(path, &mut out), "{path}");
            assert_eq!(out, "/assets/", "what came before is kept, so that the mount is known");
        }
    }

    #[test]
    fn what_may_not_be_served_hides_nothing_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = |name: &str| dir.path().join(name);
        for name in ["first", "second"] {
            std::fs::create_dir(root(name)).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", root("first/a")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root("first/b")).unwrap();
        std::fs::write(root("second/a"), b"good").unwrap();
        let roots = vec![root("first"), root("second")];
        let mounts =
            Mounts::open(&[Mount::Folder { prefix: "/loaders/".into(), roots, index: false }]).unwrap();
        let (root, file) = file(&mounts, "/loaders/a").unwrap();
        assert_eq!((root, file.read_whole().unwrap()), (1, b"good".to_vec()));
        assert_eq!(super::tests::file(&mounts, "/loaders/b").unwrap_err(), Refusal::Forbidden);
    }

    #[test]
    fn only_mounted_paths_are_ours() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"x").unwrap();
        let mounts = Mounts::open(&[
            Mount::Folder { prefix: "/assets/".into(), roots: vec![dir.path().to_owned()], index: false },
            Mount::File { path: "/boot/kernel".into(), file: dir.path().join("a") },
        ])
        .unwrap();
        for path in ["/assets/a", "/boot/kernel", "//boot/kernel"] {
            assert!(file(&mounts, path).is_ok(), "{path}");
        }
        for path in ["/assets/b", "/assets/", "/assets/a/"] {
            assert_eq!(file(&mounts, path).unwrap_err(), Refusal::NotFound, "{path}");
        }
        let mut normal = String::new();
        assert!(matches!(mounts.find("/assets/../a", &mut normal), Place::Malformed));
        for path in ["/", "/assets", "/boot/kernel2", "/api/../assets/a"] {
            assert!(matches!(mounts.find(path, &mut normal), Place::Elsewhere), "{path}");
        }
    }

    #[test]
    fn a_name_in_an_earlier_folder_takes_the_place_of_a_later_ones() {
        let dir = tempfile::tempdir().unwrap();
        let root = |name: &str| dir.path().join(name);
        for name in ["first", "second"] {
            std::fs::create_dir(root(name)).unwrap();
        }
        std::fs::write(root("second/a"), b"good").unwrap();
        let roots = vec![root("first"), root("second")];
        let mounts = Mounts::open(&[Mount::Folder { prefix: "/x/".into(), roots, index: true }]).unwrap();
        let mut normal = String::new();
        let Place::Static(mount) = mounts.find("/x/a", &mut normal) else { panic!("not ours") };
        let (root_index, file) = mount.file(&normal).unwrap();
        assert_eq!(mount.identity(&normal, root_index), Some(file.identity));
        std::fs::write(root("first/a"), b"better").unwrap();
        assert_eq!(mount.identity(&normal, root_index), None);
        std::fs::write(root("second/b"), b"other").unwrap();
        let listed = mount.list("/x/", 10).unwrap();
        let listed: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.size)).collect();
        assert_eq!(listed, [("a", 6), ("b", 5)]);
        assert_eq!(mount.list("/x/a", 10), None, "no folder");
        assert!(mount.is_listed("/x/") && !mount.is_listed("/x/a") && !mount.is_listed("/x/none/"));
    }
}
