//! Taking over what an earlier server has kept.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Entries, Entry, NOTES, Note, PARTIAL, Shelf};

/// A note whose body is there.
struct Found {
    note: Note,
    /// Unix time.
    checked: u64,
    /// The same, and nanoseconds.
    used: (i64, i64),
}

/// What a note is worth.
enum Worth {
    Kept(Found),
    Nothing,
    /// The disk does not say: it is left alone.
    Unknown(io::Error),
}

impl Shelf {
    /// Takes over what is there and `wanted`, and sweeps away the rest, and what is not whole. What can't be looked at is left as it is.
    pub(in super::super) fn take_over(&self, wanted: impl Fn(&Note) -> bool) {
        let _changing = self.changing();
        self.empty(&self.folder.join(PARTIAL));
        let (mut found, mut is_complete) = (Vec::new(), true);
        for at in names(&self.folder.join(NOTES), &mut is_complete) {
            match self.worth(&at, &wanted) {
                Worth::Kept(note) => found.push(note),
                Worth::Nothing => gone(fs::remove_file(&at), &at),
                Worth::Unknown(error) => {
                    tracing::warn!("the cache of upstreams: {}: {error}", at.display());
                    is_complete = false;
                }
            }
        }
        // Whose note could not be read may be there.
        if is_complete {
            sweep(&self.files, "", &found.iter().map(|found| found.note.path.as_str()).collect());
        }
        let mut entries = self.in_order(found);
        let mut now = self.write();
        for entry in now.all.drain().map(|(_, entry)| entry) {
            self.touch(&entry);
            entries.insert(entry);
        }
        *now = entries;
    }

    /// The same of this one alone, for those who can't wait for all.
    pub(in super::super) fn take_over_one(&self, path: &str, wanted: impl Fn(&Note) -> bool) {
        let Ok(meta) = fs::symlink_metadata(self.body(path)) else { return };
        if let Worth::Kept(Found { note, checked, .. }) = self.worth(&self.note(path, meta.ino()), wanted) {
            let mut entries = self.write();
            if !entries.all.contains_key(path) {
                entries.insert(Arc::new(Entry::new(note, checked, 0)));
            }
        }
    }

    /// The order in which they are used goes on.
    fn in_order(&self, mut found: Vec<Found>) -> Entries {
        found.sort_by_key(|found| found.used);
        let mut entries = Entries::default();
        for Found { note, checked, .. } in found {
            let used = self.uses.fetch_add(1, Relaxed);
            entries.insert(Arc::new(Entry::new(note, checked, used)));
        }
        entries
    }

    fn worth(&self, at: &Path, wanted: impl Fn(&Note) -> bool) -> Worth {
        let read = || io::Result::Ok((fs::read(at)?, fs::metadata(at)?.mtime()));
        let (text, checked) = match read() {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Worth::Nothing,
            Err(error) => return Worth::Unknown(error),
        };
        let note = serde_json::from_slice::<Note>(&text).ok();
        let Some(note) = note.filter(|note| self.note(&note.path, note.inode) == at && wanted(note)) else {
            return Worth::Nothing;
        };
        let is_its_own = |meta: &fs::Metadata| {
            meta.is_file()
                && (meta.ino(), meta.size(), meta.mtime()) == (note.inode, note.size, note.modified)
        };
        match fs::symlink_metadata(self.body(&note.path)) {
            Ok(meta) if is_its_own(&meta) => Worth::Kept(Found {
                note,
                checked: checked.max(0).unsigned_abs(),
                used: (meta.atime(), meta.atime_nsec()),
            }),
            Ok(_) => Worth::Nothing,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Worth::Nothing
            }
            Err(error) => Worth::Unknown(error),
        }
    }

    fn empty(&self, folder: &Path) {
        for at in names(folder, &mut true) {
            gone(if at.is_dir() { fs::remove_dir_all(&at) } else { fs::remove_file(&at) }, &at);
        }
    }
}

/// What a folder has, as far as it can be read.
fn names(folder: &Path, is_complete: &mut bool) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).and_then(|all| all.map(|entry| Ok(entry?.path())).collect());
    all.unwrap_or_else(|error: io::Error| {
        tracing::warn!("the cache of upstreams: {}: {error}", folder.display());
        *is_complete = false;
        Vec::new()
    })
}

