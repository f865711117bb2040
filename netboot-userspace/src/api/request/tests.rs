//! What is given back, and at which byte.

use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::serve::{Ends, Times, serve_connection};
use super::*;

const NEXT: &str = "GET /assets/a HTTP/1.1\r\nHost: x\r\n\r\n";

fn router() -> Router {
    let parts = || tokio_stream::iter(["in ", "parts"].map(Ok::<_, std::io::Error>));
    Router::new()
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/ignore", post(|| async { "ignored" }))
        .route("/parts", get(move || async move { Body::from_stream(parts()) }))
        .route("/host", get(|headers: HeaderMap| async move { headers[header::HOST].to_str().unwrap_or_default().to_owned() }))
        .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
        .route("/slow", post(slow))
        .route("/bye", get(|| async { ([(header::CONNECTION, "close")], "bye") }))
}

/// Takes longer than a client may.
async fn slow(request: axum::extract::Request) -> &'static str {
    let _working = Working::on(request.extensions());
    tokio::time::sleep(Duration::from_secs(300)).await;
    // What follows is between the connection's ends.
    tokio::time::resume();
    "done"
}

/// The answer to a request, `read` bytes of which came with the hand-over and the rest after it, and what is left of the connection if
/// it goes on.
async fn answered(request: &str, behind: &str, read: usize, whole: bool) -> (String, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let all = format!("{request}{behind}");
    let (read, rest) = all.as_bytes().split_at(read);
    let whole = whole.then_some(request.len() as u64);
    let ends = Ends::of(&stream).unwrap();
    let times = Times::lingering(Duration::from_secs(60));
    let mut server = tokio::spawn(serve_connection(stream, ends, read.to_vec(), whole, times, router()));
    client.write_all(rest).await.unwrap();
    let (mut from, to) = client.into_split();
    let mut reader = tokio::spawn(async move {
        let mut answer = String::new();
        from.read_to_string(&mut answer).await.unwrap();
        answer
    });
    tokio::select! {
        kept = &mut server => {
            let (mut stream, mut read) = kept.unwrap().unwrap().expect("who is answered for the last time is waited for");
            drop(to);
            stream.read_to_end(&mut read).await.unwrap();
            drop(stream);
            (reader.await.unwrap(), Some(String::from_utf8(read).unwrap()))
        }
        answer = &mut reader => {
            // Until it closes its half as well.
            drop(to);
            assert!(server.await.unwrap().unwrap().is_none(), "it is closed");
            (answer.unwrap(), None)
        }
    }
}

