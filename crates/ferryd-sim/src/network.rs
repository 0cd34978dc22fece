//! The way to the hosts: connections in memory, which break when the process at this end dies.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use ferryd::internals::host::http::{Connecting, Connector, Destination, Stream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use crate::places::ADDRESS;
use crate::world::World;

/// What is on the way between the two ends of a connection, in bytes.
const BUFFER_BYTES: usize = 16 * 1024;
/// The longest time that a connection takes to be made.
const CONNECT_TIME: Duration = Duration::from_millis(200);

/// The network, as the daemon sees it.
pub(crate) struct Network(pub(crate) Weak<World>);

impl Connector for Network {
    fn connect(&self, to: &Destination) -> Connecting<'_> {
        let is_right = (to.host.as_str(), to.port) == ("127.0.0.1", ADDRESS.port());
        Box::pin(async move {
            let world = self.0.upgrade().ok_or(io::ErrorKind::NotConnected)?;
            tokio::time::sleep(CONNECT_TIME.mul_f64(world.fraction())).await;
            if !world.step("connect") || !world.is_online() || !is_right {
                return Err(io::ErrorKind::HostUnreachable.into());
            }
            let (ours, theirs) = duplex(BUFFER_BYTES);
            tokio::spawn(world.sandbox.serve(theirs));
            let restarts = world.state().restarts;
            Ok(Box::new(Wire { end: ours, world: self.0.clone(), restarts }) as Box<dyn Stream>)
        })
    }

    fn keeps_connections(&self) -> bool {
        self.0.upgrade().is_some_and(|world| world.setting.keeps_connections)
    }
}

/// The daemon's end of a connection.
struct Wire {
    end: DuplexStream,
    world: Weak<World>,
    /// How often the hosts had been restarted when it was made.
    restarts: usize,
}

impl Wire {
    fn world(&self) -> io::Result<Arc<World>> {
        let still_there = |world: &Arc<World>| world.is_online() && world.state().restarts == self.restarts;
        let world = self.world.upgrade().filter(still_there);
        world.ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.world()?;
        Pin::new(&mut self.end).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.world()?.step("send") {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.end).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(context)
    }
}
