//! Requests against servers on this machine: methods, headers, private certificates, proxies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Clients, Proxy, Request, Settings, Transport};
use crate::job::upload::Class;
use crate::os::system::System;
use crate::secret::Secret;

const IDLE: Duration = Duration::from_secs(20);

/// The beginning of a message, up to its empty line, in small letters.
fn head(stream: &mut impl Read) -> String {
    exact_head(stream).to_ascii_lowercase()
}

fn exact_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A server that gives each connection the next of these answers, and what it was asked for, in small letters.
fn server(answers: Vec<String>) -> (SocketAddr, Receiver<String>) {
    let (address, asked) = exact_server(answers);
    let (tell, lowered) = channel();
    std::thread::spawn(move || asked.into_iter().all(|request| tell.send(request.to_ascii_lowercase()).is_ok()));
    (address, lowered)
}

/// The same, with what it was asked for in the letters that came.
fn exact_server(answers: Vec<String>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let request = exact_head(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            drop(stream);
            tell.send(request).ok();
        }
    });
    (address, asked)
}

fn answer(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn transport(settings: &Settings) -> Transport {
    Clients::new(&System::default()).transport(settings, IDLE).unwrap()
}

/// An authority of our own, and a server that shows a certificate of it. The server may stand behind a proxy: then it lets itself
/// be connected to first.
fn private_server(is_behind_proxy: bool) -> (SocketAddr, Arc<[u8]>, Receiver<String>) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "box.example".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if is_behind_proxy {
                tell.send(head(&mut stream)).ok();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            }
            let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config.clone()).unwrap(), stream);
            let request = head(&mut stream);
            // Whoever does not trust the certificate has gone by now.
            let answered = stream.write_all(answer("", "in private").as_bytes()).and_then(|()| stream.flush());
            stream.conn.send_close_notify();
            drop(stream.flush());
            if answered.is_ok() {
                tell.send(request).ok();
            }
        }
    });
    (address, authority.pem().into_bytes().into(), asked)
}

#[tokio::test]
async fn every_method_goes_out_and_the_headers_of_the_reply_come_back() {
    let (address, asked) = server(vec![answer("ETag: \"e1\"\r\nUpload-Offset: 7\r\n", ""); 6]);
    let (transport, url) = (transport(&Settings::default()), format!("http://{address}/f"));
    let requests = [
        (Request::head(&url), "head"),
        (Request::delete(&url), "delete"),
        (Request::patch(&url), "patch"),
        (Request::custom("MKCOL", &url), "mkcol"),
        (Request::custom("PROPFIND", &url).text("application/xml", "<a/>"), "propfind"),
        (Request::get(&url), "get"),
    ];
    for (request, method) in requests {
        let reply = transport.send(request).await.unwrap();
        assert_eq!((reply.header("etag"), reply.header("UPLOAD-OFFSET")), (Some("\"e1\""), Some("7")), "{method}");
        let request = asked.recv().unwrap();
        assert!(request.starts_with(&format!("{method} /f http/1.1\r\n")), "{request}");
        assert!(request.contains(concat!("user-agent: ferryd/", env!("CARGO_PKG_VERSION"), "\r\n")), "{request}");
    }
    let error = transport.send(Request::custom("NO METHOD", &url)).await.unwrap_err();
    assert!(error.said.contains("no valid method") && !error.doubt, "{error:?}");
}

#[tokio::test]
async fn headers_go_out_in_the_letters_of_the_samples() {
    let (address, asked) = exact_server(vec![answer("", "")]);
    let url = format!("http://{address}/f");
    let request = Request::post(&url).header("slug", "a.zip").header("x-user-id", "7").header("authorization", "Bearer k");
    transport(&Settings::default()).send(request.text("text/plain", "")).await.unwrap();
    let request = asked.recv().unwrap();
    for line in ["Slug: a.zip", "X-User-Id: 7", "Authorization: Bearer k", "Content-Type: text/plain", "Host: 127.0.0.1"] {
        assert!(request.contains(&format!("\r\n{line}")), "{line}: {request}");
    }
}

