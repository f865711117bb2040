//! The power goes: what was not synced is lost, torn, or there in another order.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::judge::Judge;
use super::load::{Clients, Random, plan, server};
use crate::store::{Clock, Store};

const CUTS: u64 = 1000;
const BEGIN: u64 = 1_800_000_000;
/// The smallest part of a write that a disk has or has not.
const SECTOR: usize = 512;

/// A disk in memory, whose power goes after so many operations.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// As those who use it see it.
    seen: Vec<u8>,
    /// As it will be after the power went, but for `unsynced`.
    synced: Vec<u8>,
    unsynced: Vec<Write>,
    /// Operations that are left.
    left: u64,
}

#[derive(Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Write {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Bytes(at, bytes) => {
                image.resize(image.len().max(at + bytes.len()), 0);
                image[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Length(length) => image.resize(*length, 0),
        }
    }
}

impl Disk {
    fn new(image: Vec<u8>, left: u64) -> Self {
        Self(Arc::new(Mutex::new(State { seen: image.clone(), synced: image, unsynced: Vec::new(), left })))
    }

    fn with<T>(&self, operation: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.left = state.left.checked_sub(1).ok_or_else(|| io::Error::other("the power is off"))?;
        Ok(operation(&mut state))
    }

    /// What is on it once the power is back: of what was not synced, each sector is there or not.
    fn image(&self, random: &mut Random) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut image = state.synced.clone();
        for write in &state.unsynced {
            match write {
                Write::Bytes(at, bytes) => {
                    for (i, sector) in bytes.chunks(SECTOR).enumerate().filter(|_| random.below(2) == 0) {
                        Write::Bytes(at + i * SECTOR, sector.to_vec()).apply(&mut image);
                    }
                }
                // A file that grew is as long as it was or as it is.
                Write::Length(_) if random.below(2) == 0 => write.apply(&mut image),
                Write::Length(_) => {}
            }
        }
        image
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| state.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset as usize;
        self.with(|state| {
            let bytes = state.seen.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })?
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Write::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            let State { synced, unsynced, .. } = state;
            unsynced.drain(..).for_each(|write| write.apply(synced));
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Write::Bytes(offset as usize, data.to_vec()))
    }
}

impl Disk {
    fn change(&self, write: Write) -> io::Result<()> {
        self.with(|state| {
            write.apply(&mut state.seen);
            state.unsynced.push(write);
        })
    }
}

/// No limit on operations that would be met.
const ENDLESS: u64 = u64::MAX;

#[test]
fn no_acked_lease_is_lost_or_given_twice_when_the_power_goes() {
    let (mut judge, mut random, mut time) = (Judge::default(), Random::new(2), BEGIN);
    let (mut image, mut plan) = (Vec::new(), plan());
    for cut in 0..CUTS {
        let disk = Disk::new(image, ENDLESS);
        // Opening is not cut: what it writes is redb's own business, and its tests'.
        let clock = Clock::starting_at(time);
        let store = Store::on(disk.clone(), clock).unwrap();
        judge.compare(&store.leases().unwrap(), time);
        let server = server(plan, store, clock);
        let mut clients = Clients::new(cut, 0, 1, &judge.believed(time));
        disk.0.lock().unwrap().left = 10 + random.below(120);
        while disk.0.lock().unwrap().left > 0 {
            clients.batch(&server, &mut |said| judge.hear(said));
        }
        image = disk.image(&mut random);
        plan = server.machine.into_inner().unwrap().plan;
        time += 10 + random.below(3000);
    }
    assert!(judge.acked > 5_000, "{}", judge.acked);
}
