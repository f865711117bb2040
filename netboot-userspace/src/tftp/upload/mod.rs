//! Where uploads go: a folder for each client address, under names that are ours.
//!
//! **Invariant:** nothing is overwritten, and nothing half-written has a name: a file gets one when it is complete, by linkat(2),
//! which never replaces. What a client calls its file is in the log, and nowhere on the disk.
//! **Invariant:** a worker waits for none of it: `disk.rs` does.

pub mod machine;
pub(super) mod writing;

use std::fs::File;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What may be uploaded, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploads {
    /// The folder, which must be there.
    pub folder: PathBuf,
    /// Bytes of one file.
    pub most: u64,
    /// Bytes that stay free on the disk.
    pub keep_free: u64,
    /// Files of one client address; the operator makes room for more by taking some away.
    pub files_per_client: usize,
}

impl Uploads {
    /// Into `folder`, with the usual caps: 64 MiB a file, 32 files a client, a GiB that stays free.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, most: 64 << 20, keep_free: 1 << 30, files_per_client: 32 }
    }
}

/// Why an upload can't be taken.
#[derive(Debug)]
pub(super) enum Full {
    /// The client has as many files as it may.
    Client,
    /// So little of the disk would be free.
    Disk,
    /// So many are written already.
    Busy,
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for Full {
    fn from(error: E) -> Self {
        match error.into() {
            error if error.raw_os_error() == Some(libc::ENOSPC) => Self::Disk,
            error => Self::Failed(error),
        }
    }
}

/// The folder, held open.
#[derive(Debug)]
pub(super) struct Folder {
    folder: OwnedFd,
    pub(super) caps: Uploads,
    /// Shared by the files that are written now.
    open: Arc<()>,
    at_once: usize,
}

/// A file that has no name yet.
#[derive(Debug)]
pub(super) struct Upload {
    /// That of all clients.
    folder: Arc<Folder>,
    client: IpAddr,
    announced: u64,
    keep_free: u64,
    /// Whether it was found that there is room.
    is_looked_at: bool,
    /// Bytes that may come before the disk is looked at again.
    unchecked: u64,
    file: Option<Open>,
}

/// It is one of so many.
#[derive(Debug)]
struct Open {
    file: File,
    _open: Arc<()>,
}

impl Folder {
    pub(super) fn open(caps: &Uploads, at_once: usize) -> io::Result<Arc<Self>> {
        let (folder, caps, open) = (directory(&caps.folder)?, caps.clone(), Arc::new(()));
        Ok(Arc::new(Self { folder, caps, open, at_once }))
    }

    /// A file of `client`, which has announced so many bytes. Nothing is looked at yet.
    pub(super) fn upload(self: &Arc<Self>, client: IpAddr, announced: u64) -> Upload {
        let (folder, keep_free) = (self.clone(), self.caps.keep_free);
        Upload { folder, client, announced, keep_free, is_looked_at: false, unchecked: 0, file: None }
    }

    fn begin(&self) -> Result<Open, Full> {
        let open = self.open.clone();
        if Arc::strong_count(&open) - 1 > self.at_once {
            return Err(Full::Busy);
        }
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, ".", flags, Mode::from_raw_mode(0o640))?;
        Ok(Open { file: file.into(), _open: open })
    }
}

