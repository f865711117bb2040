//! A small answer of a server that the operator has named, whole and now: what an API says.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{Request, Response, header};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::ask::causes;
use super::connect::{Where, connect, trust};
use crate::config::Origin;

/// Whom the system trusts: a file of some hundred certificates, which is read once.
#[derive(Clone, Debug)]
pub struct Trust(pub(super) Arc<ClientConfig>);

impl Trust {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn of_system() -> Result<Self, String> {
        trust(None).map(Self)
    }
}

/// GETs `url`, within so long in all. Its status and body, of `most` bytes; redirects are answers like others.
///
/// # Errors
/// There is no such answer, and why.
pub async fn get(trust: &Trust, url: &str, within: Duration, most: usize) -> Result<(u16, Vec<u8>), String> {
    let answered = timeout(within, whole(trust, url, within, most)).await;
    answered.map_err(|_| format!("no answer within {} s", within.as_secs_f32()))?
}

async fn whole(
    Trust(trust): &Trust,
    url: &str,
    within: Duration,
    most: usize,
) -> Result<(u16, Vec<u8>), String> {
    let (origin, target) = Origin::split(url).ok_or("it is no URL of http or https")?;
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let mut link =
        connect(&origin, trust, Where::Named, within).await.map_err(|failure| failure.to_string())?;
    let request = Request::get(target)
        .header(header::HOST, origin.authority())
        .header(header::USER_AGENT, concat!("netboot/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    let answer = link.sender.send_request(request).await.map_err(|error| causes(&error))?;
    let (head, body) = Response::into_parts(answer);
    let (mut body, mut bytes) = (pin!(body), Vec::new());
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|error| causes(&error))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if bytes.len() > most {
            return Err(format!("the answer has more than {most} bytes"));
        }
    }
    Ok((head.status.as_u16(), bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that answers once with these bytes, and then waits for the client to leave; what it was asked.
    fn server(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://localhost:{}/v1/boot/x?arch=i386", listener.local_addr().unwrap().port());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let count = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            if !answer.is_empty() {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
            let _ = stream.read(&mut [0]);
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        (url, served)
    }

    async fn get(url: &str, within: Duration, most: usize) -> Result<(u16, Vec<u8>), String> {
        super::get(&Trust::of_system().unwrap(), url, within, most).await
    }

    #[tokio::test]
    async fn what_a_named_server_answers_also_this_host_s() {
        let second = Duration::from_secs(20);
        let (url, asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        assert_eq!(get(&url, second, 2).await, Ok((200, b"{}".to_vec())));
        assert!(asked.join().unwrap().starts_with("GET /v1/boot/x?arch=i386 HTTP/1.1\r\nhost: localhost:"));
        let (url, _) = server("HTTP/1.1 404 Not Found\r\n\r\nno");
        assert_eq!(get(&url, second, 9).await, Ok((404, b"no".to_vec())));
        let (url, _) = server("HTTP/1.1 200 OK\r\n\r\n1234567890");
        assert_eq!(get(&url, second, 9).await.unwrap_err(), "the answer has more than 9 bytes");
        let (url, _) = server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}");
        assert!(get(&url, second, 9).await.is_err(), "it is cut off");
        let (url, _) = server("");
        let late = get(&url, Duration::from_millis(200), 9).await.unwrap_err();
        assert_eq!(late, "no answer within 0.2 s");
        assert!(get("http://127.0.0.1:1/", second, 9).await.unwrap_err().contains("refused"));
    }
}
