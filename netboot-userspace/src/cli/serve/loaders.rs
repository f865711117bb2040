//! Which files the kernel serves by TFTP: those below the roots that are small enough, as they are now. They are looked at once in
//! a [`LOOK`]; userspace, which serves what the kernel does not have, looks at each request.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netboot_common::limit::Budget;
use netboot_common::tftp::maps::{FILE_MOST, NAME_MOST, Serving, TIDS};

use arc_swap::ArcSwap;

use crate::config::{KernelFiles, Rule, Tftp};
use crate::fastpath;
use crate::fastpath::files::{Files, Offered, Placed};
use crate::sys::open::{Identity, Root};
use crate::tftp::strays::Strays;
use crate::tftp::{Limits, Sources};

const LOOK: Duration = Duration::from_secs(1);
/// Files of all roots together, by their bytes, and by their number.
const BYTES_MOST: usize = 16 << 20;
const FILES_MOST: usize = 128;
/// Names that are looked at.
const LISTED_MOST: usize = 1024;
/// Folders in folders that are looked into.
const DEPTH_MOST: usize = 4;

/// Requests that an address may have open, without having acknowledged anything: a burst, for thousands may ask from behind one
/// address, and then so many a second.
const REQUESTS: Budget = Budget::new(256, 8192);

/// The thread that looks.
#[derive(Debug)]
pub(super) struct Loaders {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    strays: Option<Strays>,
    placed: Shown,
}

/// What the kernel serves now, for `netboot status`.
pub(super) type Shown = Arc<ArcSwap<Placed>>;

impl Loaders {
    /// Serves what is below `roots`, and `files`, of which those that come first hide others of their name.
    /// Strays are answered to `sources`.
    pub(super) fn start(
        files: Files,
        listen: SocketAddr,
        limits: Limits,
        library: Library,
        sources: Sources,
    ) -> io::Result<Self> {
        let address = if library.is_off { None } else { v4(listen) };
        let strays = address.and_then(|address| hold(&files, address, sources));
        let serving = address.zip(strays.as_ref()).map(|(address, strays)| {
            let Limits { block_size, window_size, .. } = limits;
            let serving = Serving::new(listen.port(), strays.first(), block_size, window_size, REQUESTS);
            serving.on(address.octets())
        });
        let serving = serving.unwrap_or(Serving::NOTHING);
        let mut look = Look { library, files, begin: Instant::now(), placed: Shown::default() };
        // What is offered first is there before the first request is taken.
        if let Err(error) = look.look().and_then(|()| look.files.serve(serving)) {
            tracing::warn!("no TFTP in the kernel: {:#}", anyhow::Error::from(error));
        }
        let (placed, (stop, stopped)) = (look.placed.clone(), channel());
        let thread = std::thread::Builder::new().name("loaders".to_owned()).spawn(move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = look.look() {
                    tracing::warn!("files of TFTP in the kernel: {:#}", anyhow::Error::from(error));
                }
            }
        })?;
        Ok(Self { stop, thread, strays, placed })
    }

    /// What the kernel serves, now and later.
    pub(super) fn placed(&self) -> Shown {
        self.placed.clone()
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
        if let Some(strays) = self.strays {
            strays.stop();
        }
    }
}

/// What the thread works with.
struct Look {
    library: Library,
    files: Files,
    begin: Instant,
    placed: Shown,
}

impl Look {
    /// Has the kernel serve what is there now.
    fn look(&mut self) -> Result<(), fastpath::Error> {
        let now = self.begin.elapsed();
        let before = self.placed.load_full();
        // What found no room is offered again: old versions may have gone.
        if !self.library.changed() && before.left.is_empty() {
            return self.files.tidy(now);
        }
        let placed = self.files.replace(&self.library.offered(), now)?;
        if placed != *before {
            tracing::info!("TFTP in the kernel: {} files of {} bytes", placed.files, placed.bytes);
        }
        if !placed.left.is_empty() && placed.left != before.left {
            let left = placed.left.join(", ");
            tracing::warn!("no room in the kernel for {left}: userspace serves them");
        }
        self.placed.store(Arc::new(placed));
        Ok(())
    }
}

/// The address that clients of IPv4 ask.
fn v4(listen: SocketAddr) -> Option<Ipv4Addr> {
    match listen.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.is_unspecified().then_some(Ipv4Addr::UNSPECIFIED),
    }
}

/// The ports for transfers: those of the earlier server's, if they are to be had. `None`, with the reason said, where none are.
fn hold(files: &Files, address: Ipv4Addr, sources: Sources) -> Option<Strays> {
    let before = files.serving().map(|serving| serving.tids()).unwrap_or_default();
    Strays::start(address.into(), TIDS, Some(before).filter(|tids| *tids > 0), sources)
        .inspect_err(|error| tracing::warn!("no TFTP in the kernel: holding ports for transfers: {error}"))
        .ok()
}

