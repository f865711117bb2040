//! What stands before the routes: for whom, for how long, and for what it is not.

use super::super::roles::Role;
use super::rest::{Api, bearer};
use super::*;

#[tokio::test]
async fn what_is_no_path_of_ours_is_not_found_whoever_asks() {
    let api = Api::new();
    let ours = bearer(api.secret(Role::View));
    for path in ["/favicon.ico", "/typo.ipxe", "/status/init", "/v2/", "/api", "/api/v2/hosts"] {
        for fields in ["", ours.as_str(), "Authorization: Bearer another-server-s\r\n"] {
            for by_tls in [false, true] {
                let answer = api.ask_by(by_tls, "GET", path, fields, "").await;
                assert_eq!((answer.status, answer.field("www-authenticate")), (404, None), "{path}: {fields}");
            }
        }
    }
    assert!(api.events("refused").is_empty(), "nobody tried anything");
    let now = api.state.started.elapsed().as_secs();
    let left = super::super::tries::BURST - 1;
    assert_eq!(api.state.tries.failed([127, 0, 0, 1].into(), now), left, "it has all its tries");
}

#[tokio::test]
async fn a_token_that_came_by_plain_http_is_told_of() {
    let api = Api::new();
    for fields in [bearer(api.secret(Role::Boot)), bearer("netboot_00"), String::new()] {
        assert_eq!(api.ask_by(false, "GET", "/api/v1/status", &fields, "").await.status, 403);
    }
    let told = api.events("refused");
    assert_eq!(told.len(), 1, "of a right one alone: {told:?}");
    assert!(told[0].starts_with("token boot came by plain HTTP from 127.0.0.1: remove it"), "{told:?}");
    for _ in 0..30 {
        api.ask_by(false, "GET", "/api/v1/status", &bearer(api.secret(Role::Boot)), "").await;
    }
    assert!(api.events("refused").len() < 20, "it can't be made to fill the log");
}
