//! A proxy that cuts: of some requests it passes everything on, and ends the connection when the answer comes. Knows no more of HTTP
//! than how a request begins, so it stands before any server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Loses every second answer to a method, up to so many.
pub(crate) struct Cutting {
    address: SocketAddr,
    rule: Arc<Rule>,
}

struct Rule {
    method: &'static str,
    max: u64,
    met: AtomicU64,
    lost: AtomicU64,
}

impl Rule {
    /// Whether the answer to what begins with these bytes is to be lost.
    fn cuts(&self, begins: &[u8]) -> bool {
        let is_meant = begins.strip_prefix(self.method.as_bytes()).is_some_and(|rest| rest.starts_with(b" "));
        is_meant && self.met.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) && self.lost.load(Ordering::Relaxed) < self.max
    }
}

impl Cutting {
    /// Stands before a server.
    pub(crate) fn before(server: SocketAddr, method: &'static str, max: u64) -> Cutting {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rule = Arc::new(Rule { method, max, met: AtomicU64::new(0), lost: AtomicU64::new(0) });
        let kept = rule.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                pass(client, server, &rule);
            }
        });
        Cutting { address, rule: kept }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many answers were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.rule.lost.load(Ordering::Relaxed)
    }
}

/// Both ways of one connection, each in a thread that ends with it.
fn pass(client: TcpStream, server: TcpStream, rule: &Arc<Rule>) {
    let is_cut = Arc::new(AtomicBool::new(false));
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (there, asked) = (rule.clone(), is_cut.clone());
    std::thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if there.cuts(&bytes[..count]) {
                asked.store(true, Ordering::Relaxed);
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).ok();
    });
    let (mut from, mut to, rule) = (server, client, rule.clone());
    std::thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if is_cut.load(Ordering::Relaxed) {
                rule.lost.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    });
}