/// The files that may be served, as they were at the last look.
#[derive(Debug)]
pub(super) struct Library {
    roots: Vec<Root>,
    /// They come before the roots.
    files: Vec<(String, Arc<[u8]>)>,
    /// `None`: all of them.
    only: Option<HashSet<String>>,
    is_off: bool,
    rules: Vec<Rule>,
    found: Vec<Found>,
    /// Nothing was offered yet.
    is_new: bool,
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
    pub(super) fn new(roots: &[PathBuf], files: Vec<(String, Arc<[u8]>)>, tftp: &Tftp) -> Self {
        let roots = roots.iter().filter_map(|path| Root::open(path).ok()).collect();
        let (is_off, only) = match &tftp.kernel {
            _ if tftp.one_port => (true, None),
            KernelFiles::Auto => (false, None),
            KernelFiles::Off => (true, None),
            KernelFiles::Only(names) => (false, Some(names.iter().cloned().collect())),
        };
        Self { roots, files, only, is_off, rules: tftp.map.clone(), found: Vec::new(), is_new: true }
    }

    fn wants(&self, name: &str) -> bool {
        let is_told = self.rules.iter().any(|rule| rule.file_of(name).is_some());
        !self.is_off && !is_told && self.only.as_ref().is_none_or(|only| only.contains(name))
    }

    /// Looks; whether anything is other than it was.
    fn changed(&mut self) -> bool {
        let known: HashMap<(String, Identity), Arc<[u8]>> =
            self.found.drain(..).map(|found| ((found.name, found.identity), found.content)).collect();
        let mut found: Vec<Found> = Vec::new();
        let (mut bytes, mut is_new) = (0, std::mem::take(&mut self.is_new));
        let mut names = HashSet::new();
        let listed = self.roots.iter().flat_map(|root| list(root).into_iter().map(move |name| (root, name)));
        let listed = listed.take(LISTED_MOST);
        // One that can't be had here hides others of its name, as in userspace.
        for (root, name) in listed.filter(|(_, name)| self.wants(name) && names.insert(name.clone())) {
            let Ok(file) = root.file(&name) else { continue };
            let size = file.identity.size as usize;
            // What changes right now is looked at next time.
            let is_fit = size <= FILE_MOST && bytes + size <= BYTES_MOST && file.identity.is_settled();
            if !is_fit || found.len() >= FILES_MOST {
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
        is_new
    }

    /// As they are now.
    fn offered(&self) -> Vec<Offered> {
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

/// The names of the files below a root: those nearest to it first.
fn list(root: &Root) -> Vec<String> {
    let (mut names, mut folders) = (Vec::new(), vec![String::new()]);
    for _ in 0..DEPTH_MOST {
        let mut deeper = Vec::new();
        for folder in folders {
            entries(&root.path().join(&folder), &folder, &mut names, &mut deeper);
        }
        folders = deeper;
    }
    names
}

/// Entries that a folder may have, to be looked at once in a while.
const ENTRIES_MOST: usize = 1024;

fn entries(path: &Path, prefix: &str, names: &mut Vec<String>, folders: &mut Vec<String>) {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().take(ENTRIES_MOST);
    let named =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?)));
    let mut sorted: Vec<_> = named.filter(|(name, _)| is_plain(name)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, kind) in sorted {
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            folders.push(format!("{path}/"));
        } else if kind.is_file() && path.len() < NAME_MOST {
            names.push(path);
        }
    }
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
        for folder in ["own/grub/x", "ipxe"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        let write = |name: &str, content: &[u8]| fs::write(at(name), content).unwrap();
        write("own/both", b"own");
        write("ipxe/both", b"ipxe");
        write("ipxe/ipxe.efi", b"efi");
        write("own/grub/x/core.efi", b"grub");
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
        let all = offered(&mut library, 5);
        let own = named("both", b"own");
        assert!(all.contains(&own) && all.contains(&named("ipxe.efi", b"efi")), "{all:?}");
        assert!(all.contains(&named("grub/x/core.efi", b"grub")));
        // Both are offered, and of two of one name the first has it.
        let first = library.offered().into_iter().find(|file| file.names[0] == "autoexec.ipxe").unwrap();
        assert_eq!((&*first.content, &first.names[1][..]), (&b"virtual"[..], "/autoexec.ipxe"));

        let only = KernelFiles::Only(vec!["both".to_owned(), "nothing".to_owned()]);
        assert_eq!(offered(&mut Library::new(&roots, virtual_one(), &wanted(only)), 1), [own]);
        assert_eq!(offered(&mut Library::new(&roots, virtual_one(), &wanted(KernelFiles::Off)), 0), []);

        // What such a name means depends on who asks.
        let rule = Rule { name: "bo*".to_owned(), class: None, file: "grub/x/core.efi".to_owned() };
        let mut told = wanted(KernelFiles::Auto);
        told.map.push(rule);
        assert!(
            !offered(&mut Library::new(&roots, virtual_one(), &told), 4).contains(&named("both", b"own"))
        );
        let one_port = Tftp { one_port: true, ..wanted(KernelFiles::Auto) };
        assert_eq!(offered(&mut Library::new(&roots, virtual_one(), &one_port), 0), []);
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