/// The folder of one client's files.
fn of_client(all: &OwnedFd, client: IpAddr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(all, client.to_string(), flags, Mode::empty(), resolve)
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// An error if there are so many files in it; no more entries than that are read.
fn not_full(folder: &OwnedFd, most: usize) -> Result<(), Full> {
    let mut files = 0;
    for entry in Dir::read_from(folder)? {
        files += usize::from(!matches!(entry?.file_name().to_bytes(), b"." | b".."));
        if files >= most {
            return Err(Full::Client);
        }
    }
    Ok(())
}

/// How many bytes are written between two looks at the disk.
const STRIDE: u64 = 1 << 20;

impl Upload {
    /// Whether [`Upload::look`] has found room.
    pub(super) fn is_looked_at(&self) -> bool {
        self.is_looked_at
    }

    /// Looks whether there is room for it, once. A forged request leaves nothing behind, and takes no other's place.
    pub(super) fn look(&mut self) -> Result<(), Full> {
        if self.is_looked_at {
            return Ok(());
        }
        match of_client(&self.folder.folder, self.client) {
            Ok(own) => not_full(&own, self.folder.caps.files_per_client)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        self.look_at_the_disk(self.announced)?;
        self.is_looked_at = true;
        Ok(())
    }

    /// Appends; the first bytes open the file.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let mut open = match self.file.take() {
            Some(open) => open,
            None => self.folder.begin()?,
        };
        let len = bytes.len() as u64;
        if len > self.unchecked {
            self.look_at_the_disk(len)?;
        }
        open.file.write_all(bytes)?;
        self.unchecked = self.unchecked.saturating_sub(len);
        self.file = Some(open);
        Ok(())
    }

    /// Gives the file its name, and says which. Both are on the disk then.
    pub(super) fn finish(&mut self) -> Result<String, Full> {
        let Some(Open { file, .. }) = &self.file else {
            return Err(Full::Failed(io::ErrorKind::NotFound.into()));
        };
        file.sync_all()?;
        let all = &self.folder.folder;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match rustix::fs::mkdirat(all, self.client.to_string(), Mode::from_raw_mode(0o750)) {
            Ok(()) => rustix::fs::fsync(all)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = of_client(all, self.client)?;
        // Others may have come meanwhile.
        not_full(&folder, self.folder.caps.files_per_client)?;
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        for number in 0_u32.. {
            let name = format!("{time}-{number}");
            match rustix::fs::linkat(rustix::fs::CWD, &own, &folder, &name, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) => {
                    rustix::fs::fsync(&folder)?;
                    return Ok(format!("{}/{name}", self.client));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Full::Client)
    }

    fn look_at_the_disk(&mut self, needed: u64) -> Result<(), Full> {
        let disk = rustix::fs::fstatvfs(&self.folder.folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.keep_free.saturating_add(needed) {
            return Err(Full::Disk);
        }
        self.unchecked = STRIDE.max(needed);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn folder(change: impl FnOnce(&mut Uploads)) -> (tempfile::TempDir, Arc<Folder>) {
        let place = tempfile::tempdir().unwrap();
        let mut caps = Uploads { keep_free: 0, ..Uploads::new(place.path().to_owned()) };
        change(&mut caps);
        let folder = Folder::open(&caps, 2).unwrap();
        (place, folder)
    }

    fn begin(folder: &Arc<Folder>, client: IpAddr, announced: u64) -> Result<Upload, Full> {
        let mut upload = folder.upload(client, announced);
        upload.look()?;
        Ok(upload)
    }

    fn upload(folder: &Arc<Folder>, bytes: &[u8]) -> Result<String, Full> {
        let mut upload = begin(folder, CLIENT, 0)?;
        upload.write(bytes)?;
        upload.finish()
    }

    #[test]
    fn an_upload_has_a_name_of_ours_once_it_is_complete_and_replaces_nothing() {
        let (place, folder) = folder(|_| {});
        let names: Vec<_> = (0..5_u8).map(|n| upload(&folder, &[n; 100]).unwrap()).collect();
        for (n, name) in (0..).zip(&names) {
            assert!(name.starts_with("10.0.0.9/"));
            assert_eq!(std::fs::read(place.path().join(name)).unwrap(), [n; 100], "{names:?}");
        }
        let mut half = begin(&folder, "10.0.0.8".parse().unwrap(), 0).unwrap();
        half.write(&[7; 100]).unwrap();
        drop(half);
        assert_eq!(std::fs::read_dir(place.path().join("10.0.0.9")).unwrap().count(), 5);
        assert_eq!(
            std::fs::read_dir(place.path()).unwrap().count(),
            1,
            "of another client's half there is nothing"
        );
    }

    #[test]
    fn a_client_has_so_many_files_until_somebody_takes_some_away() {
        let (place, folder) = folder(|caps| caps.files_per_client = 2);
        let first = upload(&folder, b"1").unwrap();
        let mut meanwhile = begin(&folder, CLIENT, 0).unwrap();
        meanwhile.write(b"m").unwrap();
        upload(&folder, b"2").unwrap();
        assert!(matches!(meanwhile.finish(), Err(Full::Client)), "which were begun when there was room");
        assert!(matches!(upload(&folder, b"3"), Err(Full::Client)));
        assert!(begin(&folder, "fe80::1".parse().unwrap(), 0).is_ok(), "another client");
        std::fs::remove_file(place.path().join(first)).unwrap();
        upload(&folder, b"3").unwrap();
    }

    #[test]
    fn what_must_stay_free_stays_free() {
        let (_place, folder) = folder(|caps| caps.keep_free = u64::MAX / 2);
        assert!(matches!(begin(&folder, CLIENT, 0), Err(Full::Disk)));
        let (_place, folder) = self::folder(|_| {});
        assert!(matches!(begin(&folder, CLIENT, u64::MAX / 2), Err(Full::Disk)), "as was announced");
        let mut upload = begin(&folder, CLIENT, 0).unwrap();
        upload.keep_free = u64::MAX / 2;
        upload.write(&[0; 1 << 20]).unwrap();
        assert!(matches!(upload.write(&[0]), Err(Full::Disk)), "it is looked at again");
    }

    #[test]
    fn so_many_files_are_written_at_once_and_a_request_alone_is_none_of_them() {
        let (_place, folder) = folder(|_| {});
        let mut uploads: Vec<_> = (0..10).map(|_| begin(&folder, CLIENT, 0).unwrap()).collect();
        uploads[0].write(b"1").unwrap();
        uploads[1].write(b"2").unwrap();
        assert!(matches!(uploads[2].write(b"3"), Err(Full::Busy)));
        uploads[0].write(b"1").unwrap();
        uploads.remove(0);
        uploads[2].write(b"4").unwrap();
    }

    #[test]
    fn a_clients_folder_that_is_a_link_is_not_followed() {
        let (place, folder) = folder(|_| {});
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), place.path().join("10.0.0.9")).unwrap();
        assert!(matches!(begin(&folder, CLIENT, 0), Err(Full::Failed(_))));
    }
}
