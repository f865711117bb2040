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