#[tokio::test]
async fn a_secret_in_a_header_leads_on_but_is_not_told() {
    let (address, asked) = server(vec![answer("", "")]);
    let moved = |status: &str| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\nlocation: http://{address}/b?key=hunter2\r\ncontent-length: 0\r\n\r\n")
    };
    drop(asked);
    let (own, asked) = server(vec![moved("201 Created")]);
    let url = format!("http://{own}/a");
    let reply = transport(&Settings::default()).send(Request::post(&url).secret(&Secret::new("hunter2"))).await.unwrap();
    assert_eq!(reply.header("location"), Some(format!("http://{address}/b?key=[secret]").as_str()));
    assert!(asked.recv().unwrap().contains("content-length: 0\r\n"));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let circle =
        format!("HTTP/1.1 307 x\r\nconnection: close\r\nlocation: http://{address}/b?key=hunter2\r\ncontent-length: 0\r\n\r\n");
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        for answer in [circle, answer("", "there")] {
            let (mut stream, _) = listener.accept().unwrap();
            tell.send(head(&mut stream)).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let url = format!("http://{address}/a");
    let request = Request::get(&url).following().secret(&Secret::new("hunter2"));
    assert_eq!(transport(&Settings::default()).send(request).await.unwrap().text, "there");
    assert!(asked.iter().any(|request| request.starts_with("get /b?key=hunter2 ")));
}

