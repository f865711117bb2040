//! File systems that stand still, and what TFTP serves meanwhile.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use netboot_userspace::tftp::{Config, Server, Uploads};
use netboot_userspace::uring::Choice;
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use crate::lab::run;
use crate::slow_disk::Frozen;

/// A file system of two files by `/dev/fuse`, in a mount namespace of the thread that mounts it.
struct Still {
    folder: tempfile::TempDir,
    gate: Arc<Gate>,
}

/// Whether requests wait, and how many have come to wait here.
#[derive(Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += usize::from(state.0);
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(held, _)| *held).unwrap());
    }

    fn hold(&self) {
        *self.state.lock().unwrap() = (true, 0);
    }

    fn wait_for_somebody(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |(_, waiting)| *waiting == 0).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().0 = false;
        self.changed.notify_all();
    }
}

/// By node; 1 is the folder.
const FILES: [(&[u8], u64, usize); 2] = [(b"small", 2, 3000), (b"large", 3, 5 << 20)];

fn byte(at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

/// As the kernel has it in linux/fuse.h.
mod op {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
}

impl Still {
    fn mount() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (gate, at) = (Arc::<Gate>::default(), folder.path().to_owned());
        let (own, (mounted, is_mounted)) = (gate.clone(), channel());
        std::thread::spawn(move || {
            // Nobody else has the device: were this process killed while somebody waits for an answer, who waits would hold it open, and
            // wait for ever.
            unshare(CloneFlags::CLONE_FILES).unwrap();
            let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
            let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
            let options = CString::new(options).unwrap();
            mount("netboot-test", &at, "fuse", MountFlags::empty(), options.as_c_str()).unwrap();
            mounted.send(()).unwrap();
            serve(&device, &own);
        });
        is_mounted.recv().unwrap();
        Self { folder, gate }
    }
}

/// Lets go of those who wait before anybody waits for them, however a test ends.
struct Opened<'a>(&'a Gate);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        let _ = unmount(self.folder.path(), UnmountFlags::DETACH);
    }
}

/// Until nobody has it mounted any more.
fn serve(mut device: &File, gate: &Gate) {
    let mut buffer = vec![0; 1 << 17];
    loop {
        let length = match device.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return,
            Err(_) => continue,
        };
        let (head, body) = buffer[..length].split_at(40);
        let opcode = u32::from_ne_bytes(head[4..8].try_into().unwrap());
        let node = u64::from_ne_bytes(head[16..24].try_into().unwrap());
        if matches!(opcode, op::LOOKUP | op::OPEN | op::READ) {
            gate.pass();
        }
        let Some(answer) = answer(opcode, node, body) else { continue };
        let (error, payload) = answer.map_or_else(|error| (-error, Vec::new()), |payload| (0, payload));
        let length = 16 + payload.len() as u32;
        let reply = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &head[8..16], &payload].concat();
        let _ = device.write_all(&reply);
    }
}

/// `None`: there is none.
fn answer(opcode: u32, node: u64, body: &[u8]) -> Option<Result<Vec<u8>, i32>> {
    let size_of = |node| FILES.iter().find(|(_, own, _)| *own == node).map(|(_, _, size)| *size);
    Some(match opcode {
        op::FORGET | op::BATCH_FORGET | op::INTERRUPT => return None,
        op::INIT => {
            // Version 7.31, nothing read ahead, no flags, 12 and 9 requests at a time, a page of writing; the rest is zero.
            let head = [7_u32, 31, 0, 0, 12 | 9 << 16, 4096, 1];
            let mut bytes = head.map(u32::to_ne_bytes).concat();
            bytes.resize(64, 0);
            Ok(bytes)
        }
        op::LOOKUP => {
            let name = body.strip_suffix(b"\0").unwrap_or(body);
            let found = FILES.iter().find(|(own, _, _)| *own == name).ok_or(libc::ENOENT);
            // Good for no time: it is asked for each time.
            found.map(|(_, node, size)| {
                let head = [*node, 1, 0, 3600, 0].map(u64::to_ne_bytes).concat();
                [head, attributes(*node, Some(*size))].concat()
            })
        }
        op::GETATTR => {
            Ok([[3600_u64, 0].map(u64::to_ne_bytes).concat(), attributes(node, size_of(node))].concat())
        }
        // Past the page cache.
        op::OPEN => Ok([0_u64, 1].map(u64::to_ne_bytes).concat()),
        op::READ => {
            let start = u64::from_ne_bytes(body[8..16].try_into().unwrap()) as usize;
            let length = u32::from_ne_bytes(body[16..20].try_into().unwrap()) as usize;
            let end = (start + length).min(size_of(node).unwrap_or(0));
            Ok((start.min(end)..end).map(byte).collect())
        }
        op::RELEASE | op::FLUSH => Ok(Vec::new()),
        _ => Err(libc::ENOSYS),
    })
}

/// Of a file of this size, or of the folder, which nobody has changed for long.
fn attributes(node: u64, size: Option<usize>) -> Vec<u8> {
    let long_ago = 1_000_000_000;
    let times = [node, size.unwrap_or(0) as u64, 0, long_ago, long_ago, long_ago];
    let mode = if size.is_some() { 0o100_644 } else { 0o040_755 };
    let rest = [0_u32, 0, 0, mode, 1, 0, 0, 0, 4096, 0];
    [times.map(u64::to_ne_bytes).concat(), rest.map(u32::to_ne_bytes).concat()].concat()
}

