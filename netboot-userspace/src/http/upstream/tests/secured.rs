//! Upstreams behind TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority, its certificate, and one for 127.0.0.1 that it signed.
fn authority() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![own.der().clone()], key).unwrap();
    (ca.pem(), config)
}

#[test]
fn an_upstream_is_believed_whom_its_authority_has_signed_and_no_other() {
    let (ca, config) = authority();
    let (other, _) = authority();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Who does not believe us hangs up.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&ok(b"secured", "")).await;
            let _ = stream.shutdown().await;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let site = |ca: Option<&str>| {
        let mut upstream =
            upstream("up/", Origin { is_https: true, host: "127.0.0.1".to_owned(), port }, "/");
        upstream.ca = ca.map(|ca| {
            std::fs::write(folder.path().join("ca.pem"), ca).unwrap();
            folder.path().join("ca.pem")
        });
        Site::new(vec![upstream])
    };
    let said = site(Some(&ca)).get("/assets/up/x");
    assert_eq!((said.status, said.text().as_str()), (200, "secured"));
    for ca in [Some(other.as_str()), None] {
        let site = site(ca);
        let (said, outcome) = (site.get("/assets/up/x"), site.outcome());
        assert_eq!(said.status, 502, "{}", said.text());
        assert!(format!("{outcome:?}").contains("TLS with https://127.0.0.1"), "{outcome:?}");
    }
    std::fs::write(folder.path().join("ca.pem"), "garbage").unwrap();
    let mut upstream = upstream("up/", Origin { is_https: true, host: "127.0.0.1".to_owned(), port }, "/");
    upstream.ca = Some(folder.path().join("ca.pem"));
    let cache = Cache { size: 0, keep_free: 0, upstreams: vec![upstream] };
    assert!(check(&cache).unwrap_err().to_string().contains("ca.pem: has no certificate"));
    assert!(connect::trust(Some(&folder.path().join("none.pem"))).unwrap_err().contains("none.pem"));
}
