//! Which paths are static files, and which file a path means.

use std::io;
use std::path::PathBuf;

use crate::sys::open::{Refusal, RegularFile, Root};

/// Files that the data plane serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// Everything below these folders, the first that has it.
    Folder {
        /// Where: starts and ends with `/`.
        prefix: String,
        /// The folders.
        roots: Vec<PathBuf>,
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
enum Open {
    Folder { prefix: String, roots: Vec<Root> },
    File { path: String, file: PathBuf },
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// A static file.
    File(RegularFile),
    /// A static path without a file behind it, or one that is badly written.
    Nothing(Problem),
    /// Not ours.
    Elsewhere,
}

/// Why a static path has no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    Malformed,
    Busy,
}

impl Mounts {
    pub(super) fn open(mounts: &[Mount]) -> Result<Self, (PathBuf, io::Error)> {
        mounts.iter().map(Open::new).collect::<Result<_, _>>().map(Self)
    }

    /// Looks a path up; `scratch` is where its normal form is built.
    pub(super) fn find(&self, path: &str, scratch: &mut String) -> Found {
        let well_formed = normalise(path, scratch);
        let Some(mount) = self.0.iter().find(|mount| mount.covers(scratch)) else { return Found::Elsewhere };
        if !well_formed {
            return Found::Nothing(Problem::Malformed);
        }
        match mount.file(scratch) {
            Ok(file) => Found::File(file),
            Err(Refusal::Busy) => Found::Nothing(Problem::Busy),
            Err(Refusal::NotFound | Refusal::Forbidden) => Found::Nothing(Problem::Missing),
        }
    }
}

impl Open {
    fn new(mount: &Mount) -> Result<Self, (PathBuf, io::Error)> {
        match mount {
            Mount::Folder { prefix, roots } => {
                let roots = roots.iter().map(|path| Root::open(path).map_err(|error| (path.clone(), error)));
                let prefix = format!("/{}/", prefix.trim_matches('/'));
                Ok(Self::Folder {
                    prefix: prefix.replace("//", "/"),
                    roots: roots.collect::<Result<_, _>>()?,
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

    fn file(&self, path: &str) -> Result<RegularFile, Refusal> {
        match self {
            Self::File { file, .. } => RegularFile::open(file),
            Self::Folder { prefix, roots } => {
                let name = path.get(prefix.len()..).unwrap_or_default();
                if name.is_empty() || name.ends_with('/') {
                    return Err(Refusal::NotFound);
                }
                let mut reason = Refusal::NotFound;
                for root in roots {
                    match root.file(name) {
                        Err(Refusal::NotFound) => {}
                        // What may not be served hides nothing behind it.
                        Err(Refusal::Forbidden) => reason = Refusal::Forbidden,
                        found => return found,
                    }
                }
                Err(reason)
            }
        }
    }
}

/// Writes the path with each segment decoded once and without empty and `.` segments, as far as it is well-formed:
/// `..`, an encoded slash, a NUL or a broken escape ends it, with `false`.
fn normalise(path: &str, out: &mut String) -> bool {
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
        let mounts = Mounts::open(&[Mount::Folder { prefix: "/loaders/".into(), roots }]).unwrap();
        let mut scratch = String::new();
        let Found::File(file) = mounts.find("/loaders/a", &mut scratch) else { panic!("a is hidden") };
        assert_eq!(file.read_whole().unwrap(), b"good");
        let found = mounts.find("/loaders/b", &mut scratch);
        assert!(matches!(found, Found::Nothing(Problem::Missing)), "{found:?}");
    }

    #[test]
    fn only_mounted_paths_are_ours() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"x").unwrap();
        let mounts = Mounts::open(&[
            Mount::Folder { prefix: "/assets/".into(), roots: vec![dir.path().to_owned()] },
            Mount::File { path: "/boot/kernel".into(), file: dir.path().join("a") },
        ])
        .unwrap();
        let mut scratch = String::new();
        for path in ["/assets/a", "/boot/kernel", "//boot/kernel"] {
            assert!(matches!(mounts.find(path, &mut scratch), Found::File(_)), "{path}");
        }
        for path in ["/assets/b", "/assets/", "/assets/a/"] {
            assert!(matches!(mounts.find(path, &mut scratch), Found::Nothing(Problem::Missing)), "{path}");
        }
        assert!(matches!(mounts.find("/assets/../a", &mut scratch), Found::Nothing(Problem::Malformed)));
        for path in ["/", "/assets", "/boot/kernel2", "/api/../assets/a"] {
            assert!(matches!(mounts.find(path, &mut scratch), Found::Elsewhere), "{path}");
        }
    }
}
