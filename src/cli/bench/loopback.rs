//! What this machine does without ferryd: the same bytes through one TCP connection over loopback.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::super::render::CommandFailure;
use super::rate::per_second;
use super::stop::Stop;
use super::trouble::failed;

const PIECE_BYTES: usize = 512 * 1024;

/// Bytes a second, of so many bytes or for so long.
pub(super) fn measure(bytes: u64, time: Duration, stop: &Stop) -> Result<u64, CommandFailure> {
    let rate = through_one_connection(bytes, time, stop);
    stop.check()?;
    rate.map_err(|error| failed("cannot measure a connection over loopback", &error))
}

fn through_one_connection(bytes: u64, time: Duration, stop: &Stop) -> io::Result<u64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Connected before anybody takes it: the kernel keeps it until then.
    let mut to = TcpStream::connect(listener.local_addr()?)?;
    let (mut from, _) = listener.accept()?;
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let (mut piece, mut come) = (vec![0; PIECE_BYTES], 0);
            loop {
                match from.read(&mut piece)? {
                    0 => return Ok(come),
                    length => come += length as u64,
                }
            }
        });
        let (begun, mut sent, piece) = (Instant::now(), 0, vec![0x5a; PIECE_BYTES]);
        while sent < bytes && begun.elapsed() < time && !stop.is_asked() {
            let length = PIECE_BYTES.min(usize::try_from(bytes - sent).unwrap_or(PIECE_BYTES));
            to.write_all(&piece[..length])?;
            sent += length as u64;
        }
        drop(to);
        let come: io::Result<u64> = reading.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        Ok(per_second(come?, begun.elapsed()))
    })
}
