//! Who is asked, for each machine, whether it boots from here: before a proxy tells it what to boot.
//!
//! The kernel's lanes can't ask, and need not: they answer hosts alone, and where somebody is asked for each machine there are none.

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::maps::Kind;
use netboot_common::stats::{Leave, Outcome};

use super::machine::Actions;

/// Who is asked. Must not block.
pub trait Gate: Send + Sync {
    /// Tells `then` whether the machine boots from here: at once, or when it is known.
    fn ask(&self, mac: Mac, class: Class, then: Then);
}

/// What goes on when it is known.
pub type Then = Box<dyn FnOnce(bool) + Send>;

impl Actions {
    /// The machine to ask for before this answer is sent; `None`: it tells nobody what to boot, or an address as well, which is not
    /// the gate's to refuse.
    pub(super) fn asks_for(&self) -> Option<(Mac, Class)> {
        let tells = matches!(self.outcome, Outcome::Answered(Kind::ProxyOffer | Kind::ProxyAck));
        self.mac.zip(self.class).filter(|_| tells)
    }

    /// It does not boot from here: it is told nothing, and another boot server may answer.
    pub(super) fn boots_nothing(&mut self) {
        (self.send, self.chosen) = (None, None);
        self.notes.clear();
        self.outcome = Outcome::Left(Leave::BootsNothing);
    }
}
