//! What whoever asks may do. The roles are ordered: each may do what those before it may.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads all but tokens, the audit and what may be secret: what is rendered for a machine, and the values that it is made of.
    View,
    /// And changes what a machine boots next: `boot`, `reinstall`, what is known of its installation, holds.
    Boot,
    /// And everything else.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::View, Self::Boot, Self::Admin];

    /// As JSON spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Boot => "boot",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.name() == text);
        role.ok_or_else(|| format!("{text:?} is no role: there are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert_eq!(
            "root".parse::<Role>(),
            Err("\"root\" is no role: there are view, boot, admin".to_owned())
        );
    }
}
