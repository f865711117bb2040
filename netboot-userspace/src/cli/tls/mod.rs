//! `netboot tls`: the site's own certificate authority, and the certificate that HTTPS shows.

mod folder;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use self::folder::Folder;
use super::config::File;
use super::output;
use crate::config::{self, Checked};
use crate::http::date;
use crate::http::tls::authority;
use crate::sys::clock;
use crate::sys::interface::{Interface, interfaces};

/// HTTPS: the site's own certificate authority, and its server's certificate
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an authority for this site, and a certificate that it signs for this server
    #[command(after_help = INIT_HELP)]
    Init {
        #[command(flatten)]
        place: Place,
        /// Make new ones though there are some. Every client has to be told of the new authority
        #[arg(long)]
        force: bool,
        /// How clients call this server: host names and addresses [default: its host name, and the addresses of the configured
        /// interfaces]
        names: Vec<String>,
    },
    /// Have the authority sign a new certificate: clients trust it as they did the old one
    ///
    /// A running server takes it up by itself. What another authority has signed is not replaced.
    Renew {
        #[command(flatten)]
        place: Place,
        /// Other names than those of the certificate that is there
        names: Vec<String>,
    },
    /// Show for whom the certificate is, until when, and the authority's fingerprint
    Show {
        #[command(flatten)]
        place: Place,
    },
}

const INIT_HELP: &str = "\
Examples:
  netboot tls init                                  for this host's name and the configured interfaces' addresses
  netboot tls init boot.example.net 10.10.0.1       for these
  netboot tls renew                                 in two years: clients need nothing new

It says how to serve by them, and how curl, iPXE and UEFI come to trust them. Whoever has ca.key can pose as any server to those: keep it
away from other machines, and back it up.";

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    #[command(flatten)]
    file: File,
    /// Where they are [default: tls, beside the main configuration file; the server's are those that it names]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

impl Place {
    /// The server's files are those that the configuration names, unless a folder was typed: then nothing is asked of it.
    fn folder(&self, site: &mut Configured<'_>) -> anyhow::Result<Folder> {
        if let Some(folder) = &self.folder {
            return Ok(Folder::new(folder.clone()));
        }
        let beside = self.file.path().parent().unwrap_or(Path::new("")).join(config::TLS_FOLDER);
        let folder = Folder::new(beside);
        Ok(match site.config()?.and_then(|config| config.http.https.clone()) {
            Some(https) => folder.serving(https.certificate, https.key),
            None => folder,
        })
    }
}

/// What the configuration says, read when it is first asked. The certificates that it names may be those that are about to be made.
struct Configured<'a> {
    file: &'a File,
    read: Option<Option<Checked>>,
}

impl<'a> Configured<'a> {
    fn of(file: &'a File) -> Self {
        Self { file, read: None }
    }

    /// `None`: there is no file yet.
    fn config(&mut self) -> anyhow::Result<Option<&Checked>> {
        if self.read.is_none() {
            let path = self.file.path();
            let read = path.exists().then(|| config::load(path).context("the configuration is wrong"));
            self.read = Some(read.transpose()?);
        }
        Ok(self.read.as_ref().and_then(Option::as_ref))
    }
}

pub(super) fn main(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { place, force, names } => {
            let mut site = Configured::of(&place.file);
            let folder = place.folder(&mut site)?;
            if !force {
                folder.must_be_free()?;
            }
            let names = if names.is_empty() { usual_names(site.config()?)? } else { names };
            let authority = authority::authority(&host(), clock::now())?;
            let server = authority::server(&authority, &names, clock::now())?;
            folder.put(&authority, &server, force)?;
            said(&place, &folder)?;
            if place.json { Ok(()) } else { output::print(&next(&folder, &names)) }
        }
        Command::Renew { place, names } => {
            let folder = place.folder(&mut Configured::of(&place.file))?;
            folder.must_be_ours()?;
            let names = if names.is_empty() { folder.server()?.facts.names } else { names };
            let server = authority::server(&folder.signing()?, &names, clock::now())?;
            folder.put_server(&server)?;
            said(&place, &folder)
        }
        Command::Show { place } => said(&place, &place.folder(&mut Configured::of(&place.file))?),
    }
}

fn said(place: &Place, folder: &Folder) -> anyhow::Result<()> {
    let value = shown(folder)?;
    if place.json { output::json(&value) } else { output::print(&output::lines(&value)) }
}

/// What is left to do.
fn next(folder: &Folder, names: &[String]) -> String {
    let (ca, der) = (folder.authority_certificate(), folder.authority_der());
    let (ca, der) = (ca.display(), der.display());
    let server = names.first().map(String::as_str).unwrap_or_default();
    let server = if server.contains(':') { format!("[{server}]") } else { server.to_owned() };
    format!(
        "
To serve by it, in netboot.yaml:
  http: {{ https: {{ listen: \":8443\" }} }}
Clients come to trust it so:
  curl:  curl --cacert {ca} https://{server}:8443/healthz
  iPXE:  make bin-x86_64-efi/ipxe.efi TRUST={ca} CERT={ca}
  UEFI:  enrol {der} in the firmware's setup: Tls Auth Configuration, Server CA Configuration"
    )
}

fn shown(folder: &Folder) -> anyhow::Result<Value> {
    let (authority, server) = (folder.authority()?, folder.server()?);
    let now = i64::try_from(clock::now()).unwrap_or(i64::MAX);
    let of = |shown: &folder::Shown| {
        json!({
            "certificate": shown.path,
            "from": date::format(shown.facts.not_before),
            "until": date::format(shown.facts.not_after),
            "wrong": shown.facts.invalid(now),
        })
    };
    let mut server_value = of(&server);
    server_value["key"] = json!(folder.key());
    server_value["names"] = json!(server.facts.names);
    let authority_value = authority.map(|authority| {
        let mut value = of(&authority);
        value["der"] = json!(folder.authority_der());
        value["sha256"] = json!(authority.fingerprint);
        value
    });
    Ok(json!({ "authority": authority_value, "server": server_value }))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How this server is called where nobody says so: by its host name, with the site's domain, and by the addresses of the configured
/// interfaces. Where there is no configuration yet, of all.
fn usual_names(config: Option<&Checked>) -> anyhow::Result<Vec<String>> {
    let host = host();
    let there = interfaces().context("listing the network interfaces")?;
    let served = |name: &str, found: &Interface| match config {
        Some(config) => config.interfaces.iter().any(|interface| interface.name == name),
        None => !found.loopback,
    };
    let of = there.iter().filter(|(name, found)| served(name, found)).flat_map(|(_, found)| addresses(found));
    let domain = config.and_then(|config| config.domain.as_ref());
    let bare = host.split('.').next().unwrap_or(&host);
    let domain = domain.map(|domain| format!("{bare}.{domain}")).filter(|whole| *whole != host);
    let names: Vec<String> = [host.clone()].into_iter().chain(domain).chain(of).collect();
    if names.len() == 1 && config.is_some() {
        bail!(
            "the configured interfaces have no address: name this server, as in netboot tls init {host} 10.10.0.1"
        );
    }
    Ok(names)
}

/// Those that a URL may have.
fn addresses(found: &Interface) -> impl Iterator<Item = String> {
    let v4 = found.addresses.iter().map(|(address, _)| IpAddr::from(*address));
    let v6 = found.addresses6.iter().map(|(address, _)| *address);
    let v6 = v6.filter(|address| !address.is_unicast_link_local()).map(IpAddr::from);
    v4.chain(v6).map(|address| address.to_string())
}
