//! The files that the kernel may serve: those below the roots that are small enough, as they were at the last look.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use netboot_common::tftp::maps::{FILE_MOST, NAME_MOST};

use crate::config::{KernelFiles, Rule, Tftp};
use crate::fastpath::files::Offered;
use crate::sys::open::{Identity, Refusal, RegularFile, Root};
use crate::tftp::names::Candidates;

/// Files of all roots together, by their bytes, and by their number.
const BYTES_MOST: usize = 16 << 20;
const FILES_MOST: usize = 128;
/// Names that are looked at.
const LISTED_MOST: usize = 1024;
/// Folders in folders that are looked into.
const DEPTH_MOST: usize = 4;

/// See the top of this file.
#[derive(Debug)]
pub(in crate::cli::serve) struct Library {
    roots: Vec<Root>,
    /// They come before the roots.
    files: Vec<(String, Arc<[u8]>)>,
    /// By their paths below a root; `None`: all of them.
    only: Option<Vec<String>>,
    pub(super) is_off: bool,
    rules: Vec<Rule>,
    found: Vec<Found>,
    /// Of `only`, what is not offered: there is no such file, it is too large, or a rule is about it.
    pub(super) missing: Vec<String>,
    /// Nothing was offered yet, or nobody has what was.
    pub(super) is_new: bool,
}

#[derive(Clone, Debug)]
struct Found {
    name: String,
    identity: Identity,
    content: Arc<[u8]>,
}

impl Library {
    /// Of the files below `roots`, and of `files`, those that the operator wants there. What a rule is about is left to userspace,
    /// which knows who asks; so is all where transfers have one port, for those of the kernel have others.
    pub(in crate::cli::serve) fn new(
        roots: &[PathBuf],
        files: Vec<(String, Arc<[u8]>)>,
        tftp: &Tftp,
    ) -> Self {
        let roots = roots.iter().filter_map(|path| Root::open(path).ok()).collect();
        let (is_off, only) = match &tftp.kernel {
            _ if tftp.one_port => (true, None),
            KernelFiles::Auto => (false, None),
            KernelFiles::Off => (true, None),
            KernelFiles::Only(names) => (false, Some(names.iter().map(|name| plain(name)).collect())),
        };
        let (rules, found, missing) = (tftp.map.clone(), Vec::new(), Vec::new());
        Self { roots, files, only, is_off, rules, found, missing, is_new: true }
    }

    fn wants(&self, name: &str) -> bool {
        let is_only = |only: &Vec<String>| only.iter().any(|only| only == name);
        !self.is_off && !self.is_told(name) && self.only.as_ref().is_none_or(is_only)
    }

    /// Whether a rule may be about it, which userspace asks of each candidate.
    fn is_told(&self, name: &str) -> bool {
        let is_told = |name: &str| self.rules.iter().any(|rule| rule.file_of(name).is_some());
        Candidates::parse(name.as_bytes()).map_or(true, |names| names.iter().any(is_told))
    }

    /// Those to be looked at, each once.
    fn names(&self) -> Vec<String> {
        let listed = || self.roots.iter().flat_map(list).take(LISTED_MOST).collect();
        let mut names: Vec<String> = self.only.clone().unwrap_or_else(listed);
        let mut once = HashSet::new();
        names.retain(|name| is_plain(name) && name.len() < NAME_MOST && self.wants(name));
        names.retain(|name| once.insert(name.clone()));
        names
    }

    /// The file that userspace serves by this name: that of the first root which has one.
    fn find(&self, name: &str) -> Option<RegularFile> {
        for root in &self.roots {
            match root.file(name) {
                Ok(file) => return Some(file),
                // It hides nothing: see `tftp::files`.
                Err(Refusal::NotFound | Refusal::Forbidden) => {}
                Err(Refusal::Busy | Refusal::Failed(_)) => return None,
            }
        }
        None
    }

    /// Looks; whether anything is other than it was.
    pub(super) fn changed(&mut self) -> bool {
        let known: HashMap<(String, Identity), Arc<[u8]>> =
            self.found.drain(..).map(|found| ((found.name, found.identity), found.content)).collect();
        let mut found: Vec<Found> = Vec::new();
        let (mut bytes, mut is_new) = (0, std::mem::take(&mut self.is_new));
        let mut settling = HashSet::new();
        for name in self.names() {
            // Whatever is behind them is userspace's: it need not be opened.
            if found.len() >= FILES_MOST {
                break;
            }
            let Some(file) = self.find(&name) else { continue };
            // What changes right now is looked at next time.
            if !file.identity.is_settled() {
                settling.insert(name);
                continue;
            }
            let size = file.identity.size as usize;
            if size > FILE_MOST || bytes + size > BYTES_MOST {
                continue;
            }
            let known = known.get(&(name.clone(), file.identity)).cloned();
            is_new |= known.is_none();
            let Some(content) = known.or_else(|| file.read_whole().ok().map(Arc::from)) else { continue };
            bytes += size;
            found.push(Found { name, identity: file.identity, content });
        }
        is_new |= found.len() != known.len();
        self.found = found;
        let missing = self.missing(&settling);
        is_new |= missing != self.missing;
        self.missing = missing;
        is_new
    }

