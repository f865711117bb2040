//! Whose configuration who gets, and in which boot.

use super::super::super::tests::policy;
use super::*;
use crate::inventory::machines::Policy;

/// What one parameter hides, another does not name: who is asked for and who is answered for is one machine.
#[tokio::test]
async fn two_names_of_a_machine_are_one_machines() {
    let site = Site::new(&[]);
    site.state.set_rendering(Rendering::default());
    let control = control(site.state.clone());
    site.has_address(MAC, "127.0.0.1");
    let own = format!(r#"{{"name": "n1", "macs": ["{MAC}"], "profile": "rescue"}}"#);
    let other = r#"{"name": "n2", "macs": ["52:54:00:00:00:02"], "serial": "S-2", "profile": "rescue",
        "uuid": "77000000-0000-4000-8000-000000000002", "metadata": {"secret": "two"}}"#;
    for host in [own.as_str(), other] {
        assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", host).await.0, 201);
    }
    let two = "52:54:00:00:00:02";
    for query in [
        format!("mac={two}"),
        format!("MAC={two}"),
        format!("MAC=x&mac={two}"),
        format!("mac={MAC}&MAC={two}"),
        format!("MAC={MAC}&mac={two}"),
        format!("mac={MAC}&serial=S-2"),
        format!("mac={MAC}&hostname=n2"),
        format!("mac={MAC}&uuid=77000000-0000-4000-8000-000000000002"),
        "serial=S-2".to_owned(),
    ] {
        site.assert(&format!("/metadata?{query}"), 403, "is the address of 52:54:00:00:00:01").await;
    }
    site.assert(&format!("/metadata?MAC=x&mac={MAC}"), 200, "HOSTNAME=n1").await;
    site.assert("/metadata?mac=x", 400, "mac=x").await;
}

/// Other than configurations, keys are those of the host as it is now.
#[tokio::test]
async fn the_keys_of_those_who_may_log_in_are_of_one_machine_and_of_now() {
    let site = Site::new(GROUPS);
    let control = control(site.state.clone());
    site.has_address(MAC, "127.0.0.1");
    let keys = ["one", "two"].map(|name| {
        format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q {name}")
    });
    let host = |keys: &[String]| {
        serde_json::json!({ "name": "n1", "macs": [MAC.to_string()], "profile": "rescue", "ssh_authorized_keys": keys }).to_string()
    };
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &host(&keys)).await.0, 201);
    let own = format!("/authorized_keys?mac={MAC}");
    assert_eq!(site.get(&format!("/ipxe?mac={MAC}")).await.0, 200);
    assert_eq!(site.get(&own).await, (200, format!("{}\n{}\n", keys[0], keys[1])));
    site.assert("/authorized_keys?mac=52:54:00:00:00:02", 403, "is the address of 52:54:00:00:00:01").await;
    assert_eq!(ask(&control, "PUT", "/api/v1/hosts/n1", "", &host(&keys[1..])).await.0, 200);
    assert_eq!(site.get(&own).await, (200, format!("{}\n", keys[1])));
    assert_eq!(ask(&control, "PUT", "/api/v1/hosts/n1", "", &host(&[])).await.0, 200);
    assert_eq!(site.get(&own).await, (200, String::new()));
    assert_eq!(ask(&control, "DELETE", "/api/v1/hosts/n1", "", "").await.0, 204);
    site.assert(&own, 404, "is no host").await;
}

