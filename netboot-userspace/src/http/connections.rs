//! The connections of a worker, by token. A token is never given twice, so that what comes late for one meets no other.

use super::connection::Connection;

/// The first tokens are the worker's own.
pub(super) const FIRST: u64 = 1 << 32;

/// Connections in numbered places; a token is the place and how often it was given.
#[derive(Debug, Default)]
pub(super) struct Connections {
    places: Vec<(u32, Option<Box<Connection>>)>,
    free: Vec<u32>,
}

impl Connections {
    pub(super) fn insert(&mut self, connection: Connection) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let (generation, place) = &mut self.places[index as usize];
        // Never 0, so that every token is at least `FIRST`.
        *generation = generation.wrapping_add(1).max(1);
        *place = Some(Box::new(connection));
        u64::from(*generation) << 32 | u64::from(index)
    }

    pub(super) fn slot(&mut self, token: u64) -> Option<&mut Connection> {
        let (generation, place) = self.places.get_mut(token as u32 as usize)?;
        place.as_deref_mut().filter(|_| u64::from(*generation) == token >> 32)
    }

    pub(super) fn remove(&mut self, token: u64) -> Option<Box<Connection>> {
        self.slot(token)?;
        let index = token as u32;
        self.free.push(index);
        self.places[index as usize].1.take()
    }

    pub(super) fn tokens(&self) -> Vec<u64> {
        let taken = self.places.iter().zip(0_u64..).filter(|((_, place), _)| place.is_some());
        taken.map(|((generation, _), index)| u64::from(*generation) << 32 | index).collect()
    }
}
