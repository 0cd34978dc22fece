//! A proxy that counts the bytes that go to a server, and lets no more through than so many a second.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The proxy, for as long as the process lives.
pub(crate) struct Counting {
    pub(crate) address: SocketAddr,
    counted: Arc<AtomicU64>,
}

impl Counting {
    pub(crate) fn before(server: SocketAddr, bytes_per_second: u64) -> Counting {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let counted = Arc::<AtomicU64>::default();
        let (here, next) = (counted.clone(), Arc::<Mutex<Option<Instant>>>::default());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(on) = TcpStream::connect(server) else { continue };
                on.set_nodelay(true).unwrap();
                client.set_nodelay(true).unwrap();
                let (back, to) = (on.try_clone().unwrap(), client.try_clone().unwrap());
                let (counted, next) = (here.clone(), next.clone());
                std::thread::spawn(move || {
                    pass(client, on, |bytes| {
                        counted.fetch_add(bytes, Ordering::Relaxed);
                        wait(&next, bytes, bytes_per_second);
                    })
                });
                std::thread::spawn(move || pass(back, to, |_| ()));
            }
        });
        Counting { address, counted }
    }

    /// What has come from clients.
    pub(crate) fn bytes(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

/// As long as so many bytes take on a link that carries so much, and that others use, too: `next` is when it is free.
fn wait(next: &Mutex<Option<Instant>>, bytes: u64, bytes_per_second: u64) {
    let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
    let now = Instant::now();
    let until = {
        let mut next = next.lock().unwrap();
        let until = next.filter(|next| *next > now).unwrap_or(now) + takes;
        *next = Some(until);
        until
    };
    std::thread::sleep(until.saturating_duration_since(now));
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: impl Fn(u64)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        count(bytes as u64);
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Read).ok();
    to.shutdown(Shutdown::Write).ok();
}