#[tokio::test]
async fn a_connection_comes_back_at_the_very_byte_where_the_next_request_begins() {
    for (request, body) in [
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /", "ignored"),
        ("GET /parts HTTP/1.1\r\nHost: x\r\n\r\n", "3\r\nin \r\n5\r\nparts\r\n0\r\n\r\n"),
        ("HEAD /parts HTTP/1.1\r\nHost: x\r\n\r\n", ""),
        ("GET /empty HTTP/1.1\r\nHost: x\r\n\r\n", ""),
        ("GET /none HTTP/1.1\r\nHost: x\r\n\r\n", ""),
    ] {
        for behind in ["", NEXT, "\r\nx"] {
            // What isn't read yet is waited for; a request that is cut anywhere is the same request.
            for read in [0, 1, request.len() - 1, request.len(), request.len() + behind.len()] {
                let (answer, kept) = answered(request, behind, read, true).await;
                let (head, answered) = answer.split_once("\r\n\r\n").unwrap();
                assert_eq!(answered, body, "{request:?}, {read} read");
                assert!(!head.to_ascii_lowercase().contains("connection: close"), "{head}");
                assert_eq!(kept.as_deref(), Some(behind), "{request:?}, {read} read");
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_can_t_go_on_is_closed() {
    let bye = "GET /bye HTTP/1.1\r\nHost: x\r\n\r\n";
    let (answer, kept) = answered(bye, NEXT, bye.len(), true).await;
    assert!(answer.ends_with("\r\n\r\nbye") && kept.is_none(), "{answer}");
    let get = "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n";
    let (answer, kept) = answered(get, NEXT, get.len(), false).await;
    assert!(answer.to_ascii_lowercase().contains("connection: close") && kept.is_none(), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "what is behind is nobody's");
}

#[tokio::test]
async fn rfc9112_2_the_host_of_an_absolute_target_wins() {
    for (target, host) in [("/host", "x:80"), ("http://boot:8080/host", "boot:8080")] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x:80\r\n\r\n");
        let (answer, _) = answered(&request, "", request.len(), true).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{host}")), "{answer}");
    }
}

#[tokio::test]
async fn rfc9112_9_bad_chunks_are_refused_and_nothing_behind_them_is_read() {
    let post = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let good = format!("{post}5;a=b\r\nhello\r\n0\r\n\r\n");
    let (answer, kept) = answered(&good, NEXT, post.len(), false).await;
    assert!(answer.ends_with("hello") && kept.is_none(), "{answer}");
    for chunks in [
        "0_2\r\nab\r\n0\r\n\r\n",
        "-1\r\nab\r\n0\r\n\r\n",
        "+2\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "10000000000000000\r\nab\r\n0\r\n\r\n",
        "2;a=\rb\r\nab\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "\r\nab\r\n0\r\n\r\n",
    ] {
        let (answer, kept) = answered(&format!("{post}{chunks}"), NEXT, post.len(), false).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        assert_eq!((answer.matches("HTTP/1.1 ").count(), kept), (1, None), "{chunks:?}: {answer}");
    }
}

/// Whether its client is there, or gone: hyper looks for neither, as one that has closed its half may wait for the answer.
#[tokio::test]
async fn what_is_not_answered_in_its_time_ends() {
    let stays: fn(TcpStream) -> Option<TcpStream> = Some;
    for leaves in [stays, |_| None] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let never = Router::new().route("/", get(std::future::pending::<()>));
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
        let (length, ends) = (Some(request.len() as u64), Ends::of(&stream).unwrap());
        let times = Times { whole: Duration::from_millis(50), linger: Duration::from_secs(60) };
        let server = tokio::spawn(serve_connection(stream, ends, request, length, times, never));
        let _client = leaves(client);
        assert_eq!(server.await.unwrap().unwrap_err().to_string(), "deadline has elapsed");
    }
}

#[test]
fn an_answer_goes_on_while_its_client_takes_enough_of_it_or_there_is_no_more_yet() {
    use hyper::body::Body as _;
    let progress = Arc::<Progress>::default();
    assert!(!progress.has_moved(100), "nothing was taken");
    progress.moved.store(100, Ordering::Release);
    assert!(progress.has_moved(100) && !progress.has_moved(100), "since it was asked last");
    progress.moved.store(99, Ordering::Release);
    assert!(!progress.has_moved(100));
    let (to, parts) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let parts = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(parts));
    let mut answer = Watched::answer(Response::new(parts), progress.clone()).into_body();
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut answer).poll_frame(&mut context).is_pending());
    assert!(progress.has_moved(100), "its client can't take what is not there");
    to.try_send(Ok(Bytes::from_static(b"part"))).unwrap();
    assert!(Pin::new(&mut answer).poll_frame(&mut context).is_ready());
    assert!(!progress.has_moved(100), "now it could");
}

/// A large body over a slow line is no standstill.
#[tokio::test]
async fn what_is_read_of_a_request_is_progress_as_what_is_written_of_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let progress = Arc::<Progress>::default();
    let mut request = Request::new(stream, Vec::new(), None, progress.clone());
    assert!(!progress.has_moved(1));
    client.write_all(&[0; 1000]).await.unwrap();
    request.read_exact(&mut [0; 1000]).await.unwrap();
    assert!(progress.has_moved(1000));
    client.write_all(&[0; 999]).await.unwrap();
    request.read_exact(&mut [0; 999]).await.unwrap();
    assert!(!progress.has_moved(1000), "since it was asked last");
    request.write_all(&[0; 1000]).await.unwrap();
    assert!(progress.has_moved(1000));
}

/// A change of many hosts, a large file that is fetched from its upstream.
#[tokio::test(start_paused = true)]
async fn what_takes_us_longer_than_a_minute_is_answered() {
    let request = "POST /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (answer, _) = answered(request, "", request.len(), true).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
}
