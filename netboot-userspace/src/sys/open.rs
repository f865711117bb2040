//! Files below a folder, and nothing else: names come from the network, so the kernel itself keeps them inside.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};

/// A folder that is held open; renaming it or mounting over it doesn't change what is served.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    path: PathBuf,
}

/// Why a name gave no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such file.
    #[error("not found")]
    NotFound,
    /// It leads outside, through a symbolic link, to something that isn't a regular file, or may not be read.
    #[error("access violation")]
    Forbidden,
    /// The system has no descriptors or memory left for now.
    #[error("busy")]
    Busy,
    /// What is under this name can't be told: the disk, or the network before it, fails. Nothing else may be served in its place.
    #[error("{0}")]
    Failed(Errno),
}

/// A regular file, open for reading, with what `fstat` said after the open.
#[derive(Debug)]
pub struct RegularFile {
    /// The file.
    pub file: File,
    /// What it was when it was opened.
    pub identity: Identity,
}

/// What tells one content of a file from another, as far as the filesystem knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Identity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
    /// Nanoseconds after `modified`.
    pub modified_nanos: i64,
    /// Seconds since 1970 of the last change of inode or content: unlike `modified` it can't be set back.
    pub changed: i64,
    /// Nanoseconds after `changed`.
    pub changed_nanos: i64,
    /// How many names it has.
    pub links: u64,
}

impl Root {
    /// Opens a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { folder, path: path.to_owned() })
    }

    /// Where the folder was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a name means now, without opening it. A folder on the way that was replaced by a link is followed: whoever compares with what
    /// [`Root::file`] has opened before is shown nothing new by that.
    pub fn identity(&self, name: &str) -> Result<Identity, Refusal> {
        let stat = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(refusal)?;
        Ok(Identity::of_stat(&stat))
    }

    /// Whether the name is a folder's below this one.
    pub fn is_folder(&self, name: &str) -> bool {
        self.folder(name, OFlags::PATH).is_ok()
    }

    /// What a folder below this one has: regular files and folders with names that text can have, dot files left out; the first `most` of
    /// them, in the order of their names.
    pub fn list(&self, name: &str, most: usize) -> Result<Vec<Listed>, Refusal> {
        let folder = self.folder(name, OFlags::RDONLY)?;
        let mut names = BTreeSet::new();
        for entry in Dir::read_from(&folder).map_err(refusal)?.flatten() {
            names.extend(shown(&entry));
            if names.len() > most {
                names.pop_last();
            }
        }
        Ok(names.into_iter().filter_map(|name| Listed::of(&folder, name)).collect())
    }

    fn folder(&self, name: &str, access: OFlags) -> Result<OwnedFd, Refusal> {
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        let name = if name.is_empty() { "." } else { name };
        rustix::fs::openat2(&self.folder, name, flags, Mode::empty(), resolve).map_err(refusal)
    }

    /// Opens a regular file below the folder. `name` is relative; `..` out of it, links and `/proc` tricks are refused
    /// by `openat2`.
    pub fn file(&self, name: &str) -> Result<RegularFile, Refusal> {
        self.opened(name, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)
    }

    /// The same if the kernel knows the way to it by heart; `None`: it would have to look at the disk, or can't say.
    pub fn at_once(&self, name: &str) -> Option<Result<RegularFile, Refusal>> {
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::CACHED;
        match self.openat2(name, OFlags::NOFOLLOW, resolve) {
            Ok(file) => Some(RegularFile::of(file)),
            // EINVAL: kernels before 5.12.
            Err(Errno::AGAIN | Errno::INTR | Errno::INVAL) => None,
            Err(error) => Some(Err(refusal(error))),
        }
    }

    /// The same where the operator may have put links (`..data` of a mounted ConfigMap): they are followed as long as they stay below the
    /// folder.
    pub fn linked(&self, name: &str) -> Result<RegularFile, Refusal> {
        self.opened(name, OFlags::empty(), ResolveFlags::empty())
    }

    fn opened(&self, name: &str, flags: OFlags, resolve: ResolveFlags) -> Result<RegularFile, Refusal> {
        for _ in 0..8 {
            match self.openat2(name, flags, resolve) {
                Ok(file) => return RegularFile::of(file),
                // A rename elsewhere made the kernel unsure whether the path stayed inside.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refusal::Busy)
    }

    fn openat2(&self, name: &str, flags: OFlags, resolve: ResolveFlags) -> Result<File, Errno> {
        // NONBLOCK: opening a FIFO must not wait for a writer. It means nothing to a regular file.
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.folder, name, flags, Mode::empty(), resolve).map(File::from)
    }
}

