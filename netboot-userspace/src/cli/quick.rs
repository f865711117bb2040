//! `netboot quick RECIPE [VERSION]`: any machine boots a system that everybody knows, from its own servers.

mod recipe;

use std::path::PathBuf;

use super::boot::{self, Extra};
use recipe::{RECIPES, Recipe};

/// Boot any machine into a well-known system
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot quick                              which recipes there are
  netboot quick debian                       the stable release's installer
  netboot quick alpine 3.22 --arch arm64
  netboot quick fedora --cmdline 'inst.text console=ttyS0'

Kernel and initrd are fetched once, and kept while it runs (--state: over runs).")]
pub(super) struct Args {
    /// The system
    recipe: Option<String>,
    /// Its version [default: the recipe's]
    #[arg(id = "release", value_name = "VERSION")]
    version: Option<String>,
    /// What the machines are made of
    #[arg(long, default_value = "amd64")]
    arch: String,
    /// Another server of the same files
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Say what would be booted, and boot nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    extra: Extra,
}

pub(super) fn main(args: Args, control: Option<PathBuf>) -> anyhow::Result<()> {
    let Args { recipe, version, arch, mirror, dry_run, extra } = args;
    let Some(name) = recipe else {
        for (name, text) in RECIPES {
            let recipe = Recipe::read(name, text)?;
            println!("{name:<14} {}: {}", recipe.about, recipe.known());
        }
        return Ok(());
    };
    let recipe = Recipe::named(&name)?;
    let filled = recipe.fill(&name, version.as_deref(), &arch, mirror.as_deref())?;
    if dry_run {
        println!("kernel {}", filled.kernel);
        filled.initrd.iter().for_each(|initrd| println!("initrd {initrd}"));
        println!("cmdline {}", filled.cmdline);
        return Ok(());
    }
    // What the recipe says comes first: the last word of its kind counts.
    boot::run(filled.kernel, filled.initrd, filled.cmdline, extra, control)
}
