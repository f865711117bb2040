//! Changes of the configuration's files, as they happen.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::sys::stoppable::Stoppable;

/// Several files are often written one after the other: they are read when nothing has changed for so long.
const QUIET: Duration = Duration::from_millis(300);
/// How Kubernetes exchanges all files of a folder.
const KUBERNETES: &str = "..data";
/// What is beside the main file and belongs to it.
const BESIDE: [&str; 4] = ["hosts.d", "profiles.d", "groups.d", "templates"];

/// What the configuration is made of beside its own folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub(super) files: Vec<PathBuf>,
    /// Of these the names count that are in them: what is being written there may take its time.
    pub(super) folders: Vec<PathBuf>,
}

/// Calls `changed` after each change of the configuration at `path`, or of what is `named`, once everything is quiet. What is named may be
/// different after each change.
///
/// # Errors
/// The system watches no more files, or the folder isn't there.
pub(super) fn follow(
    path: &Path,
    named: impl Fn() -> Named + Send + 'static,
    changed: impl Fn() + Send + 'static,
) -> io::Result<Stoppable> {
    let mut watch = Watch::new(path)?;
    watch.take_in(&named());
    Stoppable::start("files", move |wake| {
        let mut quiet_at: Option<Instant> = None;
        loop {
            let left = quiet_at.map(|at| at.saturating_duration_since(Instant::now()));
            // What others write in these folders all the time holds nothing up.
            if left == Some(Duration::ZERO) {
                quiet_at = None;
                changed();
                watch.take_in(&named());
                continue;
            }
            match wait(&watch.inotify, wake, left) {
                Ok(Woken::Changed) => {
                    if watch.is_changed() {
                        quiet_at = Some(Instant::now() + QUIET);
                        watch.take_in(&named());
                    }
                }
                Ok(Woken::Quiet) => {}
                Ok(Woken::Stopped) => return,
                Err(error) => {
                    return tracing::error!("changes of the configuration are no longer followed: {error}");
                }
            }
        }
    })
}

enum Woken {
    Changed,
    /// For as long as was asked.
    Quiet,
    Stopped,
}

fn wait(inotify: &OwnedFd, wake: &OwnedFd, quiet: Option<Duration>) -> io::Result<Woken> {
    let timeout = quiet.and_then(|quiet| Timespec::try_from(quiet).ok());
    loop {
        let mut waiting = [inotify, wake].map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        return match poll(&mut waiting, timeout.as_ref()) {
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
            Ok(0) => Ok(Woken::Quiet),
            Ok(_) if !waiting[1].revents().is_empty() => Ok(Woken::Stopped),
            Ok(_) => Ok(Woken::Changed),
        };
    }
}

struct Watch {
    inotify: OwnedFd,
    folder: PathBuf,
    main: (i32, OsString),
    /// The drop-in folders.
    drop_ins: Vec<i32>,
    /// Files outside the configuration's folders, and their folders: by the number of the folder that each is in.
    named: Vec<(i32, OsString)>,
    /// Folders of which the names count.
    folders: Vec<i32>,
}

impl Watch {
    fn new(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let folder = folder_of(path).to_owned();
        let main = inotify::add_watch(&inotify, &folder, flags())?;
        let main = (main, path.file_name().unwrap_or_default().to_owned());
        Ok(Self { inotify, folder, main, drop_ins: Vec::new(), named: Vec::new(), folders: Vec::new() })
    }

    /// All that is there now, and nothing else: a folder may be made, or exchanged for another, at any time. One that isn't there is
    /// watched for in the folder that it would be in.
    fn take_in(&mut self, named: &Named) {
        let before = self.watched();
        let watch = |folder: &Path| inotify::add_watch(&self.inotify, folder, flags()).ok();
        let within = |path: &Path| Some((watch(folder_of(path))?, path.file_name()?.to_owned()));
        self.drop_ins = BESIDE.iter().filter_map(|name| watch(&self.folder.join(name))).collect();
        let all = named.files.iter().chain(&named.folders);
        self.named = all.flat_map(|path| [path.as_path(), folder_of(path)]).filter_map(within).collect();
        self.folders = named.folders.iter().filter_map(|folder| watch(folder)).collect();
        for nobodys in before.difference(&self.watched()) {
            // That of a folder that is gone is gone, too.
            let _ = inotify::remove_watch(&self.inotify, *nobodys);
        }
    }

