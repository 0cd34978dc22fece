//! While a file settles, its hosts are connected to, so that its first request waits for no handshake.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::bench_top::{Bench, Daemon};

/// A daemon whose only host, of this kind, is whoever listens at `address`, and who lets files settle for an hour.
fn settling(kind: &'static str, address: SocketAddr) -> (Bench, Daemon) {
    let bench = Bench::new().to(&[kind]).watch("settle = \"1h\"");
    let there = bench.sandbox.addr().to_string();
    let bench = bench.change(&there, &address.to_string());
    let daemon = bench.start();
    bench.wait_watching();
    (bench, daemon)
}

/// Whether nothing has come on this connection, and it has not ended.
fn is_silent(connection: &mut TcpStream) -> bool {
    connection.set_nonblocking(true).unwrap();
    connection.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_host_of_any_kind_is_connected_to_while_its_file_settles_and_is_asked_nothing() {
    for kind in ferryd_sandbox::kinds().into_iter().filter(|kind| *kind != "example") {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (bench, _daemon) = settling(kind, listener.local_addr().unwrap());
        bench.put("a", b"something");
        let (mut connection, _) = listener.accept().unwrap();
        assert!(is_silent(&mut connection), "{kind}");
        assert!(bench.jobs().is_empty(), "{kind}: the file has not settled");
    }
}

#[test]
fn several_files_have_as_many_connections_as_the_host_begins_with() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (bench, daemon) = settling("cloudkp", listener.local_addr().unwrap());
    for name in ["a", "b", "c", "d", "e", "f"] {
        bench.put(name, b"something");
    }
    let mut connections: Vec<TcpStream> = (0..4).map(|_| listener.accept().unwrap().0).collect();
    assert!(connections.iter_mut().all(is_silent));
    bench.stop(daemon);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "no more than these");
}
