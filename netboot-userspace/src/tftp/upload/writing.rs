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
#[derive(Debug)]
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
    if !is_nothing {
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
