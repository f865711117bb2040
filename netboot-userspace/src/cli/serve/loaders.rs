//! Which files the kernel serves by TFTP: those below the roots that are small enough, as they are now. They are looked at once in
//! a [`LOOK`]; userspace, which serves what the kernel does not have, looks at each request.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netboot_common::limit::Budget;
use netboot_common::tftp::maps::{FILE_MOST, NAME_MOST, Serving, TIDS};

use crate::fastpath::files::{Files, Offered, Placed};
use crate::sys::open::{Identity, Root};
use crate::tftp::Limits;
use crate::tftp::strays::Strays;

const LOOK: Duration = Duration::from_secs(1);
/// Files of all roots together, by their bytes, and by their number.
const BYTES_MOST: usize = 16 << 20;
const FILES_MOST: usize = 128;
/// Folders in folders that are looked into.
const DEPTH_MOST: usize = 4;

/// Requests that a client may have open, without having acknowledged anything: a burst, and then so many a second.
const REQUESTS: Budget = Budget::new(64, 1024);

/// The thread that looks.
#[derive(Debug)]
pub(super) struct Loaders {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    strays: Option<Strays>,
}

impl Loaders {
    /// Serves what is below `roots`, and `files`, of which those that come first hide others of their name.
    pub(super) fn start(
        mut files: Files,
        listen: SocketAddr,
        limits: Limits,
        mut library: Library,
    ) -> io::Result<Self> {
        let strays = match hold(&files, listen) {
            Ok(strays) => Some(strays),
            Err(error) => {
                tracing::warn!("no TFTP in the kernel: {error}");
                None
            }
        };
        let serving = strays.as_ref().map_or(Serving::NOTHING, |strays| {
            Serving::new(listen.port(), strays.first(), limits.block_size, limits.window_size, REQUESTS)
        });
        let (stop, stopped) = channel();
        let begin = Instant::now();
        let mut look = move |files: &mut Files| -> Result<(), crate::fastpath::Error> {
            let is_waiting = !library.left.is_empty();
            match library.changed() || is_waiting {
                true => {
                    let placed = files.replace(&library.offered(), begin.elapsed())?;
                    library.say(placed);
                    Ok(())
                }
                false => files.tidy(begin.elapsed()),
            }
        };
        // What is offered first is there before the first request is taken.
        let first = look(&mut files).and_then(|()| files.serve(serving));
        if let Err(error) = first {
            tracing::warn!("no TFTP in the kernel: {:#}", anyhow::Error::from(error));
        }
        let thread = std::thread::Builder::new().name("loaders".to_owned()).spawn(move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = look(&mut files) {
                    tracing::warn!("files of TFTP in the kernel: {:#}", anyhow::Error::from(error));
                }
            }
        })?;
        Ok(Self { stop, thread, strays })
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
        if let Some(strays) = self.strays {
            strays.stop();
        }
    }
}

/// Of the earlier server's transfers, the ports first.
fn hold(files: &Files, listen: SocketAddr) -> io::Result<Strays> {
    let address = match listen.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) if address.is_unspecified() => Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(_) => return Err(io::Error::other(format!("{listen} has no clients of IPv4"))),
    };
    let before = files.serving().map(|serving| serving.tids()).unwrap_or_default();
    Strays::start(address.into(), TIDS, Some(before).filter(|tids| *tids > 0))
}

/// The files that may be served, as they were at the last look.
#[derive(Debug)]
pub(super) struct Library {
    roots: Vec<Root>,
    /// They come before the roots.
    files: Vec<(String, Arc<[u8]>)>,
    found: Vec<Found>,
    left: Vec<String>,
}

#[derive(Clone, Debug)]
struct Found {
    name: String,
    identity: Identity,
    content: Arc<[u8]>,
}

impl Library {
    pub(super) fn new(roots: &[std::path::PathBuf], files: Vec<(String, Arc<[u8]>)>) -> Self {
        let roots = roots.iter().filter_map(|path| Root::open(path).ok()).collect();
        Self { roots, files, found: Vec::new(), left: vec![String::new()] }
    }

    /// Looks; whether anything is other than it was.
    fn changed(&mut self) -> bool {
        let known: HashMap<(String, Identity), Arc<[u8]>> =
            self.found.drain(..).map(|found| ((found.name, found.identity), found.content)).collect();
        let mut found: Vec<Found> = Vec::new();
        let (mut bytes, mut is_new) = (0, false);
        for (root, name) in
            self.roots.iter().flat_map(|root| list(root).into_iter().map(move |name| (root, name)))
        {
            if found.len() >= FILES_MOST || found.iter().any(|other| other.name == name) {
                continue;
            }
            let Ok(file) = root.file(&name) else { continue };
            let size = file.identity.size as usize;
            // What changes right now is looked at next time.
            if size > FILE_MOST || bytes + size > BYTES_MOST || !file.identity.is_settled() {
                continue;
            }
            let content = match known.get(&(name.clone(), file.identity)) {
                Some(content) => content.clone(),
                None => {
                    let Ok(content) = file.read_whole() else { continue };
                    is_new = true;
                    content.into()
                }
            };
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
        let all = self.files.iter().map(|(name, content)| (name, content)).chain(found);
        all.map(|(name, content)| Offered {
            names: vec![name.clone(), format!("/{name}")],
            content: content.clone(),
        })
        .collect()
    }

    fn say(&mut self, placed: Placed) {
        let Placed { files, bytes, left } = placed;
        if left != self.left || self.left.is_empty() {
            tracing::info!("TFTP in the kernel: {files} files of {bytes} bytes");
        }
        if !left.is_empty() && left != self.left {
            tracing::warn!("no room in the kernel for {}: userspace serves them", left.join(", "));
        }
        self.left = left;
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