    fn missing(&self, settling: &HashSet<String>) -> Vec<String> {
        let offered: HashSet<&String> = self.names_offered().collect();
        let is_missing = |name: &&String| !offered.contains(name) && !settling.contains(*name);
        self.only.iter().flatten().filter(is_missing).cloned().collect()
    }

    fn names_offered(&self) -> impl Iterator<Item = &String> {
        let virtual_ones = self.files.iter().map(|(name, _)| name).filter(|name| self.wants(name));
        virtual_ones.chain(self.found.iter().map(|found| &found.name))
    }

    /// As they are now.
    pub(super) fn offered(&self) -> Vec<Offered> {
        let found = self.found.iter().map(|found| (&found.name, &found.content));
        let virtual_ones = self.files.iter().filter(|(name, _)| self.wants(name));
        let all = virtual_ones.map(|(name, content)| (name, content)).chain(found);
        all.map(|(name, content)| Offered {
            names: vec![name.clone(), format!("/{name}")],
            content: content.clone(),
        })
        .collect()
    }
}

/// A name as clients ask for it, as the path that it means; what means none stays, and is found nowhere.
fn plain(name: &str) -> String {
    Candidates::parse(name.as_bytes()).map_or_else(|_| name.to_owned(), |names| names.plain)
}

/// The names of the files below a root: those nearest to it first.
fn list(root: &Root) -> Vec<String> {
    walk(root).0
}

/// The same, and how many entries and folders were looked at: in a tree without end no more than [`WALKED_MOST`].
fn walk(root: &Root) -> (Vec<String>, usize) {
    let (mut names, mut folders, mut walked) = (Vec::new(), vec![String::new()], 0);
    for _ in 0..DEPTH_MOST {
        let mut deeper = Vec::new();
        for folder in folders {
            if walked >= WALKED_MOST || names.len() >= LISTED_MOST {
                return (names, walked);
            }
            let most = ENTRIES_MOST.min(WALKED_MOST - walked);
            walked += 1 + entries(&root.path().join(&folder), most, &folder, &mut names, &mut deeper);
        }
        folders = deeper;
    }
    (names, walked)
}

/// Entries of a folder that are looked at, in no order. Whatever is behind them is userspace's.
const ENTRIES_MOST: usize = 1024;
/// Entries and folders below a root.
const WALKED_MOST: usize = 8 * ENTRIES_MOST;

/// How many there were, up to `most`.
fn entries(
    path: &Path,
    most: usize,
    prefix: &str,
    names: &mut Vec<String>,
    folders: &mut Vec<String>,
) -> usize {
    let entries: Vec<_> = std::fs::read_dir(path).into_iter().flatten().flatten().take(most).collect();
    let count = entries.len();
    let named = entries
        .into_iter()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?)));
    let mut sorted: Vec<_> = named.filter(|(name, _)| is_plain(name)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, kind) in sorted {
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            folders.push(format!("{path}/"));
        } else if kind.is_file() {
            names.push(path);
        }
    }
    count
}