/// Removes files that have no note, and folders without files.
fn sweep(folder: &Path, prefix: &str, known: &HashSet<&str>) {
    for at in names(folder, &mut true) {
        let name = at.file_name().and_then(|name| name.to_str());
        let path = name.map(|name| format!("{prefix}{name}"));
        if fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir()) {
            sweep(&at, &format!("{}/", path.unwrap_or_default()), known);
            // It stays if it has any.
            let _ = fs::remove_dir(&at);
        } else if !path.is_some_and(|path| known.contains(path.as_str())) {
            gone(fs::remove_file(&at), &at);
        }
    }
}

/// What can't be taken away is in nobody's way.
fn gone(removed: io::Result<()>, at: &Path) {
    if let Err(error) = removed {
        tracing::warn!("the cache of upstreams: {}: {error}", at.display());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::os::unix::fs::symlink;
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::{Bounds, Held};
    use super::*;

    fn shelf(folder: &Path, files: usize) -> Arc<Shelf> {
        let bounds = Bounds { size: 1 << 30, keep_free: 0, files, descriptors: 100 };
        let shelf = Shelf::open(folder, bounds).unwrap();
        shelf.take_over(|_| true);
        Arc::new(shelf)
    }

    fn keep(shelf: &Arc<Shelf>, path: &str, text: &str) -> Arc<Entry> {
        let partial = shelf.begin().unwrap();
        partial.write(text.as_bytes(), 0).unwrap();
        let (path, upstream) = (path.to_owned(), String::new());
        let note = Note {
            path,
            upstream,
            url: String::new(),
            etag: None,
            last_modified: None,
            sha256: String::new(),
            fetched: 0,
            size: 0,
            inode: 0,
            modified: 1,
        };
        partial.keep(note).unwrap()
    }

    fn paths(shelf: &Shelf) -> Vec<String> {
        shelf.all().iter().map(|entry| entry.note.path.clone()).collect()
    }

    #[test]
    fn what_is_confirmed_is_so_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let entry = keep(&shelf(folder.path(), 3), "a", "x");
        let set = |shelf: &Shelf, seconds| {
            let note = File::open(shelf.note("a", entry.note.inode)).unwrap();
            note.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        set(&shelf(folder.path(), 3), 1000);
        let after = shelf(folder.path(), 3);
        let entry = after.find("a").unwrap();
        assert_eq!((entry.checked(), entry.is_old(3600)), (1000, true));
        after.confirm(&entry).unwrap();
        assert!(!entry.is_old(3600) && !shelf(folder.path(), 3).find("a").unwrap().is_old(3600));
    }

    #[test]
    fn no_more_goes_for_others_than_they_need_while_what_went_is_still_being_sent() {
        // Where nobody else takes or leaves much.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let before = shelf(folder.path(), 100);
        for path in ["a", "b", "c"] {
            keep(&before, path, &"x".repeat(4 << 20));
        }
        let _sent: Vec<File> = ["a", "b", "c"].map(|path| File::open(before.body(path)).unwrap()).into();
        let disk = rustix::fs::statvfs(folder.path()).unwrap();
        let keep_free = disk.f_bavail * disk.f_frsize + (2 << 20);
        let bounds = Bounds { size: 16 << 20, keep_free, files: 100, descriptors: 100 };
        let after = Shelf::open(folder.path(), bounds).unwrap();
        after.take_over(|_| true);
        for _ in 0..3 {
            after.give_way();
            assert_eq!(paths(&after), ["b", "c"]);
        }
        // Nor has anybody room before the disk has.
        assert!(!Arc::new(after).begin().unwrap().reserve(1, 0));
    }

    #[test]
    fn what_is_taken_over_ahead_of_the_rest_is_the_same_afterwards_and_was_used_last() {
        let folder = tempfile::tempdir().unwrap();
        let before = shelf(folder.path(), 100);
        for path in ["a", "dir/b", "c"] {
            keep(&before, path, "x");
        }
        let bounds = Bounds { size: 1 << 30, keep_free: 0, files: 3, descriptors: 100 };
        let after = Arc::new(Shelf::open(folder.path(), bounds).unwrap());
        for path in ["dir/b", "dir", "none", "dir/b"] {
            after.take_over_one(path, |_| true);
        }
        after.take_over_one("a", |note| note.path != "a");
        assert_eq!((paths(&after), after.taken()), (vec!["dir/b".to_owned()], (1, 2 * 4096)));
        let entry = after.find("dir/b").unwrap();
        after.take_over(|_| true);
        assert!(Arc::ptr_eq(&entry, &after.find("dir/b").unwrap()));
        assert_eq!(after.taken(), (3, 3 * 2 * 4096));
        keep(&after, "d", "x");
        keep(&after, "e", "x");
        assert_eq!(paths(&after), ["d", "dir/b", "e"]);
    }

    #[test]
    fn where_the_disk_is_full_all_the_same_what_was_used_longest_ago_makes_room_once() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = shelf(folder.path(), 100);
        for path in ["a", "b", "c"] {
            keep(&shelf, path, &"x".repeat(8 << 20));
        }
        let mut partial = shelf.begin().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        partial.held = Arc::new(Held::arriving(full, shelf.descriptor().unwrap()));
        assert_eq!(partial.write(b"x", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(paths(&shelf), ["b", "c"]);
    }

    #[test]
    fn all_of_it_goes_where_others_need_still_more() {
        let folder = tempfile::tempdir().unwrap();
        let before = shelf(folder.path(), 100);
        for path in ["a", "b"] {
            keep(&before, path, "x");
        }
        let bounds = Bounds { size: 1 << 30, keep_free: u64::MAX / 2, files: 100, descriptors: 100 };
        let after = Shelf::open(folder.path(), bounds).unwrap();
        after.take_over(|_| true);
        // Nothing goes for what would not have room all the same.
        let after = Arc::new(after);
        assert!(!after.begin().unwrap().reserve(1, 0));
        assert_eq!(paths(&after), ["a", "b"]);
        after.give_way();
        assert_eq!((paths(&after), after.taken()), (Vec::new(), (0, 0)));
    }

    #[test]
    fn no_more_files_are_kept_than_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let before = shelf(folder.path(), 3);
        for path in ["a", "b", "c", "a", "d", "e"] {
            keep(&before, path, "x");
        }
        assert_eq!(paths(&before), ["a", "d", "e"]);
        assert_eq!(before.taken(), (3, 3 * 2 * 4096));
        assert_eq!(fs::read_dir(folder.path().join(NOTES)).unwrap().count(), 3);
    }

    #[test]
    fn a_crash_in_the_middle_of_an_update_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let before = shelf(folder.path(), 100);
        let old = keep(&before, "a", "old");
        // The note of the new one is there, and not its body.
        let new = Note { inode: old.note.inode + 1, size: 9, ..old.note.clone() };
        before.prepare(&new).unwrap().put(&before.note("a", new.inode)).unwrap();
        let after = shelf(folder.path(), 100);
        assert_eq!(fs::read(after.body("a")).unwrap(), b"old");
        assert_eq!(paths(&after), ["a"]);
        // Both are there, and the old one's note still is.
        keep(&after, "a", "newer");
        after.prepare(&old.note).unwrap().put(&after.note("a", old.note.inode)).unwrap();
        let last = shelf(folder.path(), 100);
        assert_eq!(
            (fs::read(last.body("a")).unwrap(), paths(&last)),
            (b"newer".to_vec(), vec!["a".to_owned()])
        );
        assert_eq!(fs::read_dir(folder.path().join(NOTES)).unwrap().count(), 1);
    }

    #[test]
    fn what_can_t_be_looked_at_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let before = shelf(folder.path(), 100);
        let (one, _) = (keep(&before, "dir/one", "1"), keep(&before, "two", "2"));
        // As an error of the disk would: it can't be read, and is there.
        let note = before.note("dir/one", one.note.inode);
        fs::rename(&note, folder.path().join("aside")).unwrap();
        symlink(&note, &note).unwrap();
        fs::create_dir(folder.path().join(PARTIAL).join("folder")).unwrap();
        let after = shelf(folder.path(), 100);
        assert_eq!(paths(&after), ["two"]);
        assert!(!folder.path().join(PARTIAL).join("folder").exists());
        fs::rename(folder.path().join("aside"), &note).unwrap();
        assert_eq!(paths(&shelf(folder.path(), 100)), ["dir/one", "two"]);
    }

    #[test]
    fn what_is_used_goes_on_in_its_order_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let before = shelf(folder.path(), 100);
        for (path, used) in [("a", 30), ("b", 10), ("c", 20)] {
            keep(&before, path, "x");
            let times = FileTimes::new().set_accessed(UNIX_EPOCH + Duration::from_secs(used));
            File::open(before.body(path)).unwrap().set_times(times).unwrap();
        }
        let after = shelf(folder.path(), 3);
        keep(&after, "d", "x");
        keep(&after, "e", "x");
        assert_eq!(paths(&after), ["a", "d", "e"]);
    }
}
