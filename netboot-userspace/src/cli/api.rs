//! `netboot api URL`: a Pixiecore API says, for each machine, what it boots.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::boot::{self, Listen};
use super::duration;
use super::serve::booting::What;
use crate::config::Origin;
use crate::pixiecore::Base;

/// Boot each machine into what an API says (Pixiecore's boot API)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot api http://localhost:4242
  netboot api https://boot.example.org/pixiecore --interface eth1 --api-request-timeout 10s
  netboot api http://10.0.0.5/api --allow http://10.0.0.6:8000 --files /srv/boot

The API is asked once for a boot: GET URL/v1/boot/52:54:00:12:34:56?arch=x86_64. Machines that it has nothing for are offered
nothing, and another boot server may answer them. Files are fetched by us, for all machines once; those at private addresses only
from the API's own host, and from those that --allow names.")]
pub(super) struct Args {
    /// The API: what stands before /v1/boot/
    url: String,
    /// How long the API may take
    #[arg(long, default_value = "5s", value_parser = duration::read, value_name = "TIME")]
    api_request_timeout: Duration,
    /// Don't tell the API what the machine is made of: for one that takes no query
    #[arg(long)]
    no_arch: bool,
    /// The folder of files of this host that the API may name (file:///FOLDER/…) [default: none]
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
    /// Another server that files may be fetched from though its address is private or this host's
    #[arg(long, value_name = "http://HOST[:PORT]", value_parser = origin)]
    allow: Vec<Origin>,
    #[command(flatten)]
    listen: Listen,
}

pub(super) fn main(args: Args, control: Option<PathBuf>) -> anyhow::Result<()> {
    let Args { url, api_request_timeout, no_arch, files, allow, mut listen } = args;
    let names = files.as_deref().map(folder).transpose()?.unwrap_or_default();
    let files = names.last().cloned();
    let base = Base::new(&url, names).map_err(anyhow::Error::msg)?;
    let own = Origin::split(&url)
        .map(|(origin, _)| origin)
        .with_context(|| format!("{url} is no URL of an API"))?;
    if url.contains(['?', '#']) {
        bail!("{url}: an API's URL is a prefix, without a query");
    }
    let what = What::Api { url, base, timeout: api_request_timeout, tells_arch: !no_arch };
    listen.keep_in("/var/lib/netboot/api");
    let hosts = [own].into_iter().chain(allow).collect();
    boot::serve(listen, what, Vec::new(), hosts, files, control)
}

/// The names of a folder: as it was typed, which is how an API may name its files, and where that leads.
fn folder(typed: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let wrong = || format!("--files {}", typed.display());
    let found = std::fs::canonicalize(typed).with_context(wrong)?;
    if !found.is_dir() {
        bail!("{}: is not a folder", wrong());
    }
    Ok(vec![std::path::absolute(typed).with_context(wrong)?, found])
}

fn origin(text: &str) -> Result<Origin, String> {
    match Origin::split(text) {
        Some((origin, "" | "/")) => Ok(origin),
        _ => Err(format!("{text:?} is no server: write http://HOST, http://HOST:PORT or https://HOST")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pixiecore::Place;

    #[test]
    fn a_folder_of_files_has_the_name_that_was_typed_and_the_one_where_its_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let (data, link) = (dir.path().join("data"), dir.path().join("boot"));
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let names = folder(&link).unwrap();
        assert_eq!(names.last(), Some(&std::fs::canonicalize(&data).unwrap()));
        let base = Base::new("http://h", names).unwrap();
        for folder in [&link, &std::fs::canonicalize(&data).unwrap()] {
            let place = base.resolve(&format!("file://{}/vmlinuz", folder.display()));
            assert_eq!(place, Ok(Place::Local("vmlinuz".into())), "{}", folder.display());
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(folder(&dir.path().join("file")).unwrap_err().to_string().contains("is not a folder"));
    }
}
