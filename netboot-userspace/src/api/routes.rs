//! Every route of the API, in one table: from it come the router, the check of roles, the OpenAPI document and the tests of all of them.
//!
//! **Invariant:** a route without a row can't exist, and a row has a role.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, any, on};

use super::auth::{self, Door};
use super::roles::Role::{self, Admin, Boot, View};
use super::{
    ApiError, ApiState, assets, audit, boots, changes, control, etag, holds, leases, objects, openapi,
    tokens, watch,
};

/// Where all of them are.
pub(super) const BASE: &str = "/api/v1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it changes nothing (RFC 9110 section 9.2.1).
    pub(super) const fn is_safe(self) -> bool {
        matches!(self, Self::Get)
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Bytes of a body.
const USUAL: usize = 2 << 20;

/// One of them.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) verb: Verb,
    /// Below [`BASE`].
    pub(super) path: &'static str,
    /// The least that it needs.
    pub(super) role: Role,
    /// In one line.
    pub(super) summary: &'static str,
    /// The type of its body.
    pub(super) takes: Option<&'static str>,
    pub(super) gives: Gives,
    /// Bytes of its body, at most.
    largest: usize,
    /// What its query may have: name, type, what for.
    pub(super) query: &'static [(&'static str, &'static str, &'static str)],
    /// Nothing that it answers is of the site: its keys are only described.
    pub(super) is_of_no_site: bool,
    handler: fn(MethodFilter) -> MethodRouter<Arc<ApiState>>,
}