/// What a folder has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Bytes, of a file.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
}

/// The name of what is listed, as far as the folder itself tells.
fn shown(entry: &DirEntry) -> Option<String> {
    let is_shown =
        matches!(entry.file_type(), FileType::RegularFile | FileType::Directory | FileType::Unknown);
    let name = entry.file_name().to_str().ok()?;
    (is_shown && !name.starts_with('.')).then(|| name.to_owned())
}

impl Listed {
    fn of(folder: &OwnedFd, name: String) -> Option<Self> {
        let stat = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_folder = kind == FileType::Directory;
        if !is_folder && kind != FileType::RegularFile {
            return None;
        }
        let Identity { size, modified, .. } = Identity::of_stat(&stat);
        Some(Self { name, is_folder, size: if is_folder { 0 } else { size }, modified })
    }
}

/// What the file that the operator named is now: links are followed.
pub fn identity(path: &Path) -> Result<Identity, Refusal> {
    rustix::fs::stat(path).map(|stat| Identity::of_stat(&stat)).map_err(refusal)
}

fn refusal(error: Errno) -> Refusal {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => Refusal::NotFound,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Refusal::Busy,
        // Out of the folder, a link, a socket or device, or not for us to read.
        Errno::XDEV | Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::ACCESS | Errno::PERM => {
            Refusal::Forbidden
        }
        error => Refusal::Failed(error),
    }
}

