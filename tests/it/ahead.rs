//! While a file settles, its hosts are connected to, so that its first request waits for no handshake.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use crate::bench_top::{Bench, Daemon};

/// A host that is connected to and says nothing, and the daemon that has files for it.
struct Silent {
    listener: TcpListener,
    bench: Bench,
    daemon: Daemon,
}

impl Silent {
    /// Of this kind, with these further lines in its table. Files settle for 9 seconds, which is longer than the test takes.
    fn of(kind: &'static str, lines: &str) -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let bench = Bench::new().to(&[kind]).host(lines).watch("settle = \"9s\"");
        let there = bench.sandbox.addr().to_string();
        let bench = bench.change(&there, &listener.local_addr().unwrap().to_string());
        let daemon = bench.start();
        bench.wait_watching();
        Silent { listener, bench, daemon }
    }

    fn connection(&self) -> TcpStream {
        self.bench.wait_for("a connection", || self.listener.accept().ok()).0
    }

    /// Stops the daemon before anything has settled. Answers what came over these connections, and whether there were others.
    fn end(self, connections: Vec<TcpStream>) -> (Vec<u8>, bool) {
        assert!(self.bench.jobs().is_empty(), "nothing has settled");
        self.bench.stop(self.daemon);
        let mut came = Vec::new();
        for mut connection in connections {
            connection.set_nonblocking(false).unwrap();
            connection.read_to_end(&mut came).unwrap();
        }
        (came, self.listener.accept().is_ok())
    }
}

#[test]
fn a_host_of_any_kind_is_connected_to_while_its_file_settles_and_is_asked_nothing() {
    for kind in ferryd_sandbox::kinds().into_iter().filter(|kind| *kind != "example") {
        let host = Silent::of(kind, "");
        host.bench.put("a", b"something");
        let connection = host.connection();
        assert_eq!(host.end(vec![connection]), (Vec::new(), false), "{kind}");
    }
}

#[test]
fn several_files_have_as_many_connections_as_the_host_begins_with() {
    let host = Silent::of("cloudkp", "");
    // Of files that come while the host is still being made, only the first is heeded.
    host.bench.put("a", b"something");
    let mut connections = vec![host.connection()];
    for name in ["b", "c", "d", "e", "f"] {
        host.bench.put(name, b"something");
    }
    connections.extend((0..3).map(|_| host.connection()));
    assert_eq!(host.end(connections), (Vec::new(), false));
}

#[test]
fn a_host_that_may_have_one_request_at_once_has_one_connection() {
    let host = Silent::of("cloudkp", "max_connections = 1");
    for name in ["a", "b", "c"] {
        host.bench.put(name, b"something");
    }
    let connection = host.connection();
    assert_eq!(host.end(vec![connection]), (Vec::new(), false));
}
