//! What needs a hand inside the server: rings that fail while responses are under way.

use super::*;
use std::io::{Read, Write};
use std::net::Ipv4Addr;

use crate::sys::seccomp;

const HEAD: &str = "Host: x\r\n\r\n";

/// A response's body of `length` bytes, after its head.
fn body(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            && answer.len() >= end + 4 + length
        {
            return Ok(answer.split_off(end + 4));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => answer.extend_from_slice(&buffer[..len]),
        }
    }
}

/// In containers, and on kernels that have none.
#[test]
fn where_io_uring_is_refused_epoll_serves() {
    for (errno, reason) in
        [(libc::EPERM, "Operation not permitted"), (libc::ENOSYS, "Function not implemented")]
    {
        // What is refused is so for this thread, and those that it starts.
        let refused = move || {
            seccomp::refuse(libc::SYS_io_uring_setup, errno).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let large: Vec<u8> = (0..9_000_000_u32).map(|at| (at % 251) as u8).collect();
            std::fs::write(folder.path().join("large"), &large).unwrap();
            std::fs::write(folder.path().join("small"), b"yes").unwrap();
            let start = |engine| {
                let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
                let roots = vec![folder.path().to_owned()];
                config.mounts = vec![Mount::Folder { prefix: "/".into(), roots, index: false }];
                config.engine = engine;
                Server::start(config, Arc::new(|_| {}), Arc::new(|_| {}))
            };
            let error = start(Choice::Uring).unwrap_err();
            assert!(matches!(&error, Error::Engine(_)) && error.to_string().contains(reason), "{error}");
            let server = start(Choice::Auto).unwrap();
            let engine = server.engine().to_string();
            assert!(engine.starts_with(&format!("epoll (io_uring refused: {reason}")), "{engine}");
            let mut stream = TcpStream::connect(server.local_addr()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            for (name, want) in [("small", &b"yes"[..]), ("large", &large), ("small", b"yes")] {
                stream.write_all(format!("GET /{name} HTTP/1.1\r\n{HEAD}").as_bytes()).unwrap();
                assert!(body(&mut stream, want.len()).unwrap() == want, "{name}");
            }
            drop(stream);
            server.shutdown();
        };
        std::thread::spawn(refused).join().unwrap();
    }
}

#[test]
fn connections_go_on_when_the_rings_fail_and_new_ones_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..30_000_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(folder.path().join("large"), &large).unwrap();
    std::fs::write(folder.path().join("small"), b"yes").unwrap();
    let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
    config.mounts =
        vec![Mount::Folder { prefix: "/".into(), roots: vec![folder.path().to_owned()], index: false }];
    (config.workers, config.engine) = (2, Choice::Uring);
    let mut server = Server::start(config, Arc::new(|_| {}), Arc::new(|_| {})).unwrap();
    let address = server.local_addr();
    let connect = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let get = |path: &str| format!("GET /{path} HTTP/1.1\r\n{HEAD}");

    // Enough of them for both workers: in the middle of a body that the client doesn't take, of a head, and between requests.
    let mut slow: Vec<_> = (0..4).map(|_| connect(&get("large"))).collect();
    let mut half: Vec<_> = (0..8).map(|_| connect("GET /small HTTP/1.1\r\n")).collect();
    let mut kept: Vec<_> = (0..8).map(|_| connect(&get("small"))).collect();
    for stream in &mut kept {
        assert_eq!(body(stream, 3).unwrap(), b"yes");
    }
    for stream in &mut slow {
        // Its body has begun: the worker waits until the socket takes more.
        stream.peek(&mut [0]).unwrap();
    }
    assert_eq!(server.engine(), Running::Uring);
    server.workers.break_rings();

    for stream in &mut kept {
        stream.write_all(get("small").as_bytes()).unwrap();
        assert_eq!(body(stream, 3).unwrap(), b"yes", "kept");
    }
    for stream in &mut half {
        stream.write_all(HEAD.as_bytes()).unwrap();
        assert_eq!(body(stream, 3).unwrap(), b"yes", "in the middle of a head");
    }
    for stream in &mut slow {
        assert!(body(stream, large.len()).unwrap() == large, "in the middle of a body");
    }
    for _ in 0..16 {
        assert_eq!(body(&mut connect(&get("small")), 3).unwrap(), b"yes", "new");
    }
    let engine = server.engine().to_string();
    assert!(engine.starts_with("epoll (io_uring failed: "), "{engine}");
    drop((slow, half, kept));
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while server.stats().open > 0 {
        assert!(std::time::Instant::now() < end, "a connection hangs: {:?}", server.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
    server.shutdown();
}