    /// The numbers of all folders.
    fn watched(&self) -> HashSet<i32> {
        let named = self.named.iter().map(|(folder, _)| *folder);
        let folders = self.drop_ins.iter().chain(&self.folders).copied();
        named.chain(folders).chain([self.main.0]).collect()
    }

    /// Whether anything that was told is about the configuration.
    fn is_changed(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut changed = false;
        // Until there is no more (EAGAIN).
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let is_ended = event.events().contains(ReadFlags::IGNORED);
            changed |= match name {
                Some(name) => self.is_ours(event.wd(), name, event.events()),
                // A folder is gone, or is followed no longer.
                None if is_ended => self.watched().contains(&event.wd()),
                None => true,
            };
        }
        changed
    }

    fn is_ours(&self, folder: i32, name: &OsStr, events: ReadFlags) -> bool {
        let beside = name == self.main.1 || BESIDE.iter().any(|beside| name == *beside);
        let is_exchange = name == KUBERNETES;
        let is_named = self.named.iter().any(|(of, own)| *of == folder && (name == own || is_exchange));
        let is_written = events.intersects(ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE);
        let is_name = self.folders.contains(&folder) && !is_written;
        self.drop_ins.contains(&folder)
            || folder == self.main.0 && (beside || is_exchange)
            || is_named
            || is_name
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

fn flags() -> WatchFlags {
    // What is being written counts as change until it is whole: a part of a list is a list, too.
    WatchFlags::CLOSE_WRITE
        | WatchFlags::MODIFY
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsRawFd as _;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::sync::{Arc, Mutex};

    #[test]
    fn changes_of_the_files_are_told_and_of_others_beside_them_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("profiles.d")).unwrap();
        fs::write(at("netboot.yaml"), "a").unwrap();
        let (tell, told) = channel();
        let follower = follow(&at("netboot.yaml"), Named::default, move || tell.send(()).unwrap()).unwrap();
        let wait = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        fs::write(at("netboot.yaml"), "b").unwrap();
        wait();
        fs::write(at("new"), "c").unwrap();
        fs::rename(at("new"), at("netboot.yaml")).unwrap();
        wait();
        fs::write(at("profiles.d/x.yaml"), "d").unwrap();
        wait();
        // A folder that was not there before, and a file in it.
        fs::create_dir(at("hosts.d")).unwrap();
        wait();
        fs::write(at("hosts.d/x.yaml"), "e").unwrap();
        wait();
        fs::remove_file(at("hosts.d/x.yaml")).unwrap();
        wait();
        fs::write(at("netboot.redb"), "f").unwrap();
        assert_eq!(told.recv_timeout(2 * QUIET), Err(RecvTimeoutError::Timeout));
        follower.stop();
    }

    #[test]
    fn of_another_folder_only_the_named_files_are_told() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| other.path().join(name);
        fs::write(dir.path().join("netboot.yaml"), "a").unwrap();
        let (tell, told) = channel();
        let named = [at("a.crt"), at("a.key"), dir.path().join("b.crt")];
        let main = dir.path().join("netboot.yaml");
        let follower = {
            let named = Named { files: named.to_vec(), folders: Vec::new() };
            follow(&main, move || named.clone(), move || tell.send(()).unwrap()).unwrap()
        };
        // As Kubernetes exchanges a secret's files, and as others do.
        fs::create_dir(at("..data")).unwrap();
        for path in [&at("..data"), &named[0], &named[1], &named[2]] {
            if *path != at("..data") {
                fs::write(path, "b").unwrap();
            }
            told.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        fs::write(at("b.crt"), "c").unwrap();
        fs::write(dir.path().join("a.crt"), "c").unwrap();
        assert_eq!(told.recv_timeout(2 * QUIET), Err(RecvTimeoutError::Timeout));
        follower.stop();
    }

    /// How many folders the system watches for it.
    fn watches(watch: &Watch) -> usize {
        let info = format!("/proc/self/fdinfo/{}", watch.inotify.as_raw_fd());
        fs::read_to_string(info).unwrap().lines().filter(|line| line.starts_with("inotify ")).count()
    }

    #[test]
    fn what_is_named_no_longer_is_watched_no_longer() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut watch = Watch::new(&dir.path().join("netboot.yaml")).unwrap();
        for round in 0..20 {
            let folder = other.path().join(round.to_string());
            fs::create_dir(&folder).unwrap();
            let files = vec![folder.join("a.crt"), folder.join("a.key")];
            watch.take_in(&Named { files, folders: Vec::new() });
            // The main file's, the named files', and the one that has theirs.
            assert_eq!(watches(&watch), 3, "{round}");
            watch.is_changed();
            fs::write(folder.join("a.key"), "a").unwrap();
            assert!(watch.is_changed(), "{round}");
        }
        watch.take_in(&Named::default());
        assert_eq!(watches(&watch), 1);
        assert!(!watch.is_changed(), "that one is watched no longer is no change");
        fs::create_dir(dir.path().join("hosts.d")).unwrap();
        assert!(watch.is_changed());
        watch.take_in(&Named::default());
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(watch.is_changed(), "that one is gone is");
    }

    #[test]
    fn files_that_are_named_anew_and_folders_that_are_made_anew_are_followed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (main, at) = (dir.path().join("netboot.yaml"), |name: &str| other.path().join(name));
        fs::create_dir(at("tls")).unwrap();
        fs::write(&main, "a").unwrap();
        let (tell, told) = channel();
        let wait = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        let named = Arc::new(Mutex::new(Named::default()));
        let names = named.clone();
        let follower =
            follow(&main, move || names.lock().unwrap().clone(), move || tell.send(()).unwrap()).unwrap();
        named.lock().unwrap().files.push(at("tls/a.crt"));
        fs::write(&main, "b").unwrap();
        wait();
        fs::write(at("tls/a.crt"), "c").unwrap();
        wait();
        fs::remove_dir_all(at("tls")).unwrap();
        wait();
        fs::create_dir(at("tls")).unwrap();
        wait();
        fs::write(at("tls/a.crt"), "d").unwrap();
        wait();
        // What is named no longer is nobody's, and no drop-in.
        *named.lock().unwrap() = Named::default();
        fs::write(&main, "e").unwrap();
        wait();
        fs::write(at("tls/a.crt"), "f").unwrap();
        assert_eq!(told.recv_timeout(2 * QUIET), Err(RecvTimeoutError::Timeout));
        follower.stop();
    }

    /// A folder whose names count: that a file comes, goes or is called otherwise is a change, what is written into it is none.
    #[test]
    fn of_a_folder_that_is_named_the_names_count_and_what_is_written_does_not() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| other.path().join(name);
        let mut watch = Watch::new(&dir.path().join("netboot.yaml")).unwrap();
        let named = Named { files: Vec::new(), folders: vec![at("web/1.0")] };
        watch.take_in(&named);
        let mut is_changed = || {
            let changed = watch.is_changed();
            watch.take_in(&named);
            changed
        };
        fs::create_dir(at("web")).unwrap();
        assert!(is_changed(), "the folder that it would be in");
        fs::create_dir(at("web/1.0")).unwrap();
        assert!(is_changed());
        let mut file = fs::File::create(at("web/1.0/vmlinuz")).unwrap();
        assert!(is_changed());
        for _ in 0..3 {
            std::io::Write::write_all(&mut file, b"kernel").unwrap();
            assert!(!is_changed(), "it is being written");
        }
        drop(file);
        fs::write(at("web/1.1"), "another version").unwrap();
        assert!(!is_changed());
        fs::rename(at("web/1.0/vmlinuz"), at("web/1.0/kernel")).unwrap();
        assert!(is_changed());
        fs::remove_file(at("web/1.0/kernel")).unwrap();
        assert!(is_changed());
        fs::rename(at("web/1.0"), at("web/old")).unwrap();
        assert!(is_changed());
    }

    /// Whoever writes beside it all the time, as into an image or a store, holds no change up.
    #[test]
    fn a_change_is_told_though_others_never_end_to_write() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let main = dir.path().join("netboot.yaml");
        fs::write(&main, "a").unwrap();
        let (tell, told) = channel();
        let named = Named { files: Vec::new(), folders: vec![other.path().to_owned()] };
        let mut image = fs::File::create(other.path().join("squashfs")).unwrap();
        let follower = follow(&main, move || named.clone(), move || tell.send(()).unwrap()).unwrap();
        fs::write(&main, "b").unwrap();
        let since = Instant::now();
        while told.try_recv().is_err() {
            std::io::Write::write_all(&mut image, b"x").unwrap();
            assert!(since.elapsed() < Duration::from_secs(10), "the change is held up");
        }
        follower.stop();
    }
}
