use std::time::SystemTime;

use super::super::mounts::Mount;
use super::*;

/// Files above what is kept in memory, that have not changed for a while.
fn large(folder: &std::path::Path, names: &[&str]) -> Mounts {
    for name in names {
        let file = File::create(folder.join(name)).unwrap();
        file.set_len(SMALL + 1).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    let roots = vec![folder.to_owned()];
    Mounts::open(&[Mount::Folder { prefix: "/".into(), roots, index: false }]).unwrap()
}

fn found(files: &mut Files<'_>, path: &str) -> Result<Arc<Opened>, Problem> {
    match files.find(path, false) {
        Found::File(file) => Ok(file),
        Found::Nothing(problem) => Err(problem),
        Found::Elsewhere => panic!("{path} is not ours"),
    }
}

#[test]
fn what_is_in_memory_stays_where_descriptors_are_scarce_and_of_too_many_files_the_newer_half() {
    let folder = tempfile::tempdir().unwrap();
    let mounts = large(folder.path(), &["large"]);
    let names: Vec<String> = (0..=FILES).map(|n| format!("/{n}")).collect();
    for name in &names {
        std::fs::write(folder.path().join(&name[1..]), name).unwrap();
    }
    let digests = Digests::start(64).unwrap();
    let mut files = Files::new(&mounts, &digests, None, 2);
    for (turn, name) in (1..).zip(&names[..FILES - 1]) {
        files.turn(Duration::from_secs(turn));
        found(&mut files, name).unwrap();
    }
    found(&mut files, "/large").unwrap();
    files.close_all();
    let has = |files: &Files<'_>, name: &str| files.known.contains_key(name);
    assert!(!has(&files, "/large") && names[..FILES - 1].iter().all(|name| has(&files, name)));
    files.turn(Duration::from_secs(9999));
    found(&mut files, &names[FILES - 1]).unwrap();
    found(&mut files, &names[FILES]).unwrap();
    let kept = names.iter().filter(|name| has(&files, name)).count();
    assert!((FILES / 2..=FILES / 2 + 2).contains(&kept), "{kept} of {FILES}");
    assert!(has(&files, &names[FILES]) && has(&files, &names[FILES - 2]) && !has(&files, "/0"));
}

#[test]
fn so_many_files_are_open_at_once_whether_they_are_kept_or_being_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mounts = large(folder.path(), &["a", "b", "c", "d"]);
    let digests = Digests::start(64).unwrap();
    let mut files = Files::new(&mounts, &digests, None, 2);
    files.turn(Duration::ZERO);
    for path in ["/a", "/b", "/c", "/d"] {
        found(&mut files, path).unwrap();
    }
    // One is kept open for whoever asks next; the other is being sent.
    let sending = found(&mut files, "/a").unwrap();
    let another = found(&mut files, "/b").unwrap();
    assert_eq!(found(&mut files, "/c").unwrap_err(), Problem::Busy);
    files.close_all();
    let Content::File(of_a) = &sending.content else { panic!("in memory") };
    let again = found(&mut files, "/a").unwrap();
    let Content::File(of_again) = &again.content else { panic!("in memory") };
    assert!(Arc::ptr_eq(of_a, of_again), "one descriptor for all who are sent it");
    drop(another);
    found(&mut files, "/c").unwrap();
}
