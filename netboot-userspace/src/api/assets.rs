//! What is served as `/assets/`: the files of the folder, and the cache of upstreams behind it.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};

use super::control::Shared;
use super::{ApiError, ApiState, blocking};
use crate::image::digest::Digest;
use crate::sys::open::{Listed, Refusal, Root};

/// Files that are listed at most.
const MOST: usize = 10_000;
/// Folders in folders that are looked into.
const DEEPEST: usize = 16;

/// A file. This is also its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asset {
    /// As it is in the folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Unix time, seconds.
    pub modified: i64,
    /// What `FILE.sha256` beside it says; nothing is read to find out.
    pub sha256: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// Of this folder alone, and those in it.
    folder: String,
}

/// Answered by who has the cache, whose paths are those of the table.
pub(super) async fn cache(State(state): Shared, request: Request) -> Result<Response, ApiError> {
    let none =
        || ApiError::not_found("there is no cache of upstreams: `upstreams:` of the configuration makes one");
    let router = state.site.cache().ok_or_else(none)?;
    let answered: Result<Response, Infallible> = TowerToHyperService::new(router).call(request).await;
    let Ok(response) = answered;
    Ok(response)
}

/// In the order of their names.
pub(super) async fn list(
    State(state): Shared,
    Query(Which { folder }): Query<Which>,
) -> Result<Json<Vec<Asset>>, ApiError> {
    blocking(move || assets(&state, folder.trim_matches('/')).map(Json)).await?
}

fn assets(state: &ApiState, folder: &str) -> Result<Vec<Asset>, ApiError> {
    let Some(path) = state.site.assets() else { return Ok(Vec::new()) };
    let root = Root::open(&path)
        .map_err(|error| ApiError::internal(format!("the assets {}: {error}", path.display())))?;
    let mut found = Vec::new();
    let listed = walk(&root, folder, DEEPEST, &mut found);
    listed.map_err(|refusal| {
        ApiError::not_found(format!("folder: {folder:?} is none of the assets: {refusal:?}"))
    })?;
    Ok(found)
}

fn walk(root: &Root, folder: &str, deeper: usize, found: &mut Vec<Asset>) -> Result<(), Refusal> {
    for Listed { name, is_folder, size, modified } in root.list(folder, MOST)? {
        let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if found.len() >= MOST {
            break;
        }
        if !is_folder {
            let sha256 = digest(root, &name);
            found.push(Asset { name, size, modified, sha256 });
        } else if deeper > 0 {
            // A folder that may not be read has nothing that is served.
            let _ = walk(root, &name, deeper - 1, found);
        }
    }
    Ok(())
}

/// As `sha256sum` writes it.
fn digest(root: &Root, name: &str) -> Option<String> {
    const LARGEST: u64 = 4096;
    let beside = root.file(&format!("{name}.sha256")).ok()?;
    let text = String::from_utf8(beside.read_at_most(LARGEST).ok()?).ok()?;
    let digest: Digest = text.split_whitespace().next()?.parse().ok()?;
    Some(digest.to_string())
}