#[tokio::test]
async fn a_program_is_named_as_its_user_wants_it() {
    let (address, asked) = server(vec![answer("", "")]);
    let settings = Settings { user_agent: Some("backup/1.0".into()), ..Settings::default() };
    transport(&settings).send(Request::get(&format!("http://{address}/"))).await.unwrap();
    assert!(asked.recv().unwrap().contains("user-agent: backup/1.0\r\n"));
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_its_file_is_named_and_nowhere_else() {
    let (address, pem, _asked) = private_server(false);
    let url = format!("https://{address}/");
    let error = transport(&Settings::default()).send(Request::get(&url)).await.unwrap_err();
    assert_eq!((error.class, error.worsens), (Class::Unreadable, Some(Class::HostRefused)), "{error:?}");
    let settings = Settings { ca: Some(pem), ..Settings::default() };
    assert_eq!(transport(&settings).send(Request::get(&url)).await.unwrap().text, "in private");
    let strangers = Clients::new(&System::default()).for_strangers(&settings, IDLE, true).unwrap();
    assert_eq!(strangers.send(Request::get(&url)).await.unwrap().text, "in private");
}

#[tokio::test]
async fn a_proxy_is_asked_with_its_password_and_resolves_the_name() {
    let (address, asked) = server(vec![answer("", "by proxy")]);
    let settings = Settings { proxy: Proxy::At(Secret::new(format!("http://me:hunter%402@{address}"))), ..Settings::default() };
    let reply = transport(&settings).send(Request::get("http://box.invalid/f?a=1")).await.unwrap();
    assert_eq!(reply.text, "by proxy");
    let request = asked.recv().unwrap();
    assert!(request.starts_with("get http://box.invalid/f?a=1 http/1.1\r\n"), "{request}");
    // me:hunter@2
    let login = "proxy-authorization: basic bwu6ahvudgvyqdi=\r\n";
    assert!(request.contains(login), "{request}");
}

#[tokio::test]
async fn through_a_proxy_a_connection_is_as_private_as_without() {
    let (address, pem, asked) = private_server(true);
    let settings = Settings { ca: Some(pem), proxy: Proxy::At(Secret::new(format!("http://{address}"))), ..Settings::default() };
    assert_eq!(transport(&settings).send(Request::get("https://box.example/f")).await.unwrap().text, "in private");
    assert!(asked.recv().unwrap().starts_with("connect box.example:443 http/1.1\r\n"));
    assert!(asked.recv().unwrap().starts_with("get /f http/1.1\r\n"));
}

#[tokio::test]
async fn a_proxy_that_refuses_our_password_needs_a_person_and_the_password_is_not_told() {
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (address, _asked) = server(vec![refusal.into(), refusal.into()]);
    let settings = Settings { proxy: Proxy::At(Secret::new(format!("http://me:hunter2@{address}"))), ..Settings::default() };
    let error = transport(&settings).send(Request::get("https://box.invalid/")).await.unwrap_err();
    assert!(error.class == Class::HostRefused && error.said.contains("`proxy`"), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let reply = transport(&settings).send(Request::get("http://box.invalid/")).await.unwrap();
    assert!(reply.refusal().class == Class::HostRefused && reply.said().contains("check `proxy`"));
}

#[tokio::test]
async fn a_proxy_that_is_away_is_named_as_the_way() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { proxy: Proxy::At(Secret::new(format!("http://me:hunter2@{closed}"))), ..Settings::default() };
    for url in ["http://box.invalid/", "https://box.invalid/"] {
        let error = transport(&settings).send(Request::get(url)).await.unwrap_err();
        assert_eq!((error.class, error.doubt), (Class::Transient, false), "{error:?}");
        assert!(error.said.ends_with("the connection goes through `proxy`"), "{}", error.said);
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

/// A proxy would resolve names itself, private ones, too.
#[tokio::test]
async fn what_a_reply_names_is_never_asked_of_a_proxy_unless_private_addresses_are_allowed() {
    let (address, asked) = server(vec![answer("", "by proxy")]);
    let settings = Settings { proxy: Proxy::At(Secret::new(format!("http://{address}"))), ..Settings::default() };
    let clients = Clients::new(&System::default());
    let strict = clients.for_strangers(&settings, IDLE, false).unwrap();
    let error = strict.send(Request::get("http://localhost:1/")).await.unwrap_err();
    assert!(error.worsens == Some(Class::HostRefused) && error.said.contains("private network"), "{error:?}");
    assert!(asked.try_recv().is_err());
    let allowed = clients.for_strangers(&settings, IDLE, true).unwrap();
    assert_eq!(allowed.send(Request::get("http://localhost:1/")).await.unwrap().text, "by proxy");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_dribbles_is_given_up_a_minute_after_it_has_begun() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let dribbling = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n").await.unwrap();
        // Each byte comes before the patience with a silent host has ended.
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    };
    let transport = transport(&Settings::default());
    let begun = tokio::time::Instant::now();
    let error = tokio::select! {
        () = dribbling => unreachable!("the reply goes on for days"),
        reply = transport.send(Request::get(&url)) => reply.unwrap_err(),
    };
    assert!((60..70).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!((error.class, error.status, error.doubt), (Class::Transient, Some(200), true), "{error:?}");
}

#[tokio::test]
async fn a_request_takes_the_connection_that_was_made_ahead_whose_handshake_is_over() {
    let (address, asked) = server(vec![answer("", "plain")]);
    let ours = transport(&Settings::default());
    let url = format!("http://{address}/up");
    // The server takes no second connection.
    ours.open_ahead(&url, 1, 1).await.unwrap();
    assert_eq!(ours.send(Request::get(&url)).await.unwrap().text, "plain");
    assert!(asked.recv().unwrap().starts_with("get /up "), "nothing else was sent");

    // This one takes one connection after the other.
    let (address, ca, _asked) = private_server(false);
    let secure = transport(&Settings { ca: Some(ca), ..Settings::default() });
    let url = format!("https://{address}/up");
    secure.open_ahead(&url, 1, 1).await.unwrap();
    assert_eq!(secure.send(Request::get(&url)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_connection_that_was_made_ahead_and_is_closed_by_then_is_not_used() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/up", listener.local_addr().unwrap());
    let (tell, closed) = tokio::sync::oneshot::channel();
    let served = std::thread::spawn(move || {
        drop(listener.accept().unwrap());
        tell.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        exact_head(&mut stream);
        stream.write_all(answer("", "second").as_bytes()).unwrap();
    });
    let ours = transport(&Settings::default());
    ours.open_ahead(&url, 1, 1).await.unwrap();
    closed.await.unwrap();
    // Whatever the kernel knows by now, the runtime knows after the next answer from it.
    let (other, _asked) = server(vec![answer("", "")]);
    ours.send(Request::get(&format!("http://{other}/"))).await.unwrap();
    assert_eq!(ours.send(Request::get(&url)).await.unwrap().text, "second");
    served.join().unwrap();
}

#[tokio::test]
async fn none_is_made_ahead_where_one_waits_already() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/up", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..2 {
            exact_head(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
        listener.set_nonblocking(true).unwrap();
        listener.accept().map(drop).unwrap_err().kind()
    });
    let ours = transport(&Settings::default());
    ours.open_ahead(&url, 1, 1).await.unwrap();
    ours.open_ahead(&url, 1, 1).await.unwrap();
    ours.send(Request::get(&url)).await.unwrap();
    ours.open_ahead(&url, 1, 1).await.unwrap();
    ours.send(Request::get(&url)).await.unwrap();
    assert_eq!(served.join().unwrap(), std::io::ErrorKind::WouldBlock, "one connection carries everything");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_ahead_fails_with_the_words_of_a_request() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ours = transport(&Settings::default());
    let url = format!("http://{address}/up");
    let (ahead, request) = (ours.open_ahead(&url, 2, 4).await, ours.send(Request::get(&url)).await);
    assert_eq!(ahead.unwrap_err().said, request.err().unwrap().said);
}
