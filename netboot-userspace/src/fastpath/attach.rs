//! Attaching: XDP native, else generic, else none; tcx always. Each step down has its reason.

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::qdisc_add_clsact;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use serde::Serialize;

use super::{Error, Kernel};

/// What the operator wants of XDP on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpWish {
    /// Native, else generic, else none.
    Auto,
    Native,
    Generic,
    Off,
}

/// How one program is attached to one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Attached {
    /// XDP in the driver.
    Native { steps_down: Vec<String> },
    /// XDP on skbs.
    Generic { steps_down: Vec<String> },
    /// A tc program on a tcx link (kernel 6.6).
    Tcx { steps_down: Vec<String> },
    /// A tc program on the clsact qdisc: not pinned, gone with this process.
    Clsact { steps_down: Vec<String> },
    /// Adopted from an earlier run, its program replaced without a gap.
    Adopted,
    /// The next lane serves alone.
    Off { steps_down: Vec<String> },
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, steps_down) = match self {
            Self::Native { steps_down } => ("native", steps_down.as_slice()),
            Self::Generic { steps_down } => ("generic", steps_down.as_slice()),
            Self::Tcx { steps_down } => ("tcx", steps_down.as_slice()),
            Self::Clsact { steps_down } => ("clsact", steps_down.as_slice()),
            Self::Adopted => ("adopted from the last run", [].as_slice()),
            Self::Off { steps_down } => ("off", steps_down.as_slice()),
        };
        f.write_str(name)?;
        if steps_down.is_empty() { Ok(()) } else { write!(f, " ({})", steps_down.join("; ")) }
    }
}

/// Both programs on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    pub interface: String,
    pub xdp: Attached,
    pub tcx: Attached,
}

impl Kernel {
    /// Attaches both programs, or takes over the attachments that an earlier run left.
    pub fn attach(&mut self, interface: &str, wish: XdpWish) -> Result<Attachment, Error> {
        let xdp = self.attach_xdp(interface, wish)?;
        let tcx = self.attach_tcx(interface)?;
        Ok(Attachment { interface: interface.to_owned(), xdp, tcx })
    }

    fn attach_xdp(&mut self, interface: &str, wish: XdpWish) -> Result<Attached, Error> {
        let pin = self.link_pin(format!("{interface}-xdp"));
        let program = self.xdp()?;
        let mut steps_down = Vec::new();
        // An adopted link keeps its mode: a wish for another mode asks for a new one.
        match (wish, adopt_xdp(program, &pin)) {
            (XdpWish::Auto, Ok(true)) => return Ok(Attached::Adopted),
            (_, Ok(true)) => remove(&pin),
            (_, Ok(false)) => {}
            (_, Err(error)) => {
                steps_down.push(format!("the earlier link could not be adopted: {error}"));
                remove(&pin);
            }
        }
        let modes: &[XdpMode] = match wish {
            XdpWish::Auto => &[XdpMode::Driver, XdpMode::Skb],
            XdpWish::Native => &[XdpMode::Driver],
            XdpWish::Generic => &[XdpMode::Skb],
            XdpWish::Off => &[],
        };
        for &mode in modes {
            let name = if mode == XdpMode::Driver { "native" } else { "generic" };
            match pinned_xdp(program, interface, mode, &pin) {
                Ok(()) if mode == XdpMode::Driver => return Ok(Attached::Native { steps_down }),
                Ok(()) => return Ok(Attached::Generic { steps_down }),
                Err(error) => steps_down.push(format!("{name}: {}", chain(&error))),
            }
        }
        Ok(Attached::Off { steps_down })
    }

    fn attach_tcx(&mut self, interface: &str) -> Result<Attached, Error> {
        let pin = self.link_pin(format!("{interface}-tcx"));
        let program = self.tcx()?;
        let mut steps_down = Vec::new();
        match adopt_tcx(program, &pin) {
            Ok(true) => return Ok(Attached::Adopted),
            Ok(false) => {}
            Err(error) => {
                steps_down.push(format!("the earlier link could not be adopted: {error}"));
                remove(&pin);
            }
        }
        match pinned_tcx(program, interface, &pin) {
            Ok(true) => return Ok(Attached::Tcx { steps_down }),
            Ok(false) => return Ok(Attached::Clsact { steps_down }),
            Err(error) => steps_down.push(format!("tcx: {}", chain(&error))),
        }
        Ok(Attached::Off { steps_down })
    }

    fn link_pin(&mut self, name: String) -> PathBuf {
        let path = self.pins.join("links").join(&name);
        if !self.attached.contains(&name) {
            self.attached.push(name);
        }
        path
    }
}

fn remove(pin: &Path) {
    // Absent is what we want; anything else shows up when the new link is pinned there.
    let _ = std::fs::remove_file(pin);
}

/// Puts the new program into a link that is pinned; false when there is none.
fn adopt_xdp(program: &mut Xdp, pin: &Path) -> Result<bool, AttachError> {
    let Some(link) = pinned(pin)? else { return Ok(false) };
    let id = program.attach_to_link(link.try_into()?)?;
    // The link belongs to its pin from here on: dropped, it only closes our descriptor.
    drop(program.take_link(id)?);
    Ok(true)
}

fn adopt_tcx(program: &mut SchedClassifier, pin: &Path) -> Result<bool, AttachError> {
    let Some(link) = pinned(pin)? else { return Ok(false) };
    let id = program.attach_to_link(link.try_into()?)?;
    drop(program.take_link(id)?);
    Ok(true)
}

fn pinned(pin: &Path) -> Result<Option<FdLink>, AttachError> {
    if !pin.exists() {
        return Ok(None);
    }
    Ok(Some(FdLink::from(PinnedLink::from_pin(pin)?)))
}

fn pinned_xdp(program: &mut Xdp, interface: &str, mode: XdpMode, pin: &Path) -> Result<(), AttachError> {
    let id = program.attach(interface, mode)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    drop(link.pin(pin)?);
    Ok(())
}

/// True for a pinned tcx link, false for clsact.
fn pinned_tcx(program: &mut SchedClassifier, interface: &str, pin: &Path) -> Result<bool, AttachError> {
    // aya takes tcx where the kernel has it (6.6); else clsact, which wants its qdisc first.
    let id = program.attach(interface, TcAttachType::Ingress).or_else(|_| {
        // There already is as good as added.
        let _ = qdisc_add_clsact(interface);
        program.attach(interface, TcAttachType::Ingress)
    })?;
    match FdLink::try_from(program.take_link(id)?) {
        Ok(link) => {
            drop(link.pin(pin)?);
            Ok(true)
        }
        Err(LinkError::InvalidLink) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Pin(#[from] aya::pin::PinError),
}

/// An error with its causes, on one line.
fn chain(error: &AttachError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
