//! What the kernel command line tells the agent.

use netboot_common::Mac;

use crate::image::http::{BadUrl, Url};

/// The words of the command line that are the agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmdline {
    /// `netboot.server=http://ADDRESS:PORT`
    pub server: Url,
    /// `netboot.token=`: used once.
    pub token: String,
    /// `BOOTIF=01-aa-bb-cc-dd-ee-ff` (pxelinux and iPXE), else `netboot.mac=`; `None`: the only interface.
    pub mac: Option<Mac>,
    /// `netboot.console=DEVICE`, any number of them: written to beside `/dev/console`.
    pub consoles: Vec<String>,
}

/// Why the command line won't do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCmdline {
    #[error("the kernel command line has no {0}=")]
    Missing(&'static str),
    #[error("netboot.server: {0}")]
    Server(BadUrl),
    #[error("{word}: not a MAC address")]
    Mac { word: String },
}

impl Cmdline {
    /// Reads `/proc/cmdline`'s text. Of a word given twice, the last one counts.
    ///
    /// # Errors
    /// [`BadCmdline`].
    pub fn parse(text: &str) -> Result<Self, BadCmdline> {
        let value =
            |name: &str| words(text).filter(|&(known, _)| known == name).map(|(_, value)| value).last();
        let server = value("netboot.server").ok_or(BadCmdline::Missing("netboot.server"))?;
        let token = value("netboot.token").ok_or(BadCmdline::Missing("netboot.token"))?;
        let mac = match (value("BOOTIF"), value("netboot.mac")) {
            // The first byte is the hardware type; 01: Ethernet.
            (Some(mac), _) => Some(read_mac("BOOTIF", mac, mac.strip_prefix("01-").unwrap_or(mac))?),
            (None, Some(mac)) => Some(read_mac("netboot.mac", mac, mac)?),
            (None, None) => None,
        };
        let server = server.parse().map_err(BadCmdline::Server)?;
        Ok(Self { server, token: token.to_owned(), mac, consoles: consoles(text) })
    }
}

/// Every `netboot.console=`, also of a command line that is otherwise no good.
pub fn consoles(text: &str) -> Vec<String> {
    let device = |value: &str| value.trim_start_matches("/dev/").to_owned();
    words(text).filter(|&(name, _)| name == "netboot.console").map(|(_, value)| device(value)).collect()
}

fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_ascii_whitespace().filter_map(|word| word.split_once('='))
}

fn read_mac(name: &str, typed: &str, mac: &str) -> Result<Mac, BadCmdline> {
    mac.parse().map_err(|_| BadCmdline::Mac { word: format!("{name}={typed}") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LEAST: &str = "netboot.server=http://10.0.0.1:8080 netboot.token=abc";

    #[test]
    fn reads_what_the_server_renders() {
        let line = format!("console=ttyS0 quiet {LEAST} BOOTIF=01-52-54-00-01-02-03 netboot.console=ttyS1\n");
        let cmdline = Cmdline::parse(&line).unwrap();
        assert_eq!(cmdline.server.to_string(), "http://10.0.0.1:8080/");
        assert_eq!((cmdline.token.as_str(), cmdline.consoles), ("abc", vec!["ttyS1".to_owned()]));
        assert_eq!(cmdline.mac, Some(Mac([0x52, 0x54, 0, 1, 2, 3])));
    }

    #[test]
    fn finds_the_mac_where_it_is() {
        for (words, mac) in [
            ("", None),
            ("netboot.mac=52:54:00:01:02:03", Some(Mac([0x52, 0x54, 0, 1, 2, 3]))),
            (
                "netboot.mac=52:54:00:00:00:09 BOOTIF=01-52-54-00-01-02-03",
                Some(Mac([0x52, 0x54, 0, 1, 2, 3])),
            ),
            ("BOOTIF=52:54:00:01:02:03", Some(Mac([0x52, 0x54, 0, 1, 2, 3]))),
        ] {
            assert_eq!(Cmdline::parse(&format!("{LEAST} {words}")).unwrap().mac, mac, "{words}");
        }
    }

    #[test]
    fn names_what_is_missing_or_wrong() {
        for (line, says) in [
            ("quiet", "no netboot.server="),
            ("netboot.server=http://10.0.0.1", "no netboot.token="),
            (
                "netboot.server=http://boot netboot.token=x",
                "netboot.server: http://boot: the host must be an IP",
            ),
            (&format!("{LEAST} BOOTIF=01-xx"), "BOOTIF=01-xx: not a MAC address"),
        ] {
            let error = Cmdline::parse(line).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
