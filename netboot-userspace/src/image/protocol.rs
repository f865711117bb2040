//! What the server and the agent say to each other: JSON over HTTP, under `/agent/v1/`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /agent/v1/session` | [`Hello`]: the one-time token of the kernel command line | [`Session`], or 403 |
//! | `GET /agent/v1/instructions` | – | [`Instructions`] |
//! | `POST /agent/v1/report` | [`Report`] | 204 |
//!
//! The last two carry `Authorization: Bearer <Session::token>`. The kernel command line carries `netboot.server=`
//! (`http://ADDRESS:PORT`) and `netboot.token=`.

use serde::{Deserialize, Serialize};

/// Proves that the agent was started by the boot that this server rendered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// `netboot.token=`: used once, bound to the machine's MAC and its leased address.
    pub token: String,
    /// The interface that it booted from, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
}

/// The answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The bearer token of all further calls of this boot.
    pub token: String,
    /// The machine's name, for the console.
    pub name: String,
    /// The server's record of this boot, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

/// What this machine is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Instructions {
    /// Write an image, then reboot into it.
    Install(Install),
    /// Nothing to do: ask again after so many seconds.
    Wait { seconds: u64 },
    /// Reboot now.
    Reboot,
}

/// One image for one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// `http://…`: raw, gzip or zstd, told apart by their first bytes.
    pub image: String,
    /// SHA-256 of the disk's bytes (decompressed), 64 hex digits.
    pub sha256: String,
    /// Bytes of the decompressed image, where known: checked against the disk before the first write.
    pub size: Option<u64>,
    /// Which disk.
    pub disk: Disk,
    /// What to do after a failure.
    pub on_failure: OnFailure,
}

/// How the target disk is chosen. It must match exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// The only disk of the machine that can be written and is not removable.
    Only,
    /// A device node, as in `/dev/vda`.
    Path(String),
    /// A serial number, as the disk itself reports it.
    Serial(String),
}

/// What the agent does when a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Report, wait, ask for instructions again: `retry_seconds` apart.
    Retry { retry_seconds: u64 },
    /// Report and reboot.
    Reboot,
}

/// One line of a machine's installation, sent at each step's start and end and, while it writes, each second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub step: Step,
    pub status: Status,
    /// Bytes done of this step, where it counts bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes in all, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    #[serde(default)]
    pub bytes_per_second: u64,
    /// Seconds left at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// The disk chosen, or the reason of a failure: one line for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The steps of an installation, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The agent runs and has a network.
    Start,
    /// Fetching instructions and choosing the disk.
    Plan,
    /// Fetch, decompress, hash, write: all but the first MiB.
    Write,
    /// fsync, read back, compare.
    Verify,
    /// The first MiB (the partition table), last.
    Head,
    /// Done: rebooting.
    Reboot,
}

/// How a [`Step`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Started,
    Progress,
    Done,
    Failed,
}
