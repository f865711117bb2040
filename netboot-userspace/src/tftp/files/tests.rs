use super::*;
use std::time::Duration;

/// Long enough for what was written to count as settled.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

fn names(name: &str) -> Candidates {
    Candidates::parse(name.as_bytes()).unwrap()
}

fn library(folder: &tempfile::TempDir) -> Library {
    Library::open(&[folder.path().to_owned()], Vec::new(), 8).unwrap()
}

impl Library {
    fn get(&self, name: &str, mode: Mode) -> Result<Content, Problem> {
        self.find(&names(name), mode)
    }

    fn memory(&self, name: &str, mode: Mode) -> Arc<[u8]> {
        match self.get(name, mode).unwrap() {
            Content::Memory(bytes) => bytes,
            other => panic!("{name} is not shared: {other:?}"),
        }
    }

    fn is_read_as_it_goes(&self, name: &str) -> bool {
        matches!(self.get(name, Mode::Octet).unwrap(), Content::File(..))
    }
}

#[test]
fn netascii_is_for_small_files_and_translated_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text"), vec![b'\n'; TEXT as usize]).unwrap();
    std::fs::write(folder.path().join("large"), vec![b'\n'; TEXT as usize + 1]).unwrap();
    let virtual_files = vec![
        ("/v".to_owned(), Arc::from(&b"a\rb\n"[..])),
        ("w".to_owned(), Arc::from(vec![0; TEXT as usize + 1])),
    ];
    let library = Library::open(&[folder.path().to_owned()], virtual_files, 8).unwrap();
    settle();
    for name in ["text", "v"] {
        let one = library.memory(name, Mode::Netascii);
        assert!(Arc::ptr_eq(&one, &library.memory(name, Mode::Netascii)), "{name}: one for all");
        assert_ne!(one.len(), library.memory(name, Mode::Octet).len(), "{name}: each mode has its own");
    }
    assert_eq!(&*library.memory("v", Mode::Netascii), b"a\r\0b\r\n");
    for name in ["large", "w"] {
        assert_eq!(library.get(name, Mode::Netascii).unwrap_err(), Problem::TextTooLarge, "{name}");
        assert!(library.get(name, Mode::Octet).is_ok(), "{name}");
    }
}

#[test]
fn a_file_that_is_changing_is_in_no_transfers_memory() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(&folder);
    std::fs::write(folder.path().join("file"), vec![1; TEXT as usize + 1]).unwrap();
    assert!(library.is_read_as_it_goes("file"));
    std::fs::write(folder.path().join("small"), b"1").unwrap();
    assert!(library.is_read_as_it_goes("small"));
    settle();
    let one = library.memory("file", Mode::Octet);
    assert!(Arc::ptr_eq(&one, &library.memory("file", Mode::Octet)), "settled, it is in memory once");
}

#[test]
fn what_is_in_memory_is_bounded_whoever_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d"] {
        std::fs::write(folder.path().join(name), vec![1; 100_000]).unwrap();
    }
    settle();
    let mut library = library(&folder);
    library.cache = Mutex::new(Cache::holding(300_000));
    let [a, b, c] = ["a", "b", "c"].map(|name| library.memory(name, Mode::Octet));
    assert!(library.is_read_as_it_goes("d"), "the others are in use");
    assert!(Arc::ptr_eq(&b, &library.memory("b", Mode::Octet)), "nothing in use was dropped");
    drop((a, b, c));
    assert!(!library.is_read_as_it_goes("d"));
}

#[test]
fn what_one_transfer_alone_has_in_memory_is_bounded_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut library = library(&folder);
    library.cache = Mutex::new(Cache::holding(300_000));
    // New, and so not to be shared.
    std::fs::write(folder.path().join("text"), vec![b'\n'; 50_000]).unwrap();
    let text = || library.get("text", Mode::Netascii);
    let held: Vec<_> = (0..3).map(|_| text().unwrap()).collect();
    assert!(held.iter().all(|content| matches!(content, Content::Alone(_)) && content.size() == 100_000));
    assert_eq!(text().unwrap_err(), Problem::File(Refusal::Busy));
    assert!(library.is_read_as_it_goes("text"), "as it is, it takes none");
    drop(held);
    assert!(text().is_ok());
}

#[test]
fn what_may_not_be_served_hides_nothing_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = |name: &str| folder.path().join(name);
    for name in ["first", "second"] {
        std::fs::create_dir(root(name)).unwrap();
    }
    std::os::unix::fs::symlink("/usr/lib/ipxe/ipxe.efi", root("first/ipxe.efi")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root("first/alone")).unwrap();
    std::fs::create_dir(root("first/52:54:00:00:00:01")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root("first/52:54:00:00:00:01/ipxe.efi")).unwrap();
    std::fs::write(root("second/ipxe.efi"), b"good").unwrap();
    settle();
    let library = Library::open(&[root("first"), root("second")], Vec::new(), 8).unwrap();
    assert_eq!(&*library.memory("ipxe.efi", Mode::Octet), b"good");
    assert_eq!(&*library.memory("52:54:00:00:00:01/ipxe.efi", Mode::Octet), b"good");
    assert_eq!(library.get("alone", Mode::Octet).unwrap_err(), Problem::File(Refusal::Forbidden));
    assert_eq!(library.get("nothing", Mode::Octet).unwrap_err(), Problem::File(Refusal::NotFound));
}

#[test]
fn a_large_file_has_one_descriptor_for_all_who_read_it_and_none_after_them() {
    let folder = tempfile::tempdir().unwrap();
    let large = |name: &str| {
        std::fs::File::create(folder.path().join(name)).unwrap().set_len(SHARED + 1).unwrap();
    };
    large("one");
    large("two");
    let library = library(&folder);
    let file = |name: &str| match library.get(name, Mode::Octet).unwrap() {
        Content::File(file) => file,
        other => panic!("{name} is in memory: {other:?}"),
    };
    let (one, two) = (file("one"), file("two"));
    assert!(Arc::ptr_eq(&one, &file("one")) && !Arc::ptr_eq(&one, &two));
    large("three");
    std::fs::rename(folder.path().join("three"), folder.path().join("one")).unwrap();
    assert!(!Arc::ptr_eq(&one, &file("one")), "another version");
    let gone = Arc::downgrade(&one);
    drop((one, two));
    assert!(gone.upgrade().is_none());
}