/// Where nobody but us gives addresses, one that no machine has from us speaks for none.
#[tokio::test]
async fn an_address_of_nobodys_asks_for_nobodys_configuration_where_we_give_addresses() {
    let site = Site::new(&[
        ("groups/default.json", r#"{"profile": "p", "metadata": {"secret": "none"}}"#),
        (
            "groups/a.json",
            r#"{"profile": "p", "selector": {"serial": "S-2"}, "metadata": {"secret": "two"}}"#,
        ),
        ("profiles/p.json", r#"{"id": "p", "generic_id": "g", "boot": {"kernel": "k"}}"#),
        ("generic/g", "{{.secret}}"),
    ]);
    site.assert("/generic?serial=S-2", 200, "two").await;
    let served = vec![("127.0.0.0".parse().unwrap(), 8)];
    site.state.machines.set_policy(Policy { served, ..policy() });
    for query in ["serial=S-2", "mac=52:54:00:00:00:02", "hostname=n2", "uuid=u"] {
        site.assert(&format!("/generic?{query}"), 403, "an address that no machine has from us").await;
    }
    site.assert("/generic?os=x", 200, "none").await;
    site.has_address(MAC, "127.0.0.1");
    site.assert(&format!("/ipxe?mac={MAC}&serial=S-2"), 200, "kernel k").await;
    site.assert("/generic?serial=S-2", 200, "two").await;
}

/// What a boot was decided to do, its configurations do, too.
#[tokio::test]
async fn a_configuration_is_that_of_the_boots_decision() {
    let site = Site::new(&[]);
    site.state.set_rendering(Rendering::default());
    let control = control(site.state.clone());
    let put = async |path: &str, object: &str| {
        let (status, text) = ask(&control, "PUT", &format!("/api/v1/{path}"), "", object).await;
        assert!((200..300).contains(&status), "{path}: {status} {text}");
    };
    for name in ["a", "b"] {
        let profile = format!(
            r##"{{"name": "{name}", "kernel": "http://h/{name}", "configs": {{"generic": "#{name}"}}}}"##
        );
        put(&format!("profiles/{name}"), &profile).await;
    }
    put("groups/installed", r#"{"name": "installed", "selector": {"os": "x"}, "profile": "b"}"#).await;
    let host = |more: &str| format!(r#"{{"name": "n1", "macs": ["{MAC}"], "ip": "127.0.0.1"{more}}}"#);
    put("hosts/n1", &host(r#", "profile": "a""#)).await;
    let path = format!("/generic?mac={MAC}");
    site.assert(&path, 200, "#a").await;
    let ip = "127.0.0.1".parse().ok();
    let seen = Observation::Dhcp { kind: "offer", class: "efi-x64", ip, named: Named::Unasked };
    site.state.machines.observe(Who::Mac(MAC), Lane::Xdp, &seen).unwrap();
    site.assert(&format!("/ipxe?mac={MAC}"), 200, "http://h/a").await;
    // Whatever is changed meanwhile, and whatever the configuration's own query says.
    let patch = r#"{"profile": "b"}"#;
    assert_eq!(ask(&control, "PATCH", "/api/v1/hosts/n1", "", patch).await.0, 200);
    site.assert(&format!("/ipxe?mac={MAC}"), 200, "http://h/a").await;
    site.assert(&path, 200, "#a").await;
    let other = r#"{"name": "n2", "macs": ["52:54:00:00:00:02"], "profile": "a", "boot": "ignore"}"#;
    put("hosts/n2", other).await;
    let (_, shown) = ask(&control, "GET", "/api/v1/render/n2/generic", "", "").await;
    assert!(shown.contains("boot: ignore"), "{shown}");
}

/// A machine says with its script what puts it into its group; its system says its MAC alone.
#[tokio::test]
async fn what_a_machine_said_with_its_script_holds_for_its_configuration() {
    let site = Site::new(&[]);
    site.state.set_rendering(Rendering::default());
    let control = control(site.state.clone());
    for (path, object) in [
        ("profiles/a", r##"{"name": "a", "kernel": "http://h/a", "configs": {"generic": "#a"}}"##),
        ("groups/x", r#"{"name": "x", "selector": {"os": "x"}, "profile": "a"}"#),
    ] {
        let (status, text) = ask(&control, "PUT", &format!("/api/v1/{path}"), "", object).await;
        assert!((200..300).contains(&status), "{path}: {status} {text}");
    }
    site.assert(&format!("/generic?mac={MAC}"), 404, "is not a host and in no group").await;
    site.assert(&format!("/ipxe?mac={MAC}&os=x"), 200, "http://h/a").await;
    site.assert(&format!("/generic?mac={MAC}"), 200, "#a").await;
}

/// `bind: token`: whoever has the boot's token is the machine, from whatever address; and nobody else is, also from the machine's own.
#[tokio::test]
async fn what_is_bound_to_a_token_is_for_who_has_it() {
    let site = Site::new(&[]);
    site.state.set_rendering(Rendering::default());
    let control = control(site.state.clone());
    let profile = serde_json::json!({
        "name": "web", "kernel": "http://h/k", "cmdline": "ds=http://s/cloud?mac=${mac}&token=${token}",
        "configs": { "generic": "a secret of {{.mac}}\n" }, "bind": "token",
    });
    let host = |name: &str, mac: &str| serde_json::json!({ "name": name, "macs": [mac], "profile": "web" });
    let other = "52:54:00:00:00:02";
    let objects = [
        ("profiles/web", profile),
        ("hosts/n1", host("n1", &MAC.to_string())),
        ("hosts/n2", host("n2", other)),
    ];
    for (path, object) in objects {
        let (status, text) = ask(&control, "PUT", &format!("/api/v1/{path}"), "", &object.to_string()).await;
        assert_eq!(status, 201, "{path}: {text}");
    }
    let (_, shown) = ask(&control, "GET", "/api/v1/profiles/web", "", "").await;
    assert!(shown.contains("\"bind\":\"token\""), "{shown}");
    let script = |mac: &str| format!("/ipxe?mac={mac}");
    let (_, text) = site.get(&script(&MAC.to_string())).await;
    let token = text.split("&token=").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(text.contains("?mac=${mac}&token=") && token.len() == 64, "{text}");
    site.has_address(MAC, "127.0.0.1");
    let asked = |mac: &str, token: &str| format!("/generic?mac={mac}&token={token}");
    for wrong in ["", "TOKEN", &token[1..]] {
        site.assert(&asked(&MAC.to_string(), wrong), 403, "is bound to a token").await;
    }
    site.assert(&asked(&MAC.to_string(), token), 200, "a secret of 52:54:00:00:00:01\n").await;
    site.assert(&asked(other, token), 403, "is the address of 52:54:00:00:00:01").await;
    let refused = rendered(
        &site.state,
        &site.state.rendering.load(),
        Kind::Script(Form::Ipxe),
        &request(),
        Purpose::Sign,
    );
    assert_eq!(refused.unwrap_err().status, StatusCode::CONFLICT);
    // It is for nothing of anybody else's, by whatever name.
    let uuid = "77000000-0000-4000-8000-000000000003";
    let victim = serde_json::json!({ "name": "n3", "macs": ["52:54:00:00:00:03"], "uuid": uuid, "serial": "S3", "profile": "web" });
    assert_eq!(ask(&control, "PUT", "/api/v1/hosts/n3", "", &victim.to_string()).await.0, 201);
    for other in
        [format!("uuid={uuid}"), "serial=S3".into(), "hostname=n3".into(), "MAC=52:54:00:00:00:03".into()]
    {
        site.assert(&format!("{}&{other}", asked(&MAC.to_string(), token)), 403, "").await;
    }
    // It has another address meanwhile, or asks by another port's.
    site.has_address(MAC, "10.0.0.9");
    site.assert(&asked(&MAC.to_string(), token), 200, "a secret of").await;
    for other in [other, "52:54:00:00:00:03"] {
        site.assert(&asked(other, token), 403, "is bound to a token").await;
    }
    site.assert(
        &format!("{}&uuid={uuid}", asked(&MAC.to_string(), token)),
        403,
        "what is 52:54:00:00:00:03's",
    )
    .await;
    site.assert("/metadata?mac=52:54:00:00:00:01", 403, "which has the address 10.0.0.9").await;
    let (_, shown) = ask(&control, "GET", "/api/v1/render/n1/ipxe", "", "").await;
    assert!(shown.contains("&token=TOKEN"), "{shown}");
    let (_, shown) = ask(&control, "GET", "/api/v1/render/n1/generic", "", "").await;
    assert!(shown.contains("a secret of"), "{shown}");
    site.assert("/pixiecore/v1/boot/52:54:00:00:00:02", 404, "bound to a token").await;
}
