//! The bytes of a file as base64 (RFC 4648, section 4), encoded as they flow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};

use super::{Frames, PartSource};

/// A source whose bytes come encoded.
pub(super) struct Base64Source(pub Arc<dyn PartSource>);

/// How many characters `bytes` bytes become.
pub(super) fn encoded_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(3) * 4
}

impl PartSource for Base64Source {
    fn frames(&self) -> Frames {
        Box::pin(Encoding { plain: Some(self.0.frames()), held: BytesMut::new() })
    }

    /// Of the plain bytes.
    fn frames_of(&self, offset: u64, bytes: u64) -> Frames {
        Box::pin(Encoding { plain: Some(self.0.frames_of(offset, bytes)), held: BytesMut::new() })
    }
}

struct Encoding {
    plain: Option<Frames>,
    /// At most two bytes that wait for a third.
    held: BytesMut,
}

impl Body for Encoding {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        loop {
            let Some(plain) = &mut self.plain else { return Poll::Ready(None) };
            let encoded = match ready!(plain.as_mut().poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    self.held.extend_from_slice(&frame.into_data().unwrap_or_default());
                    let whole = self.held.len() / 3 * 3;
                    STANDARD.encode(self.held.split_to(whole))
                }
                None => {
                    self.plain = None;
                    STANDARD.encode(self.held.split())
                }
            };
            if !encoded.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(encoded.into()))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    struct Pieces(Vec<&'static [u8]>);

    impl PartSource for Pieces {
        fn frames(&self) -> Frames {
            Box::pin(Flowing(self.0.clone().into_iter()))
        }

        fn frames_of(&self, _: u64, _: u64) -> Frames {
            self.frames()
        }
    }

    struct Flowing(std::vec::IntoIter<&'static [u8]>);

    impl Body for Flowing {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
            Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
        }
    }

    #[tokio::test]
    async fn pieces_of_any_length_become_one_text() {
        for pieces in [vec![&b""[..]], vec![b"a"], vec![b"ab", b"c"], vec![b"a", b"b", b"", b"cdefg", b"h"], vec![b"hello world"]] {
            let whole = pieces.concat();
            let text = Base64Source(Arc::new(Pieces(pieces))).frames().collect().await.unwrap().to_bytes();
            assert_eq!(text, STANDARD.encode(&whole).as_bytes());
            assert_eq!(text.len() as u64, encoded_bytes(whole.len() as u64));
        }
    }
}
