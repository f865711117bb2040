//! An upload between its machine and the disk, which a thread waits for.
//!
//! **Invariant:** what the machine says to its client is said when all that came before it is written.

use std::time::Duration;

use super::machine::{Reception, Reply, Step};
use super::{Full, Upload};
use crate::tftp::machine::End;

/// So much may wait for the disk, of one client; what comes then is as if it was lost.
const WAITING: usize = 32;

/// See the top of this file.
#[derive(Debug)]
pub(in crate::tftp) struct Writing {
    pub(in crate::tftp) machine: Reception,
    /// `None`: a thread has it.
    upload: Option<Box<Upload>>,
    orders: Vec<Order>,
    /// The name that the file got.
    pub(in crate::tftp) stored: Option<String>,
}

/// What to write, and what to say then.
#[derive(Debug)]
pub(in crate::tftp) struct Order {
    keep: Option<Vec<u8>>,
    is_last: bool,
    said: Said,
}

/// What the client is told, and whether that is the end.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::tftp) struct Said {
    pub(in crate::tftp) reply: Reply,
    pub(in crate::tftp) end: Option<End>,
}

/// What became of an order; the name of the file, once it has one.
pub(in crate::tftp) type Written = Result<(Option<String>, Said), Full>;

impl Writing {
    pub(in crate::tftp) fn new(machine: Reception, upload: Upload) -> Self {
        Self { machine, upload: Some(Box::new(upload)), orders: Vec::new(), stored: None }
    }

    /// A datagram came: what can be said at once.
    pub(in crate::tftp) fn datagram(&mut self, datagram: &[u8], now: Duration) -> Option<Said> {
        if self.orders.len() >= WAITING {
            return None;
        }
        let step = self.machine.datagram(datagram, now);
        order(&mut self.orders, self.upload.as_deref(), step)
    }

    /// The deadline has come.
    pub(in crate::tftp) fn timer(&mut self, now: Duration) -> Option<Said> {
        let step = self.machine.timer(now);
        self.take(step)
    }

    /// A step of the machine: what can be said at once.
    pub(in crate::tftp) fn take(&mut self, step: Step<'_>) -> Option<Said> {
        order(&mut self.orders, self.upload.as_deref(), step)
    }

    /// What a thread is to do, unless one is at it.
    pub(in crate::tftp) fn give(&mut self) -> Option<(Box<Upload>, Vec<Order>)> {
        if self.orders.is_empty() {
            return None;
        }
        Some((self.upload.take()?, std::mem::take(&mut self.orders)))
    }

    /// A thread is through with it, or had no time for it: what it has not done comes first.
    pub(in crate::tftp) fn give_back(&mut self, upload: Box<Upload>, mut undone: Vec<Order>) {
        self.upload = Some(upload);
        undone.append(&mut self.orders);
        self.orders = undone;
    }
}

fn order(orders: &mut Vec<Order>, upload: Option<&Upload>, step: Step<'_>) -> Option<Said> {
    let Step { keep, is_last, reply, end } = step;
    let said = Said { reply, end };
    if keep.is_none() && orders.is_empty() && upload.is_some_and(Upload::is_looked_at) {
        return Some(said);
    }
    let is_nothing = keep.is_none() && said.reply == Reply::Nothing && said.end.is_none();
    // Nothing comes after an end, nor twice, also while the disk is waited for.
    let is_said =
        orders.last().is_some_and(|last| last.said.end.is_some() || keep.is_none() && last.said == said);
    if !is_nothing && !is_said {
        orders.push(Order { keep: keep.map(<[u8]>::to_vec), is_last, said });
    }
    None
}

/// Writes; what came of each order, up to the first that failed.
pub(in crate::tftp) fn write(upload: &mut Upload, orders: Vec<Order>) -> Vec<Written> {
    let mut done = Vec::with_capacity(orders.len());
    for order in orders {
        let written = one(upload, order);
        let is_over = written.is_err();
        done.push(written);
        if is_over {
            break;
        }
    }
    done
}

fn one(upload: &mut Upload, Order { keep, is_last, said }: Order) -> Written {
    upload.look()?;
    if let Some(bytes) = keep {
        upload.write(&bytes)?;
    }
    let name = if is_last { Some(upload.finish()?) } else { None };
    Ok((name, said))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use netboot_common::wire::tftp::Packet;

    use super::*;
    use crate::tftp::machine::Limits;
    use crate::tftp::upload::{Folder, Uploads};

    /// An upload whose disk stands still: what it was given it does not give back.
    fn stuck(place: &tempfile::TempDir) -> Writing {
        let folder = Folder::open(&Uploads::new(place.path().to_owned()), 1).unwrap();
        let Ok(Packet::Write(request, size)) = Packet::parse(b"\0\x02f\0octet\0") else {
            panic!("no request")
        };
        let (machine, step) = Reception::new(&request, size, 1 << 20, Limits::default(), Duration::ZERO);
        let mut writing = Writing::new(machine, folder.upload([10, 0, 0, 9].into(), 0));
        assert!(writing.take(step).is_none());
        assert!(writing.give().is_some());
        writing
    }

    #[test]
    fn a_client_that_falls_silent_before_a_disk_that_stands_still_takes_neither_memory_nor_time() {
        const HOUR: Duration = Duration::from_secs(3600);
        let place = tempfile::tempdir().unwrap();
        let last_block: &[u8] = b"\0\x03\0\x01last";
        for said in [None, Some(last_block)] {
            let mut writing = stuck(&place);
            if let Some(said) = said {
                writing.datagram(said, Duration::ZERO);
            }
            let mut looks = 0;
            while writing.machine.deadline() < HOUR {
                assert!(writing.timer(writing.machine.deadline()).is_none());
                looks += 1;
                assert!(looks < 2000, "at {:?}", writing.machine.deadline());
            }
            assert!(writing.orders.len() < 6, "{} orders", writing.orders.len());
        }
    }

    #[test]
    fn a_client_that_waits_for_a_disk_that_stands_still_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let mut writing = stuck(&place);
        for second in 0..3600 {
            let now = Duration::from_secs(second);
            writing.datagram(b"\0\x03\0\x01last", now);
            if writing.machine.deadline() <= now {
                writing.timer(now);
            }
        }
        let said: Vec<_> = writing.orders.iter().map(|order| &order.said).collect();
        assert!(said.len() < 3 && said.iter().all(|said| said.end.is_none()), "{said:?}");
    }
}
