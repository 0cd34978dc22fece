//! A server that reads requests to their end, keeps nothing, and answers all of them the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

/// How much of a request's beginning is shown to whoever wants to hear of it.
const SHOWN_BYTES: usize = 16 * 1024;

/// Listens until the process ends. `hear` is told of each request when it is complete: when its first byte came, and how it begins.
pub(crate) fn serve(reply: &'static [u8], hear: impl Fn(Instant, &[u8]) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let hear = hear.clone();
            std::thread::spawn(move || answer(stream, reply, &hear));
        }
    });
    addr
}

fn answer(mut stream: TcpStream, reply: &[u8], hear: &dyn Fn(Instant, &[u8])) {
    stream.set_nodelay(true).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", reply.len());
    let answer = [head.as_bytes(), reply].concat();
    let mut buffer = vec![0; 256 * 1024];
    while let Some((first, beginning)) = request(&mut stream, &mut buffer) {
        hear(first, &beginning);
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Reads one request; nothing when the other side has gone.
fn request(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<(Instant, Vec<u8>)> {
    let (mut beginning, mut first, mut read, mut whole) = (Vec::new(), None, 0, None);
    while whole.is_none_or(|whole| read < whole) {
        let bytes = stream.read(buffer).ok().filter(|bytes| *bytes > 0)?;
        first.get_or_insert_with(Instant::now);
        read += bytes;
        let room = SHOWN_BYTES.saturating_sub(beginning.len());
        beginning.extend_from_slice(&buffer[..bytes.min(room)]);
        whole = whole.or_else(|| length(&beginning));
    }
    Some((first?, beginning))
}

/// The bytes of the whole request, once its head is there.
fn length(beginning: &[u8]) -> Option<usize> {
    let end = beginning.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&beginning[..end]).to_ascii_lowercase();
    let body = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some(end + body.unwrap_or(0))
}