/// A client, with windows of four blocks of 1024 bytes.
struct Client {
    socket: UdpSocket,
    transfer: SocketAddr,
    got: Vec<u8>,
    block: u16,
}

impl Client {
    fn ask(server: &Server, name: &str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let transfer = server.local_addr();
        let request = format!("\0\x01{name}\0octet\0blksize\x001024\0windowsize\x004\0");
        socket.send_to(request.as_bytes(), transfer).unwrap();
        Self { socket, transfer, got: Vec::new(), block: 0 }
    }

    /// Whether the file goes on behind what came.
    fn receive(&mut self) -> bool {
        let mut packet = [0; 2048];
        let (length, from) = self.socket.recv_from(&mut packet).unwrap();
        let packet = &packet[..length];
        self.transfer = from;
        match packet {
            [0, 6, ..] => self.acknowledge(),
            [0, 3, number @ ..] if number[..2] == (self.block + 1).to_be_bytes() => {
                self.block += 1;
                self.got.extend_from_slice(&packet[4..]);
                let is_last = length < 4 + 1024;
                if is_last || self.block.is_multiple_of(4) {
                    self.acknowledge();
                }
                return !is_last;
            }
            // Again, for it took long.
            [0, 3, ..] => {}
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
        true
    }

    fn acknowledge(&self) {
        let ack = [&[0, 4][..], &self.block.to_be_bytes()].concat();
        self.socket.send_to(&ack, self.transfer).unwrap();
    }

    fn finish(mut self) -> Vec<u8> {
        while self.receive() {}
        self.got
    }
}

#[test]
fn a_disk_that_stands_still_holds_up_nobody_who_needs_nothing_of_it() {
    for engine in [Choice::Uring, Choice::Epoll] {
        let (still, folder) = (Still::mount(), tempfile::tempdir().unwrap());
        let want: Vec<u8> = (7..50_000).map(byte).collect();
        std::fs::write(folder.path().join("file"), &want).unwrap();
        let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
        (config.workers, config.engine) = (1, engine);
        config.roots = vec![folder.path().to_owned(), still.folder.path().to_owned()];
        let server = Server::start(config, Arc::new(|_| {})).unwrap();
        let _opened = Opened(&still.gate);
        assert!(Client::ask(&server, "file").finish() == want);
        let mut large = Client::ask(&server, "large");
        while large.block < 3 {
            large.receive();
        }

        still.gate.hold();
        large.receive();
        still.gate.wait_for_somebody();
        let small = Client::ask(&server, "small");
        for _ in 0..20 {
            assert!(Client::ask(&server, "file").finish() == want, "{engine:?}");
        }
        assert_eq!((large.block, server.stats().requests), (4, 23), "who needs it waits");

        still.gate.open();
        assert!(small.finish() == (0..3000).map(byte).collect::<Vec<_>>(), "{engine:?}");
        assert!(large.finish() == (0..5 << 20).map(byte).collect::<Vec<_>>(), "{engine:?}");
        server.shutdown();
    }
}

/// A file system of its own, whose writes wait.
#[test]
fn who_writes_to_a_disk_that_stands_still_holds_up_nobody_else() {
    for engine in [Choice::Uring, Choice::Epoll] {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let place = tempfile::tempdir().unwrap();
        let (disk, folder) = (place.path().join("disk"), place.path().join("uploads"));
        std::fs::create_dir(&folder).unwrap();
        File::create(&disk).unwrap().set_len(32 << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&disk));
        run(Command::new("mount").args(["-o", "loop"]).args([&disk, &folder]));
        let want: Vec<u8> = (0..50_000).map(byte).collect();
        let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
        (config.workers, config.engine) = (1, engine);
        config.files = vec![("file".to_owned(), want.clone().into())];
        config.uploads = Some(Uploads { keep_free: 0, ..Uploads::new(folder.clone()) });
        let server = Server::start(config, Arc::new(|_| {})).unwrap();
        let begin = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket.send_to(b"\0\x02new\0octet\0", server.local_addr()).unwrap();
            socket
        };
        let answer = |socket: &UdpSocket| {
            let mut packet = [0; 64];
            let (length, from) = socket.recv_from(&mut packet).unwrap();
            (packet[..length].to_vec(), from)
        };
        let under_way = begin();
        let (packet, transfer) = answer(&under_way);
        assert_eq!(packet, [0, 4, 0, 0]);

        let frozen = Frozen::new(folder.clone());
        under_way.send_to(&[&[0, 3, 0, 1][..], &[7; 512]].concat(), transfer).unwrap();
        let also = begin();
        for _ in 0..20 {
            assert!(Client::ask(&server, "file").finish() == want, "{engine:?}");
        }
        under_way.set_nonblocking(true).unwrap();
        assert!(under_way.recv_from(&mut [0; 64]).is_err(), "an ACK of what is not written");
        under_way.set_nonblocking(false).unwrap();

        drop(frozen);
        assert_eq!(answer(&under_way).0, [0, 4, 0, 1]);
        under_way.send_to(&[0, 3, 0, 2, 7], transfer).unwrap();
        while answer(&under_way).0 != [0, 4, 0, 2] {}
        assert_eq!(answer(&also).0, [0, 4, 0, 0]);
        let stored = std::fs::read_dir(folder.join("127.0.0.1")).unwrap();
        let stored: Vec<_> = stored.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
        assert_eq!(stored, [vec![7; 513]]);
        server.shutdown();
        unmount(&folder, UnmountFlags::DETACH).unwrap();
    }
}
