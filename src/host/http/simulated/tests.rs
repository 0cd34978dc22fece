//! What a simulator's connections show of a host, beside what those of the machine show.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::super::{Clients, Reply, Request, Settings, Transport};
use super::{Connecting, Connector, Destination};
use crate::host::HostError;
use crate::job::upload::Class;
use crate::os::system::System;

const IDLE: Duration = Duration::from_secs(20);

/// What the other end does.
#[derive(Debug, Clone, Copy)]
enum Peer {
    /// Nobody is there.
    Refuses,
    /// Nobody says whether anybody is there.
    IsFarAway,
    /// Goes away at once.
    Leaves,
    /// Reads a request, answers this, and goes away.
    Says(&'static str),
    /// Takes whatever comes and says nothing.
    Hangs,
    /// Answers so many requests on a connection, and goes away without a word.
    Answers(usize),
}

/// A network with one host.
struct Lan {
    peer: Peer,
    keeps: bool,
    connections: AtomicUsize,
}

impl Connector for Lan {
    fn connect(&self, to: &Destination) -> Connecting<'_> {
        assert!(!to.is_secure, "{to:?}");
        Box::pin(async {
            match self.peer {
                Peer::Refuses => return Err(ErrorKind::ConnectionRefused.into()),
                Peer::IsFarAway => std::future::pending().await,
                _ => {}
            }
            self.connections.fetch_add(1, Ordering::Relaxed);
            let (ours, theirs) = duplex(4096);
            tokio::spawn(play(self.peer, theirs));
            Ok(Box::new(ours) as Box<dyn super::Stream>)
        })
    }

    fn keeps_connections(&self) -> bool {
        self.keeps
    }
}

/// Reads a head; whether there was one.
async fn asked(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

async fn play(peer: Peer, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    match peer {
        Peer::Says(text) if asked(&mut stream).await => stream.write_all(text.as_bytes()).await.unwrap(),
        Peer::Answers(times) => {
            for _ in 0..times {
                if asked(&mut stream).await {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
                }
            }
        }
        Peer::Hangs => drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await),
        _ => {}
    }
}

fn lan(peer: Peer, keeps: bool) -> (Transport, Arc<Lan>) {
    let lan = Arc::new(Lan { peer, keeps, connections: AtomicUsize::new(0) });
    let clients = Clients::simulated(&System::default(), lan.clone()).unwrap();
    (clients.transport(&Settings::default(), IDLE).unwrap(), lan)
}

async fn over_a_socket(peer: Peer) -> Result<Reply, HostError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/f?key=HUSH", listener.local_addr().unwrap());
    if matches!(peer, Peer::Refuses) {
        drop(listener);
    } else {
        tokio::spawn(async move { play(peer, listener.accept().await.unwrap().0).await });
    }
    Transport::new(&System::default(), IDLE).unwrap().send(Request::get(&url)).await
}

#[tokio::test]
async fn a_connection_of_a_simulator_breaks_as_one_of_the_machine_does() {
    let peers = [
        Peer::Refuses,
        Peer::Leaves,
        Peer::Says(""),
        Peer::Says("HTTP/1.1 20"),
        Peer::Says("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"),
        Peer::Says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n"),
        Peer::Says("SSH-2.0-somebody else\r\n\r\n"),
        Peer::Says("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nbusy"),
        Peer::Says("HTTP/1.1 200 OK\r\n\r\nuntil the end"),
    ];
    for peer in peers {
        let real = over_a_socket(peer).await;
        let (transport, _) = lan(peer, true);
        let simulated = transport.send(Request::get("http://127.0.0.1:80/f?key=HUSH")).await;
        match (real, simulated) {
            (Ok(real), Ok(simulated)) => assert_eq!(real, simulated, "{peer:?}"),
            (Err(real), Err(simulated)) => {
                let facts = |error: &HostError| (error.class, error.doubt, error.status, error.wait);
                assert_eq!(facts(&real), facts(&simulated), "{peer:?}: {real:?} {simulated:?}");
                let start = |error: &HostError| error.said.split("127.0.0.1").next().map(str::to_owned);
                assert_eq!(start(&real), start(&simulated), "{peer:?}");
                assert!(!simulated.said.contains("HUSH") && !format!("{simulated:?}").contains("HUSH"), "{simulated:?}");
            }
            (real, simulated) => panic!("{peer:?}: {real:?} {simulated:?}"),
        }
    }
}

#[tokio::test]
async fn what_was_refused_was_not_sent_and_what_broke_may_have_been() {
    for (peer, doubt, words) in [
        (Peer::Refuses, false, "cannot connect to box.example:8080: connection refused"),
        (Peer::Leaves, true, "the connection to box.example:8080 failed: "),
        (Peer::Says("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n."), true, "the reply (200) was cut short: "),
    ] {
        let (transport, _) = lan(peer, true);
        let error = transport.send(Request::put("http://box.example:8080/f").text("text/plain", "bytes")).await.unwrap_err();
        assert_eq!((error.class, error.doubt), (Class::Transient, doubt), "{error:?}");
        assert!(error.said.starts_with(words), "{}", error.said);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_nothing_is_given_up_when_its_time_is_over_and_nobody_waits_for_it() {
    for (peer, patience, doubt, words) in [
        (Peer::Hangs, IDLE, true, "no data was transferred for 20 s"),
        (Peer::IsFarAway, Duration::from_secs(15), false, "cannot connect to box.example:80: "),
    ] {
        let begun = Instant::now();
        let (transport, _) = lan(peer, true);
        let error = transport.send(Request::get("http://box.example/")).await.unwrap_err();
        assert!(error.doubt == doubt && error.said.starts_with(words), "{error:?}");
        assert_eq!(begun.elapsed().as_secs(), patience.as_secs(), "{peer:?}");
    }
}

/// How many connections so many requests needed, with a pause after each.
async fn connections(peer: Peer, keeps: bool, requests: usize, pause: Duration) -> usize {
    let (transport, lan) = lan(peer, keeps);
    for _ in 0..requests {
        assert_eq!(transport.send(Request::get("http://box.example/")).await.unwrap().text, "hi");
        tokio::time::sleep(pause).await;
    }
    lan.connections.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_connection_carries_further_requests_until_it_is_closed_or_has_rested_for_too_long() {
    let second = Duration::from_secs(1);
    assert_eq!(connections(Peer::Answers(9), true, 4, second).await, 1);
    assert_eq!(connections(Peer::Answers(2), true, 4, second).await, 2, "one that the host closed is made again");
    assert_eq!(connections(Peer::Answers(9), true, 4, 31 * second).await, 4);
    assert_eq!(connections(Peer::Answers(9), false, 4, second).await, 4);
}