/// What clients ask for by just this name: see `tftp::names`.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    use super::*;

    /// What is offered, by its first name, once all files have been left alone for long enough.
    fn offered(library: &mut Library, files: usize) -> Vec<(String, Vec<u8>)> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            library.changed();
            let offered = library.offered();
            let mut named: Vec<_> =
                offered.iter().map(|file| (file.names[0].clone(), file.content.to_vec())).collect();
            named.sort();
            if named.len() == files {
                return named;
            }
            assert!(
                Instant::now() < deadline,
                "{:?}",
                named.iter().map(|(name, _)| name).collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn named(file: &str, content: &[u8]) -> (String, Vec<u8>) {
        (file.to_owned(), content.to_vec())
    }

    #[test]
    fn what_userspace_would_serve_by_a_name_is_offered_by_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let roots = [at("own"), at("ipxe")];
        for folder in ["own/grub/x", "own/52-54-00-12-34-56", "ipxe"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        let write = |name: &str, content: &[u8]| fs::write(at(name), content).unwrap();
        write("own/both", b"own");
        write("ipxe/both", b"ipxe");
        write("ipxe/ipxe.efi", b"efi");
        write("own/grub/x/core.efi", b"grub");
        write("own/52-54-00-12-34-56/both", b"of a machine");
        write("own/autoexec.ipxe", b"of the folder");
        write("own/a\\b", b"a name that means another");
        write("own/with space", b"");
        write("secret", b"secret");
        symlink(at("secret"), at("own/link")).unwrap();
        // It hides the other one, which userspace would not serve either.
        fs::File::create(at("own/large")).unwrap().set_len(FILE_MOST as u64 + 1).unwrap();
        write("ipxe/large", b"another");
        let virtual_one = || vec![("autoexec.ipxe".to_owned(), Arc::from(&b"virtual"[..]))];
        let mut library = Library::new(&roots, virtual_one(), &wanted(KernelFiles::Auto));
        let all = offered(&mut library, 6);
        let own = named("both", b"own");
        assert!(all.contains(&own) && all.contains(&named("ipxe.efi", b"efi")), "{all:?}");
        assert!(all.contains(&named("grub/x/core.efi", b"grub")));
        // Both are offered, and of two of one name the first has it.
        let first = library.offered().into_iter().find(|file| file.names[0] == "autoexec.ipxe").unwrap();
        assert_eq!((&*first.content, &first.names[1][..]), (&b"virtual"[..], "/autoexec.ipxe"));

        let only = ["/both", "nothing", "large", "autoexec.ipxe"].map(str::to_owned).to_vec();
        let mut library = Library::new(&roots, virtual_one(), &wanted(KernelFiles::Only(only)));
        assert!(offered(&mut library, 3).contains(&own), "by the name that clients ask for");
        assert_eq!(library.missing, ["nothing", "large"], "which the operator is told");
        assert_eq!(offered(&mut Library::new(&roots, virtual_one(), &wanted(KernelFiles::Off)), 0), []);

        // What such a name means depends on who asks, also where a machine's folder is before it.
        let rule = Rule { name: "bo*".to_owned(), class: None, file: "grub/x/core.efi".to_owned() };
        let mut told = wanted(KernelFiles::Auto);
        told.map.push(rule);
        let all = offered(&mut Library::new(&roots, virtual_one(), &told), 4);
        assert!(all.iter().all(|(name, _)| !name.ends_with("both")), "{all:?}");
        let one_port = Tftp { one_port: true, ..wanted(KernelFiles::Auto) };
        assert_eq!(offered(&mut Library::new(&roots, virtual_one(), &one_port), 0), []);
    }

    #[test]
    fn however_many_files_there_are_the_operator_s_come_before_ipxe_s() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [dir.path().join("own"), dir.path().join("ipxe")];
        let write = |root: &Path, name: &str, content: &[u8]| fs::write(root.join(name), content).unwrap();
        roots.iter().for_each(|root| fs::create_dir(root).unwrap());
        for number in 0..3000 {
            // Not the kernel's, for clients may leave the space away.
            write(&roots[0], &format!("{number} "), b"");
        }
        for number in 0..100 {
            let name = format!("loader-{number}");
            write(&roots[0], &name, b"own");
            write(&roots[1], &name, b"another");
        }
        symlink("/nothing", roots[0].join("link")).unwrap();
        write(&roots[1], "link", b"of iPXE, which a symbolic link does not hide");
        let mut library = Library::new(&roots, Vec::new(), &wanted(KernelFiles::Auto));
        let all = offered(&mut library, 101);
        let of = |content: &[u8]| all.iter().filter(|(_, other)| other == content).count();
        assert_eq!((of(b"own"), of(b"another")), (100, 0));
    }

    #[test]
    fn a_tree_without_end_is_looked_into_up_to_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        for (outer, inner) in (0..12).flat_map(|outer| (0..800).map(move |inner| (outer, inner))) {
            fs::create_dir_all(dir.path().join(format!("mirror/{outer}/{inner}"))).unwrap();
        }
        fs::write(dir.path().join("loader.efi"), b"").unwrap();
        let (names, walked) = walk(&Root::open(dir.path()).unwrap());
        assert_eq!(names, ["loader.efi"]);
        assert!((WALKED_MOST..=WALKED_MOST + 1).contains(&walked), "{walked}");
    }

    fn wanted(kernel: KernelFiles) -> Tftp {
        Tftp { kernel, ..Tftp::new("/".into()) }
    }

    #[test]
    fn a_file_that_changes_is_not_offered_until_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("core.efi");
        fs::write(&at, b"old").unwrap();
        let mut library = Library::new(&[dir.path().to_owned()], Vec::new(), &wanted(KernelFiles::Auto));
        assert!(library.changed(), "the first look");
        assert_eq!(offered(&mut library, 1), [named("core.efi", b"old")]);
        assert!(!library.changed());
        fs::write(&at, b"new").unwrap();
        assert!(library.changed() && library.offered().is_empty(), "userspace serves it meanwhile");
        assert_eq!(offered(&mut library, 1), [named("core.efi", b"new")]);
        fs::remove_file(&at).unwrap();
        assert!(library.changed() && library.offered().is_empty());
    }
}