/// What an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// One of this type.
    One(&'static str),
    List(&'static str),
    /// One of this type in each line.
    Lines(&'static str),
    /// Server-sent events.
    Events,
    Nothing,
}

const fn route(
    verb: Verb,
    path: &'static str,
    role: Role,
    summary: &'static str,
    handler: fn(MethodFilter) -> MethodRouter<Arc<ApiState>>,
) -> Route {
    let (takes, gives) = (None, Gives::Nothing);
    Route {
        verb,
        path,
        role,
        summary,
        takes,
        gives,
        largest: USUAL,
        query: &[],
        is_of_no_site: false,
        handler,
    }
}

impl Route {
    const fn takes(self, takes: &'static str) -> Self {
        Self { takes: Some(takes), ..self }
    }

    const fn up_to(self, largest: usize) -> Self {
        Self { largest, ..self }
    }

    const fn gives(self, schema: &'static str) -> Self {
        Self { gives: Gives::One(schema), ..self }
    }

    const fn lists(self, schema: &'static str) -> Self {
        Self { gives: Gives::List(schema), ..self }
    }

    const fn gives_lines(self, schema: &'static str) -> Self {
        Self { gives: Gives::Lines(schema), ..self }
    }

    const fn gives_events(self) -> Self {
        Self { gives: Gives::Events, ..self }
    }

    const fn query(self, query: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }

    const fn of_no_site(self) -> Self {
        Self { is_of_no_site: true, ..self }
    }

    /// Bytes of its body, at most, from one who comes by this door with this role.
    pub(super) fn largest(&self, door: Door, role: Role) -> usize {
        match (door, role) {
            (Door::Control, _) => self.largest,
            (Door::Network, Admin) => self.largest.min(LARGEST_FROM_AFAR),
            (Door::Network, View | Boot) => self.largest.min(USUAL),
        }
    }

    /// What its path names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Whether it changes one thing that has a tag.
    pub(super) fn is_conditional(&self) -> bool {
        let shown = || ROUTES.iter().any(|other| other.verb == Verb::Get && other.path == self.path);
        !self.verb.is_safe() && self.names().next().is_some() && shown()
    }

    /// What it answers when it is done.
    pub(super) fn statuses(&self) -> &'static [u16] {
        match (self.verb, self.gives) {
            (_, Gives::Nothing) => &[204],
            (Verb::Put, _) => &[200, 201],
            // What it makes has a path of its own.
            (Verb::Post, Gives::One("Host" | "MadeToken")) => &[201],
            _ => &[200],
        }
    }
}

use Verb::{Delete, Get, Patch, Post, Put};

/// All of them.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    route(Get, "/hosts", View, "All hosts, then those that are left out", |m| on(m, control::hosts)).lists("Host"),
    route(Post, "/hosts", Admin, "Add a host", |m| on(m, control::add_host)).takes("HostEntry").gives("Host"),
    route(Get, "/hosts/{name}", View, "One host", |m| on(m, control::host)).gives("Host"),
    route(Put, "/hosts/{name}", Admin, "Add a host, or put it in the place of the one there", |m| on(m, control::put_host))
        .takes("HostEntry").gives("Host"),
    route(Patch, "/hosts/{name}", Boot, "Change some of a host; more of it than boot and reinstall needs the role admin",
        |m| on(m, control::patch_host)).takes("HostPatch").gives("Host"),
    route(Delete, "/hosts/{name}", Admin, "Remove a host", |m| on(m, control::delete_host)),
    route(Post, "/changes", Boot, "Make many changes as one; other than of boot and reinstall they need the role admin",
        |m| on(m, changes::make)).takes("Batch").gives("BatchAnswer").up_to(changes::LARGEST),
    route(Get, "/profiles", View, "All profiles, then those that are left out", |m| on(m, objects::profiles)).lists("Profile"),
    route(Get, "/profiles/{name}", View, "One profile", |m| on(m, objects::profile)).gives("Profile"),
    route(Put, "/profiles/{name}", Admin, "Add a profile, or put it in the place of the one there", |m| on(m, objects::put_profile))
        .takes("Profile").gives("Profile"),
    route(Delete, "/profiles/{name}", Admin, "Remove a profile that nobody boots", |m| on(m, objects::delete_profile)),
    route(Get, "/groups", View, "All groups, in the order in which they are tried", |m| on(m, objects::groups)).lists("Group"),
    route(Get, "/groups/{name}", View, "One group", |m| on(m, objects::group)).gives("Group"),
    route(Put, "/groups/{name}", Admin, "Add a group, or put it in the place of the one there", |m| on(m, objects::put_group))
        .takes("Group").gives("Group"),
    route(Delete, "/groups/{name}", Admin, "Remove a group", |m| on(m, objects::delete_group)),
    route(Get, "/machines", View, "All machines that were seen", |m| on(m, control::machines)).lists("Machine"),
    route(Get, "/machines/{name}", View, "One machine, by its MAC or its host's name", |m| on(m, control::machine)).gives("Machine"),
    route(Delete, "/machines/{name}", Boot, "Forget that a machine was installed", |m| on(m, control::reset_machine)),
    route(Get, "/boots", View, "The last boots of all machines, in the order in which they began", |m| on(m, boots::list)).lists("Any")
        .query(&[("machine", "string", "Of this one: a host's name, or a MAC"), ("last", "integer", "How many, the newest")]),
    route(Get, "/boots/{id}", View, "One boot", |m| on(m, boots::show)).gives("Any"),
    route(Delete, "/holds/boots", Boot, "Start all machines again that the breaker stops", |m| on(m, holds::start_all)),
    route(Delete, "/holds/boots/{name}", Boot, "Start a machine again that the breaker stops; what is installed stays so",
        |m| on(m, holds::start)),
    route(Delete, "/holds/installs", Boot, "Install machines again, after the store was lost", |m| on(m, holds::allow_installs)),
    route(Get, "/explain/{name}", View, "What a machine would get, and why", |m| on(m, control::explain)).gives("Any")
        .query(&[("class", "string", "As a client of this class")]),
    // Of what is one machine's alone.
    route(Get, "/render/{name}/{kind}", Admin, "What a machine would be given by the path of this name", |m| on(m, control::rendered)).gives("Any"),
    route(Get, "/leases", View, "All leases, of IPv4 and then of IPv6", |m| on(m, leases::list)).lists("Lease"),
    route(Get, "/leases/{address}", View, "One lease", |m| on(m, leases::show)).gives("Lease"),
    route(Delete, "/leases/{address}", Admin, "End a lease", |m| on(m, leases::release)),
    route(Get, "/assets", View, "What the cache of upstreams keeps", |m| on(m, assets::cache)).lists("Any"),
    route(Post, "/assets/prefetch", Admin, "Fetch a file from its upstream before anybody asks for it", |m| on(m, assets::cache))
        .takes("Any").gives("Any"),
    route(Post, "/assets/purge", Admin, "Take a file, all below a folder, or all out of the cache", |m| on(m, assets::cache)).takes("Any").gives("Any"),
    route(Get, "/assets/files", View, "The files of the assets folder", |m| on(m, assets::list)).lists("Asset")
        .query(&[("folder", "string", "Of this folder alone, and those in it")]),
    route(Get, "/events", View, "What happened, and with follow what happens: an Event in each line", |m| on(m, control::events))
        .gives_lines("Event")
        .query(&[("last", "integer", "How many past events"), ("follow", "boolean", "Go on with those to come")]),
    route(Get, "/watch", View, "What changes, as it changes: events revision, change, gap and cut", |m| on(m, watch::watch))
        .gives_events()
        .query(&[("kinds", "string", "Of these alone: host,profile,group,machine,lease")]),
    route(Get, "/observed", View, "What interfaces with dhcp: observe have seen", |m| on(m, control::observed)).lists("Any"),
    route(Get, "/status", View, "How the server is", |m| on(m, control::status)).gives("Any"),
    route(Post, "/reload", Admin, "Put the configuration's files into force as they are now", |m| on(m, control::reload)).gives("Any"),
    route(Get, "/tokens", Admin, "All tokens, without their secrets", |m| on(m, tokens::list)).lists("Token"),
    route(Post, "/tokens", Admin, "Make a token; its secret is in this answer alone", |m| on(m, tokens::add))
        .takes("NewToken").gives("MadeToken"),
    route(Delete, "/tokens/{name}", Admin, "Remove a token", |m| on(m, tokens::remove)),
    route(Get, "/audit", Admin, "The last changes that were asked for, and by whom", |m| on(m, audit::list)).lists("Record")
        .query(&[("last", "integer", "How many, the newest")]),
    route(Get, "/openapi.json", View, "This description", |m| on(m, openapi::show)).gives("Any").of_no_site(),
];

/// Bytes of an administrator's body from the network: some hundred thousand hosts.
const LARGEST_FROM_AFAR: usize = 64 << 20;

/// All routes, for those who come by this door.
pub(super) fn router(state: Arc<ApiState>, door: Door) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let guard = from_fn_with_state((state.clone(), route, door), auth::guard);
        let guarded = (route.handler)(route.verb.filter());
        let guarded = if route.verb.is_safe() { guarded.route_layer(from_fn(etag::tag)) } else { guarded };
        router = router.route(&format!("{BASE}{}", route.path), guarded.route_layer(guard));
    }
    // Nobody learns what there is, nor what there is not, before it is known who asks.
    let unknown = || any(async || ApiError::not_found("no such path: see /api/v1/openapi.json"));
    for path in ["", "/", "/{*rest}"] {
        router = router.route(&format!("{BASE}{path}"), unknown());
    }
    // Not the fallback, which would be that of all paths of the server, once this is merged with what machines ask.
    router.route_layer(from_fn_with_state((state.clone(), door), auth::authenticate)).with_state(state)
}
