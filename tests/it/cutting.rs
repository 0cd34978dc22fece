//! A proxy that forwards every request whole, and keeps some of the replies to itself: what its client has asked for is done, and the
//! client does not hear of it.
//!
//! Each request goes on over a connection of its own, which ends with its reply, so that no reply needs to be understood.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The proxy, for as long as the process lives.
pub(crate) struct Cutting {
    pub(crate) address: SocketAddr,
    kept: Arc<AtomicU64>,
}

/// Whether the reply to a request is kept, of which this is the first line.
type IsCut = Mutex<Box<dyn FnMut(&str) -> bool + Send>>;

impl Cutting {
    /// Before `server`. It keeps the reply to each request that `is_cut`, which is asked in the order in which they have come whole.
    pub(crate) fn before(server: SocketAddr, is_cut: impl FnMut(&str) -> bool + Send + 'static) -> Cutting {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (kept, is_cut): (_, Arc<IsCut>) = (Arc::<AtomicU64>::default(), Arc::new(Mutex::new(Box::new(is_cut))));
        let kept_here = kept.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (kept, is_cut) = (kept_here.clone(), is_cut.clone());
                // A connection that breaks is part of the play.
                std::thread::spawn(move || forward(client, server, &is_cut, &kept).ok());
            }
        });
        Cutting { address, kept }
    }

    /// The same. It keeps every second reply to this method, up to so many.
    pub(crate) fn of_method(server: SocketAddr, method: &'static str, most: usize) -> Cutting {
        let mut met = 0;
        Cutting::before(server, move |first| {
            let is_meant = first.split(' ').next() == Some(method);
            met += usize::from(is_meant);
            is_meant && met % 2 == 1 && met < 2 * most
        })
    }

    /// How many replies it has kept.
    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }
}

/// One request, its reply, and the end.
fn forward(mut client: TcpStream, server: SocketAddr, is_cut: &IsCut, kept: &AtomicU64) -> std::io::Result<()> {
    let (head, begun) = head(&mut client)?;
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<u64>().ok());
    let (first, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut on = TcpStream::connect(server)?;
    on.write_all(format!("{first}\r\nConnection: close\r\n{rest}").as_bytes())?;
    on.write_all(&begun)?;
    let left = length.unwrap_or(0).saturating_sub(begun.len() as u64);
    std::io::copy(&mut (&client).take(left), &mut on)?;
    let is_cut = (is_cut.lock().unwrap())(first);
    let mut reply = Vec::new();
    on.read_to_end(&mut reply)?;
    if is_cut {
        kept.fetch_add(1, Ordering::Relaxed);
        return client.shutdown(Shutdown::Both);
    }
    client.write_all(&reply)?;
    client.shutdown(Shutdown::Write)
}

/// The head of a request with its empty line, and what came of the body with it.
fn head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let begun = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), begun));
        }
        let bytes = client.read(&mut buffer)?;
        if bytes == 0 || read.len() > HEAD_BYTES_MAX {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&buffer[..bytes]);
    }
}
