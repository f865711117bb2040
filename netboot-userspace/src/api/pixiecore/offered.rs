//! Pixiecore's API, served (BC-06): `/pixiecore/v1/boot/<mac>`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use netboot_common::Mac;

use crate::api::boot::Server;
use crate::api::render;
use crate::api::script::{self, url};
use crate::api::serve::Local;
use crate::api::{ApiError, ApiState, blocking};
use crate::inventory::events::{Event, Lane};
use crate::inventory::layered::Layered;
use crate::inventory::machines::Decision;
use crate::inventory::observed::Shown;
use crate::inventory::{Bind, Profile, ProfileBoot};
use crate::pixiecore::offer::{Offer, script_json};
use crate::render::Boot;

/// What we would have this machine boot. Who asks is no machine: nothing counts as begun, and no token is given out.
pub(in crate::api) async fn offered(
    State(state): State<Arc<ApiState>>,
    Extension(local): Extension<Local>,
    path: Option<Path<String>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let text = path.map_or_else(|| "/".to_owned(), |Path(text)| text);
    let mac: Mac = text
        .parse()
        .map_err(|error| ApiError::bad_request(format!("invalid MAC address {text}: {error}")))?;
    let server = Server::new(&headers, local)?;
    let body = blocking(move || {
        answer(&state, mac, &server).inspect_err(|error| {
            let text = format!("a Pixiecore asked for {mac}: {}", error.message);
            state.events.publish(Event::new("refused", Lane::Api, text).mac(mac));
        })
    });
    let body = body.await??;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn answer(state: &ApiState, mac: Mac, server: &Server) -> Result<String, ApiError> {
    if state.pixiecore.get().is_some() {
        return Err(ApiError::not_found(
            "this server boots machines itself: another Pixiecore has nothing to ask it",
        ));
    }
    let lacks = render::refresh(state, mac)?.map(|what| format!("; {what}")).unwrap_or_default();
    decided(state, mac, server).map_err(|error| ApiError { message: error.message + &lacks, ..error })
}

fn decided(state: &ApiState, mac: Mac, server: &Server) -> Result<String, ApiError> {
    match state.machines.decide(mac, Shown::default()) {
        Decision::Profile { profile, host, group } => {
            let layered = Layered::of(group.as_deref(), Some(&profile), host.as_deref());
            let live = script::live(&profile, mac, host.as_deref(), &server.address);
            let words = live.into_iter().chain(Some(layered.cmdline())).collect();
            of_profile(&profile, words, mac, &server.name)
        }
        Decision::Local => Err(ApiError::not_found(format!("{mac} boots from its own disk"))),
        Decision::Ignore => Err(ApiError::not_found(format!("{mac} is not booted: boot: ignore"))),
        Decision::Nothing(cause) => Err(ApiError::not_found(cause)),
    }
}

/// As a data folder has it: paths are below this server. Words of iPXE's stand before a URL there, and here have no place.
fn of_folder(boot: &Boot, server: &str) -> String {
    let url = |text: &String| {
        let url = text.split_whitespace().last().unwrap_or_default();
        if url.contains("://") { url.to_owned() } else { format!("{server}/{}", url.trim_start_matches('/')) }
    };
    let Boot { kernel, initrd, args } = boot;
    Offer { kernel: url(kernel), initrd: initrd.iter().map(url).collect(), cmdline: args.join(" ") }.to_json()
}

/// `words`: what is said to a kernel, part by part.
fn of_profile(profile: &Profile, mut words: Vec<String>, mac: Mac, server: &str) -> Result<String, ApiError> {
    if profile.install.is_some() {
        return Err(ApiError::not_found(format!(
            "{mac} is to be installed (profile {}), which takes a one-time token in a script of our own: have it boot from us",
            profile.name
        )));
    }
    if profile.bind == Bind::Token {
        return Err(ApiError::not_found(format!(
            "what {mac} is given is bound to a token (profile {}), which a script of our own has: have it boot from us",
            profile.name
        )));
    }
    match &profile.boot {
        ProfileBoot::Linux { kernel, initrd, .. } => {
            let initrd = initrd.iter().map(|path| url(path, server)).collect();
            words.push(format!("BOOTIF=01-{}", mac.hyphenated()));
            words.retain(|word| !word.is_empty());
            Ok(Offer { kernel: url(kernel, server), initrd, cmdline: words.join(" ") }.to_json())
        }
        // iPXE starts it as it does a kernel.
        ProfileBoot::Efi { binary, .. } => {
            let (kernel, cmdline) = (url(binary, server), words.join(" "));
            Ok(Offer { kernel, initrd: Vec::new(), cmdline }.to_json())
        }
        ProfileBoot::Given(boot) => Ok(of_folder(boot, server)),
        ProfileBoot::Ipxe(script) => Ok(script_json(script)),
        // Nobody decides for one.
        ProfileBoot::Broken(fault) => Err(ApiError::not_found(fault.clone())),
        ProfileBoot::Local => Err(ApiError::not_found(format!("{mac} boots from its own disk"))),
    }
}
