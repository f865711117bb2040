//! What operators are told of boots.

use super::*;

async fn json_of(router: &Router, path: &str) -> Value {
    let (status, text) = ask(router, "GET", path, "", "").await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn boots_are_told_by_machine_and_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let (public, control) = (public(state.clone()), control(state.clone()));
    assert_eq!(json_of(&control, "/api/v1/boots").await, json!([]));
    ask(&control, "POST", "/api/v1/hosts", "", &host("profile")).await;
    let (_, script) = ask(&public, "GET", IPXE, "", "").await;
    let boots = json_of(&control, "/api/v1/boots?machine=n1").await;
    let id = boots[0]["id"].as_str().unwrap();
    assert!(script.contains(&format!("# n1: profile install, boot {id}\n")), "{script}");
    assert!(script.contains(&format!("/assets/vmlinuz?boot={id} ")), "{script}");
    assert!(script.contains(&format!(" netboot.boot={id}\n")), "{script}");
    assert_eq!(
        (&boots[0]["decision"]["kind"], &boots[0]["outcome"]),
        (&json!("install"), &json!("under-way"))
    );
    assert_eq!(boots[0]["steps"][0]["what"], "script");
    assert_eq!(json_of(&control, &format!("/api/v1/boots/{id}")).await, boots[0]);
    assert_eq!(json_of(&control, "/api/v1/boots?last=0").await, json!([]));
    assert_eq!(json_of(&control, "/api/v1/machines/n1").await["boot"], boots[0]);

    let hello = json!({ "token": token(&script), "mac": MAC.to_string() }).to_string();
    let (_, session) = ask(&public, "POST", "/agent/v1/session", "", &hello).await;
    let session: Value = serde_json::from_str(&session).unwrap();
    assert_eq!(session["boot"], id, "the session is of the boot");
    let (events, _) = state.events.follow(99);
    assert!(events.iter().any(|event| event.kind == "script" && event.boot.unwrap().to_string() == id));

    for (path, status, words) in [
        ("/api/v1/boots/0000000000000000", 404, "there is no boot 0000000000000000"),
        ("/api/v1/boots/n1", 400, "takes the 16 hex digits"),
        ("/api/v1/boots?machine=nobody", 404, "neither a host nor a MAC"),
    ] {
        let (code, text) = ask(&control, "GET", path, "", "").await;
        assert!(code == status && text.contains(words), "{path}: {code} {text}");
    }
    assert_eq!(ask(&public, "GET", "/api/v1/boots", "", "").await.0, 403, "machines are told nothing");
}

#[tokio::test]
async fn explain_says_what_set_each_value() {
    let dir = tempfile::tempdir().unwrap();
    let breaker = Some(crate::inventory::boots::Breaker::default());
    let state = state_where(dir.path(), Policy { breaker, ..policy() });
    let (public, control) = (public(state.clone()), control(state.clone()));
    let host = json!({
        "name": "n1", "macs": [MAC.to_string()], "profile": "rescue", "cmdline": "console=ttyS0", "options": { "interface-mtu": "1400" },
    });
    ask(&control, "POST", "/api/v1/hosts", "", &host.to_string()).await;
    ask(&public, "GET", IPXE, "", "").await;
    let explained = json_of(&control, "/api/v1/explain/n1").await;
    let decision = &explained["decision"];
    assert_eq!(decision["decides"], "profile rescue");
    assert_eq!(decision["why"], "profile rescue (test:1) by host n1 (store)");
    assert_eq!(decision["boot"], json!({ "value": "profile", "origin": "host n1 (store)" }));
    assert_eq!(decision["profile"], json!({ "name": "rescue", "origin": "test:1" }));
    assert_eq!(
        decision["cmdline"],
        json!([
            { "value": "quiet", "origin": "profile rescue (test:1)" },
            { "value": "console=ttyS0", "origin": "host n1 (store)" },
        ])
    );
    assert_eq!(decision["record"]["decision"]["profile"], "rescue");
    assert_eq!(
        decision["breaker"],
        json!({ "setting": { "boots": 3, "then": "local", "loop": null }, "fruitless": 0, "stopped": null })
    );
    let settings = &explained["interfaces"][0]["settings"];
    assert_eq!(
        settings["options.interface-mtu"],
        json!({ "value": "1400", "level": "host n1 (store)", "over": ["site"] })
    );
    assert_eq!(settings["options.domain-name"]["level"], "subnet 10.0.0.0/24");
    let (_, text) = ask(&control, "GET", "/api/v1/explain/52:54:00:00:00:07", "", "").await;
    assert!(
        text.contains("52:54:00:00:00:07 is not a host and in no group, and unknown machines are ignored"),
        "{text}"
    );
}