impl RegularFile {
    /// Opens the file that the operator named: links are followed.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(refusal)?;
        Self::of(file.into())
    }

    /// A file that is open already.
    pub(crate) fn of(file: File) -> Result<Self, Refusal> {
        let meta =
            file.metadata().map_err(|error| refusal(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        if !meta.is_file() {
            return Err(Refusal::Forbidden);
        }
        Ok(Self { identity: Identity::of(&meta), file })
    }

    /// Reads what the kernel has in memory of it, all of `bytes` or nothing.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: the disk would have to be waited for, or the file ends before.
    pub fn read_at_once(&self, bytes: &mut [u8], start: u64) -> io::Result<()> {
        let length = bytes.len();
        let into = &mut [io::IoSliceMut::new(bytes)];
        match rustix::io::preadv2(&self.file, into, start, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == length => Ok(()),
            // A file system that can't say has EOPNOTSUPP. What it is about any other error is found out by whoever waits.
            Ok(_) | Err(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The whole content, if the file didn't change while it was read.
    pub fn read_whole(&self) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.identity.size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, 0)?;
        self.identity.check_content(&self.file)?;
        Ok(bytes)
    }

    /// The same of a file that has at most so many bytes; [`io::ErrorKind::FileTooLarge`]: it has more.
    pub fn read_at_most(&self, most: u64) -> io::Result<Vec<u8>> {
        if self.identity.size > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.read_whole()
    }
}

impl Identity {
    /// Whether a change from now on would show: one within the clock tick of the last change might not, so what was read
    /// then must not be kept. `modified` has no say: anybody can set it, also into the future. A change that is said to be yet to come was
    /// before the clock was set back.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs() as i64);
        now.abs_diff(self.changed) > 1
    }

    /// Whether the open file still has the content that it had; that its name was taken by another, or it was removed, doesn't matter.
    ///
    /// Who writes to it may set `modified` to what it was (`cp -p`, `rsync -t`), but not `changed`; where it has more names or fewer than
    /// before, that explains why it has changed (backups link what they keep). New permissions or another name look like a write: they
    /// count as one.
    ///
    /// # Errors
    /// It was written to.
    pub fn check_content(&self, file: &File) -> io::Result<()> {
        let now = Self::of(&file.metadata()?);
        let is_unchanged = if now.links != self.links {
            (now.size, now.modified, now.modified_nanos) == (self.size, self.modified, self.modified_nanos)
        } else {
            now == *self
        };
        if is_unchanged { Ok(()) } else { Err(io::Error::other("the file was changed while it was sent")) }
    }

    fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            modified: stat.st_mtime,
            modified_nanos: stat.st_mtime_nsec as i64,
            changed: stat.st_ctime,
            changed_nanos: stat.st_ctime_nsec as i64,
            links: stat.st_nlink,
        }
    }

    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: meta.mtime(),
            modified_nanos: meta.mtime_nsec(),
            changed: meta.ctime(),
            changed_nanos: meta.ctime_nsec(),
            links: meta.nlink(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_inside_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("root");
        std::fs::create_dir_all(inside.join("sub")).unwrap();
        std::fs::write(inside.join("sub/file"), b"yes").unwrap();
        std::fs::write(dir.path().join("secret"), b"no").unwrap();
        symlink("../secret", inside.join("out")).unwrap();
        symlink("sub/file", inside.join("in")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            inside.join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        let root = Root::open(&inside).unwrap();

        assert_eq!(root.file("sub/file").unwrap().read_whole().unwrap(), b"yes");
        for name in ["../secret", "out", "in", "loop", "fifo", "sub", "/etc/passwd"] {
            assert_eq!(root.file(name).unwrap_err(), Refusal::Forbidden, "{name}");
        }
        assert_eq!(root.at_once("sub/file").unwrap().unwrap().read_whole().unwrap(), b"yes");
        for name in ["../secret", "out", "in", "loop", "fifo", "sub", "/etc/passwd"] {
            assert!(matches!(root.at_once(name), None | Some(Err(Refusal::Forbidden))), "{name}");
        }
        let mut bytes = [0; 3];
        root.file("sub/file").unwrap().read_at_once(&mut bytes[..2], 1).unwrap();
        assert_eq!(bytes, *b"es\0");
        let behind = root.file("sub/file").unwrap().read_at_once(&mut bytes, 1);
        assert_eq!(behind.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(root.linked("in").unwrap().read_whole().unwrap(), b"yes");
        for name in ["../secret", "out", "loop", "fifo", "sub", "/etc/passwd"] {
            assert_eq!(root.linked(name).unwrap_err(), Refusal::Forbidden, "{name}");
        }
        for name in ["nothing", "sub/file/x", "", "sub/\0file"] {
            assert_eq!(root.file(name).unwrap_err(), Refusal::NotFound, "{name:?}");
        }
    }

    #[test]
    fn a_file_dated_into_the_future_settles_like_any_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let future = SystemTime::now() + std::time::Duration::from_secs(86_400);
        file.as_file().set_modified(future).unwrap();
        let mut identity = RegularFile::open(file.path()).unwrap().identity;
        assert!(!identity.is_settled(), "it has changed just now");
        identity.changed -= 3;
        assert!(identity.is_settled());
    }

    #[test]
    fn files_are_settled_though_the_clock_was_set_back_since() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut identity = RegularFile::open(file.path()).unwrap().identity;
        for (hours, is_settled) in [(-1, true), (0, false), (1, true)] {
            let there = Identity { changed: identity.changed + hours * 3600, ..identity };
            assert_eq!(there.is_settled(), is_settled, "{hours} hours");
        }
        identity.changed += 1;
        assert!(!identity.is_settled(), "within a tick");
    }

    #[test]
    fn a_file_whose_name_is_taken_by_another_is_read_as_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        let open = RegularFile::open(&path).unwrap();
        std::fs::write(dir.path().join("other"), [8; 10]).unwrap();
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        assert_eq!(open.read_whole().unwrap(), [7; 100]);
        assert_eq!(open.read_at_most(100).unwrap(), [7; 100]);
        assert_eq!(open.read_at_most(99).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    /// The kernel's clock for files may stand still for some milliseconds.
    fn change_of(path: &Path, before: &Identity, change: impl Fn()) -> RegularFile {
        let open = RegularFile::open(path).unwrap();
        while identity(path).is_ok_and(|now| now.changed_nanos == before.changed_nanos) {
            change();
        }
        open
    }

    #[test]
    fn a_file_that_was_written_to_is_another_though_its_date_and_its_size_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        let before = identity(&path).unwrap();
        let open = change_of(&path, &before, || {
            let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
            std::fs::write(&path, [8; 100]).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        });
        let now = identity(&path).unwrap();
        assert_eq!((now.size, now.modified_nanos), (before.size, before.modified_nanos));
        assert!(open.identity.check_content(&open.file).is_err());
        // Of two names one is taken by another file: what was opened is whole.
        let other = dir.path().join("other");
        std::fs::hard_link(&path, &other).unwrap();
        let before = identity(&path).unwrap();
        let open = RegularFile::open(&path).unwrap();
        std::fs::write(dir.path().join("new"), [9; 100]).unwrap();
        std::fs::rename(dir.path().join("new"), &other).unwrap();
        assert_eq!((open.read_whole().unwrap(), before.links), (vec![8; 100], 2));
        // And where it has one name more.
        let open = RegularFile::open(&path).unwrap();
        std::fs::hard_link(&path, dir.path().join("kept")).unwrap();
        assert_eq!(open.read_whole().unwrap(), [8; 100]);
    }

    #[test]
    fn what_the_disk_does_not_give_is_not_what_may_not_be_read_and_not_what_is_not_there() {
        for (error, want) in [
            (Errno::NOENT, Refusal::NotFound),
            (Errno::NAMETOOLONG, Refusal::NotFound),
            (Errno::ACCESS, Refusal::Forbidden),
            (Errno::LOOP, Refusal::Forbidden),
            (Errno::MFILE, Refusal::Busy),
            (Errno::IO, Refusal::Failed(Errno::IO)),
            (Errno::STALE, Refusal::Failed(Errno::STALE)),
            (Errno::TIMEDOUT, Refusal::Failed(Errno::TIMEDOUT)),
            (Errno::UCLEAN, Refusal::Failed(Errno::UCLEAN)),
            (Errno::NOTCONN, Refusal::Failed(Errno::NOTCONN)),
        ] {
            assert_eq!(refusal(error), want, "{error:?}");
        }
    }

    #[test]
    fn a_file_that_shrinks_is_not_read_as_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        let open = RegularFile::open(&path).unwrap();
        std::fs::write(&path, [7; 50]).unwrap();
        assert!(open.read_whole().is_err());
    }

    #[test]
    fn a_large_folder_is_listed_from_its_first_name_on() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(dir.path().join(name), b"x").unwrap();
        // The order in which a folder has its names is not this one.
        (0..500).rev().for_each(|number| put(&format!("{number:03}")));
        std::fs::create_dir(dir.path().join("001 and more")).unwrap();
        symlink("000", dir.path().join("0 link")).unwrap();
        put(".hidden");
        let root = Root::open(dir.path()).unwrap();
        let listed = root.list("", 4).unwrap();
        let names: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.is_folder)).collect();
        assert_eq!(names, [("000", false), ("001", false), ("001 and more", true), ("002", false)]);
        assert_eq!(root.list("", 1000).unwrap().len(), 501);
        assert!(root.is_folder("") && root.is_folder("001 and more"));
        assert!(["000", "0 link", "none", "../"].iter().all(|name| !root.is_folder(name)));
    }
}
