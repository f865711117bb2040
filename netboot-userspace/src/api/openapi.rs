//! The API's description (OpenAPI 3.1): of the table of routes, and of the types that they take and give.

use axum::Json;
use serde_json::{Map, Value, json};

use super::ApiError;
use super::routes::{BASE, Gives, ROUTES, Route, Verb};

/// The types: a test holds them to ours.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// `GET /api/v1/openapi.json`
pub(super) async fn show() -> Result<Json<Value>, ApiError> {
    document().map(Json).map_err(|error| ApiError::internal(format!("the description: {error}")))
}

fn document() -> Result<Value, serde_json::Error> {
    let schemas: Value = serde_json::from_str(SCHEMAS)?;
    let mut paths = Map::new();
    for route in ROUTES {
        paths.entry(route.path).or_insert_with(|| json!({}))[route.verb.name().to_ascii_lowercase()] =
            operation(route);
    }
    let bearer = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "By HTTPS: a token of `netboot token add`. The control socket needs none.",
    });
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Netboot",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Roles are ordered: view, boot, admin. Each operation names the least that it needs (x-role).",
        },
        "servers": [{ "url": BASE }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": { "securitySchemes": { "bearer": bearer }, "schemas": schemas },
    }))
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.summary,
        "x-role": route.role,
        "tags": [route.path.split('/').nth(1)],
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if let Some(schema) = route.takes {
        operation["requestBody"] =
            json!({ "required": true, "content": content("application/json", reference(schema)) });
    }
    operation
}

/// `get_hosts_name` of `GET /hosts/{name}`
fn id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    format!("{}_{}", route.verb.name().to_ascii_lowercase(), words.join("_"))
}

fn parameters(route: &Route) -> Vec<Value> {
    let one = |place: &str, name: &str, kind: &str, required: bool, description: &str| {
        json!({
            "in": place, "name": name, "required": required, "description": description, "schema": { "type": kind },
        })
    };
    let in_path = route.names().map(|name| one("path", name, "string", true, ""));
    let mut all: Vec<Value> = in_path.collect();
    all.extend(route.query.iter().map(|(name, kind, what)| one("query", name, kind, false, what)));
    let mut header = |name, what| all.push(one("header", name, "string", false, what));
    if route.is_conditional() {
        header("If-Match", "Only of what has this ETag");
    }
    match route.verb {
        Verb::Put => header("If-None-Match", "*: only where there is none"),
        Verb::Get if matches!(route.gives, Gives::One(_) | Gives::List(_)) => {
            header("If-None-Match", "304 to who has what has this ETag");
        }
        Verb::Get if route.gives == Gives::Events => header("Last-Event-ID", "Where to go on"),
        _ => {}
    }
    all
}

fn responses(route: &Route) -> Value {
    let mut all = Map::new();
    let mut answer = |status: u16, what: &str, content: Option<Value>| {
        let mut answer = json!({ "description": what });
        if let Some(content) = content {
            answer["content"] = content;
        }
        all.insert(status.to_string(), answer);
    };
    let json = |schema| Some(content("application/json", schema));
    let given = match route.gives {
        Gives::One(schema) => json(reference(schema)),
        Gives::List(schema) => json(json!({ "type": "array", "items": reference(schema) })),
        Gives::Lines(schema) => Some(content("application/x-ndjson", reference(schema))),
        Gives::Events => Some(content("text/event-stream", json!({ "type": "string" }))),
        Gives::Nothing => None,
    };
    for status in route.statuses() {
        answer(*status, "Done", given.clone());
    }
    if !route.verb.is_safe() {
        let schema = if route.gives == Gives::One("BatchAnswer") { "BatchAnswer" } else { "Error" };
        answer(409, "It contradicts what is there", json(reference(schema)));
    }
    let mut error = |status, what: &str| answer(status, what, json(reference("Error")));
    error(401, "No token, or none of ours");
    error(403, "The token's role is not enough, or it came by plain HTTP");
    error(429, "Too many tokens that are none came from this address, or too many changes of one token");
    let is_named = route.names().next().is_some();
    if is_named || route.path.starts_with("/assets") {
        error(404, "There is none");
    }
    if is_named || route.takes.is_some() || !route.query.is_empty() {
        error(400, "The name, the query or the body is wrong");
    }
    if route.takes.is_some() {
        error(413, "The body is too large, or has too many changes");
    }
    if !route.verb.is_safe() {
        error(507, "The disk is full");
    }
    if matches!(route.gives, Gives::Lines(_) | Gives::Events) {
        error(503, "Too many follow already");
    }
    if route.is_conditional() {
        error(412, "It was changed since; ETag has what it is now");
    }
    Value::Object(all)
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn content(media_type: &str, schema: Value) -> Value {
    json!({ media_type: { "schema": schema } })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
