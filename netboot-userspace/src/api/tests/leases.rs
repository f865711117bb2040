//! The addresses that were given, by HTTPS.

use super::rest::Api;
use super::*;

/// Of 10.0.0.x.
pub(super) fn lease(state: &ApiState, last: u8) -> crate::store::Lease {
    crate::store::Lease {
        ip: [10, 0, 0, last].into(),
        client: vec![1, 2],
        mac: MAC,
        written: 0,
        expires: state.store.clock().now() + 1000,
        hostname: "n".into(),
        state: crate::store::LeaseState::Bound,
    }
}

#[tokio::test]
async fn a_lease_is_shown_and_ended_by_its_address() {
    let api = Api::new();
    api.state.store.put_leases(&[lease(&api.state, 9), lease(&api.state, 8)]).unwrap();
    let shown = api.admin("GET", "/api/v1/leases/10.0.0.9", "", "").await;
    assert_eq!((&shown.json()["client"], &shown.json()["mac"]), (&json!("0102"), &json!(MAC.to_string())));
    // As alone, with nothing that is another one each second.
    assert_eq!(api.admin("GET", "/api/v1/leases", "", "").await.json()[1], shown.json());
    for (path, status) in [("10.0.0.7", 404), ("x", 400), ("fd00::1", 404)] {
        assert_eq!(
            api.admin("GET", &format!("/api/v1/leases/{path}"), "", "").await.status,
            status,
            "{path}"
        );
    }
    let delete = async |path: &str, fields: &str| {
        api.admin("DELETE", &format!("/api/v1/leases/{path}"), fields, "").await.status
    };
    assert_eq!(delete("10.0.0.9", "If-Match: \"other\"\r\n").await, 412);
    assert_eq!(delete("10.0.0.9", &format!("If-Match: {}\r\n", shown.etag())).await, 204);
    assert_eq!(delete("10.0.0.8", "").await, 409, "the layers below know nothing of it");
    assert_eq!(api.events("lease"), ["the lease of 10.0.0.9 was ended"]);
}
