//! One call: messages out, messages in, and how it ended.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use proto::Message;

use crate::Error;

/// A flag (0: not compressed) and a length stand before each message.
const HEAD_BYTES: usize = 5;
/// Larger messages than anybody has a use for.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A call that is under way; who drops it gives it up.
#[derive(Debug)]
pub struct Call {
    body: SendStream<Bytes>,
    reply: Reply,
    received: BytesMut,
    /// The largest message that is taken, where somebody has said it.
    receive_bytes: Option<usize>,
    /// Counts the call among those of its connection.
    _under_way: Arc<()>,
}

/// What has come of the reply.
#[derive(Debug)]
enum Reply {
    Awaited(ResponseFuture),
    Streaming(RecvStream),
    Ended,
}

impl Call {
    pub(crate) fn new(reply: ResponseFuture, body: SendStream<Bytes>, under_way: Arc<()>) -> Call {
        Call {
            body,
            reply: Reply::Awaited(reply),
            received: BytesMut::new(),
            receive_bytes: None,
            _under_way: under_way,
        }
    }

    /// Refuses messages that are larger.
    pub(crate) fn limit(&mut self, receive_bytes: usize) {
        self.receive_bytes = Some(receive_bytes);
    }

    /// Sends a message that is encoded already, perhaps the last one.
    pub fn send_bytes(&mut self, message: &[u8], last: bool) -> Result<(), Error> {
        let mut frame = BytesMut::with_capacity(HEAD_BYTES + message.len());
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).map_err(Error::lost)?);
        frame.put(message);
        self.body.send_data(frame.freeze(), last).map_err(Error::lost)
    }

    /// Says that no more messages come.
    pub fn close(&mut self) -> Result<(), Error> {
        self.body.send_data(Bytes::new(), true).map_err(Error::lost)
    }

    /// Sends a message, perhaps the last one.
    pub(crate) fn send(&mut self, message: &impl Message, last: bool) -> Result<(), Error> {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(HEAD_BYTES + length);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(length).map_err(Error::lost)?);
        message.encode(&mut frame).map_err(Error::lost)?;
        self.body.send_data(frame.freeze(), last).map_err(Error::lost)
    }

    /// The one message of a reply that has one.
    pub(crate) async fn only<M: Message + Default>(&mut self) -> Result<M, Error> {
        let message = self.next().await?;
        let message = message.ok_or_else(|| Error::lost("an OK without a message"))?;
        match self.next::<M>().await? {
            None => Ok(message),
            Some(_) => Err(Error::lost("one message too many")),
        }
    }

    /// The one message of a reply that has one, as it came.
    pub async fn only_bytes(&mut self) -> Result<Bytes, Error> {
        let message = self.next_bytes().await?;
        let message = message.ok_or_else(|| Error::lost("an OK without a message"))?;
        match self.next_bytes().await? {
            None => Ok(message),
            Some(_) => Err(Error::lost("one message too many")),
        }
    }

    /// The next message; `None` when the call has ended well.
    pub(crate) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Error> {
        match self.next_bytes().await? {
            Some(message) => M::decode(message).map(Some).map_err(Error::lost),
            None => Ok(None),
        }
    }

    /// The next message as it came; `None` when the call has ended well. Nothing is lost when the
    /// future is dropped.
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
            match &mut self.reply {
                Reply::Ended => return Ok(None),
                Reply::Awaited(reply) => {
                    let reply = reply.await.map_err(Error::lost)?;
                    // A reply without a body has its status among the headers.
                    if let Some(ended) = ended(reply.headers()) {
                        self.reply = Reply::Ended;
                        return ended.map(|()| None);
                    }
                    if reply.status() != http::StatusCode::OK {
                        return Err(Error::lost(format!("HTTP status {}", reply.status())));
                    }
                    self.reply = Reply::Streaming(reply.into_body());
                }
                Reply::Streaming(body) => match body.data().await {
                    Some(data) => {
                        let data = data.map_err(Error::lost)?;
                        let released = body.flow_control().release_capacity(data.len());
                        released.map_err(Error::lost)?;
                        self.received.put(data);
                    }
                    None => {
                        let trailers = body.trailers().await.map_err(Error::lost)?;
                        self.reply = Reply::Ended;
                        let ended = trailers.as_ref().and_then(ended);
                        let ended = ended.unwrap_or_else(|| Err(Error::lost("no status came")));
                        return ended.map(|()| None);
                    }
                },
            }
        }
    }

    fn take_message(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((&[flag, length @ ..], _)) = self.received.split_first_chunk::<HEAD_BYTES>()
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(length) as usize;
        if flag != 0 || (self.receive_bytes.is_none() && length > MESSAGE_BYTES_MAX) {
            return Err(Error::lost("a message that nobody asked for so"));
        }
        if let Some(limit) = self.receive_bytes.filter(|limit| length > *limit) {
            return Err(Error::too_large("received", length, limit));
        }
        if self.received.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.received.advance(HEAD_BYTES);
        Ok(Some(self.received.split_to(length).freeze()))
    }
}

/// How a call has ended, where these headers say so.
fn ended(headers: &HeaderMap) -> Option<Result<(), Error>> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status")?.parse().unwrap_or(2);
    if code == 0 {
        return Some(Ok(()));
    }
    let message = unescape(text("grpc-message").unwrap_or_default());
    Some(Err(Error::Status { code, message }))
}

/// What is not plain ASCII comes as `%` and two digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.as_bytes());
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_are_read_and_other_percents_stay() {
        assert_eq!(unescape("a %C3%A4%25"), "a ä%");
        assert_eq!(unescape("100%"), "100%");
        assert_eq!(unescape("%zz%2"), "%zz%2");
        assert_eq!(unescape("%ä"), "%ä");
    }
}
