//! What boots machines of which the inventory says nothing.

use std::fmt::Debug;
use std::sync::Arc;

use super::Profile;
use super::identity::Uuid;
use super::labels::{Heard, Labels};

/// Another program's folder, of which machines are neither hosts nor in a group that selects them. It is asked under locks: it
/// answers by what it has read before.
pub trait Elsewhere: Debug + Send + Sync {
    /// What boots a machine of which this is known, and what says so; `None`: it knows nothing of it.
    ///
    /// # Errors
    /// It might know something, but can't be read.
    fn boots(&self, labels: &Labels) -> Result<Option<(Arc<Profile>, String)>, String>;

    /// Whether it boots a machine of which DHCP hears this. Firmware sends a UUID in either order of its bytes (RFC 4578 section 2.3).
    fn knows(&self, heard: Heard) -> bool {
        let otherwise = heard.uuid.map(|uuid| Heard { uuid: Some(Uuid::from_wire(uuid.0)), ..heard });
        let mut read = [Some(heard), otherwise].into_iter().flatten();
        read.any(|heard| matches!(self.boots(&heard.into()), Ok(Some(_))))
    }
}
