//! `netboot serve`: the site server. Here, and only here, the rooms meet.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::config::File;
use super::rooms;
use crate::api::{self, ApiState, StatusSource};
use crate::config::Checked;

/// Serve a site, as its configuration says
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot serve
  netboot serve --config ./lab/netboot.yaml --control ./lab/control.sock
  netboot config check --config ./lab/netboot.yaml      what is wrong with it, without serving")]
pub(super) struct Args {
    #[command(flatten)]
    file: File,
}

pub(super) fn main(args: Args, control: Option<PathBuf>) -> anyhow::Result<()> {
    let mut config = args.file.load()?;
    if let Some(control) = control {
        config.paths.control = control;
    }
    run(config)
}

/// Serves until SIGINT or SIGTERM.
pub fn run(config: Checked) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("NETBOOT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let state = rooms::open(&config, Arc::new(Layers { http: config.http.listen.to_string() }))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config, state))
}

async fn serve(config: Checked, state: Arc<ApiState>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };

    let listen = config.http.listen;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("http.listen: listening on {listen}"))?;
    tracing::info!("HTTP on {listen}, control socket {}", config.paths.control.display());
    tokio::spawn(accept(listener, api::public(state.clone())));
    state.set_ready();
    Ok(api::serve_control(&config.paths.control, api::control(state.clone()), stop).await?)
}

async fn accept(listener: TcpListener, router: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    if let Err(error) = api::serve_connection(stream, Vec::new(), router).await {
                        tracing::debug!("{peer}: {error}");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, as a rule: they come back when clients go.
                tracing::warn!("accepting: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// What the layers say of themselves.
#[derive(Debug)]
struct Layers {
    http: String,
}

impl StatusSource for Layers {
    fn status(&self) -> Value {
        json!({ "listeners": { "http": self.http } })
    }
}
