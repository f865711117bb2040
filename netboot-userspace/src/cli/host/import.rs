//! `netboot host import`.

mod files;
mod said;

use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;

use super::fields::label;
use crate::api::changes::{Answer, Batch};
use crate::cli::client::Client;
use crate::inventory::import::{self, Format, Imported, Reading, Remark};
use crate::inventory::live::Change;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The format of the file
    #[arg(long, value_enum, value_name = "FORMAT")]
    from: FileFormat,
    /// The file; `-` is standard input; for bootcfg also its data folder
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only show what would change, against what the daemon has
    #[arg(long)]
    dry_run: bool,
    /// Leave out what can't be taken, and import the rest
    #[arg(long)]
    skip: bool,
    /// What all of them boot
    #[arg(long)]
    profile: Option<String>,
    /// A label for all of them; repeat for more
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Everything as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FileFormat {
    /// A dnsmasq.conf, or a file of bare dhcp-host lines
    Dnsmasq,
    /// A Kea configuration, a part of one, or a list of reservations
    Kea,
    /// A dhcpd.conf
    Isc,
    /// LiveBOOTP's config.yml
    Livebootp,
    /// Groups of matchbox or bootcfg that select one machine, or bootcfg's machines
    Bootcfg,
    /// A table; its first line names the columns: name, mac, ip, ip6, profile, client_id, uuid, circuit, duid, boot, cmdline,
    /// labels, and label:KEY, option:NAME, vendor_option:NUMBER, boot_file:CLASS for one of each
    Csv,
    /// What `host export --to json` writes
    Json,
    /// What `host export --to yaml` writes, and hosts.d/ holds
    Yaml,
}

impl From<FileFormat> for Format {
    fn from(from: FileFormat) -> Self {
        match from {
            FileFormat::Dnsmasq => Self::Dnsmasq,
            FileFormat::Kea => Self::Kea,
            FileFormat::Isc => Self::Isc,
            FileFormat::Livebootp => Self::Livebootp,
            FileFormat::Bootcfg => Self::Bootcfg,
            FileFormat::Csv => Self::Csv,
            FileFormat::Json => Self::Json,
            FileFormat::Yaml => Self::Yaml,
        }
    }
}

pub(super) fn main(args: &Args, client: &Client) -> anyhow::Result<()> {
    let format = args.from.into();
    let mut reading = import::read(format, &files::sources(format, &args.file)?);
    for host in &mut reading.hosts {
        host.entry.profile = args.profile.clone().or(host.entry.profile.take());
        host.entry.labels.extend(args.labels.iter().cloned());
    }
    // What the file is refused for is no reason not to hear what the daemon would refuse, too.
    let blocked = !reading.refused.is_empty() && !args.skip;
    let changes = reading.hosts.iter().map(|host| merge(&reading, host)).collect();
    let batch = Batch { changes, dry_run: args.dry_run || blocked, fitting: args.skip };
    let answer = client.change(&batch)?;
    let refused = all_refused(&reading, &answer);
    let count = reading.hosts.len() + reading.refused.len();
    let outcome = said::Outcome { args, reading: &reading, answer: &answer, refused: &refused };
    if args.json {
        outcome.json()?
    } else {
        outcome.text()?
    }
    if refused.is_empty() || args.skip {
        return Ok(());
    }
    bail!(
        "nothing was imported: {} of {count} entries can't be taken; put them right, or leave them out with --skip",
        refused.len()
    )
}

fn merge(reading: &Reading, host: &Imported) -> Change {
    Change::Merge(host.entry.name.clone(), reading.carries.patch(&host.entry))
}

/// What the file was refused for, and what the daemon refuses, by their places.
fn all_refused(reading: &Reading, answer: &Answer) -> Vec<Remark> {
    let by_daemon = answer.refused.iter().filter_map(|refusal| {
        let host = reading.hosts.get(refusal.index)?;
        let reason = refusal.reasons.join("; ");
        Some(Remark { at: host.at.clone(), host: refusal.name.clone(), reason })
    });
    let mut refused: Vec<Remark> = reading.refused.iter().cloned().chain(by_daemon).collect();
    refused.sort_by(|a, b| a.at.cmp(&b.at));
    refused
}
