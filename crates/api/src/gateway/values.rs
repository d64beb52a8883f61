//! The JSON values of a body, one after the other, each as a message in its wire form.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Body as _;
use proto::json::{Scanner, Schema, read};

use crate::answer::Incoming;
use crate::status::{Code, Status};

/// What a value may be longer than the largest message that it stands for. Base64 and escapes make
/// a text longer, and blanks and unknown fields do without a limit.
const SLACK: usize = 4;

/// Reads a body. Never keeps more of it than one value.
pub(super) struct Values {
    body: Incoming,
    schema: &'static Schema,
    /// The largest message.
    limit_bytes: usize,
    scanner: Scanner,
    text: Vec<u8>,
    /// How much of the text the scanner has seen.
    scanned: usize,
    ended: bool,
}

impl Values {
    pub(super) fn new(body: Incoming, schema: &'static Schema, limit_bytes: usize) -> Self {
        let (scanner, text) = (Scanner::new(), Vec::new());
        Self { body, schema, limit_bytes, scanner, text, scanned: 0, ended: false }
    }

    /// The next message; `None` when the body is over.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Status>>> {
        let value = match ready!(self.poll_value(cx)) {
            Ok(Some(value)) => value,
            Ok(None) => return Poll::Ready(None),
            Err(status) => return Poll::Ready(Some(Err(status))),
        };
        let mut wire = Vec::with_capacity(value.len());
        if let Err(error) = read(self.schema, value.trim_ascii_start(), &mut wire) {
            return Poll::Ready(Some(Err(invalid(error))));
        }
        if wire.len() > self.limit_bytes {
            return Poll::Ready(Some(Err(self.too_large(wire.len()))));
        }
        Poll::Ready(Some(Ok(Bytes::from(wire))))
    }

    /// Reads on to the end of the body, or so many bytes more, and forgets what comes.
    pub(super) fn poll_end(
        &mut self,
        patience_bytes: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Status>> {
        while !self.ended && *patience_bytes > 0 {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    *patience_bytes = patience_bytes.saturating_sub(bytes);
                }
                Some(Err(_)) => return Poll::Ready(Err(invalid("unexpected EOF"))),
                None => self.ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, Status>> {
        loop {
            let fresh = self.text.get(self.scanned..).unwrap_or_default();
            if let Some(end) = self.scanner.feed(fresh).map_err(invalid)? {
                let rest = self.text.split_off(self.scanned + end);
                self.scanner = Scanner::new();
                self.scanned = 0;
                return Poll::Ready(Ok(Some(std::mem::replace(&mut self.text, rest))));
            }
            self.scanned = self.text.len();
            if self.scanner.is_blank() {
                self.text.clear();
                self.scanned = 0;
            }
            if self.ended {
                let whole = self.scanner.end().map_err(invalid)?;
                self.scanner = Scanner::new();
                return Poll::Ready(Ok(whole.then(|| std::mem::take(&mut self.text))));
            }
            if self.text.len() > self.limit_bytes.saturating_mul(SLACK) {
                return Poll::Ready(Err(self.too_large(self.text.len())));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.text.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(invalid("unexpected EOF"))),
                None => self.ended = true,
            }
        }
    }

    fn too_large(&self, bytes: usize) -> Status {
        let limit = self.limit_bytes;
        let text = format!("grpc: received message larger than max ({bytes} vs. {limit})");
        Status::new(Code::ResourceExhausted, text)
    }
}

fn invalid(error: impl ToString) -> Status {
    Status::new(Code::InvalidArgument, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::answer::Upload;

    fn all(parts: &[&str], limit: usize) -> Vec<Result<usize, String>> {
        let schema = proto::json::method("/etcdserverpb.KV/Range").expect("is a call").request;
        let upload = Arc::new(Upload::default());
        let mut values = Values::new(upload.reader(), schema, limit);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut got = Vec::new();
        let mut parts = parts.iter();
        loop {
            match values.poll_next(&mut cx) {
                Poll::Ready(Some(Ok(wire))) => got.push(Ok(wire.len())),
                Poll::Ready(Some(Err(status))) => {
                    got.push(Err(status.message.into_owned()));
                    return got;
                }
                Poll::Ready(None) => return got,
                Poll::Pending => match parts.next() {
                    Some(part) => upload.put(Bytes::from((*part).to_owned())),
                    None => upload.end(),
                },
            }
        }
    }

    #[test]
    fn values_come_in_any_parts() {
        let text = " {\"limit\":1}\n{} {\"limit\":\"300\"}{\"limit\":0}\n";
        let expected = [Ok(2), Ok(0), Ok(3), Ok(0)];
        assert_eq!(all(&[text], 100), expected);
        let parts: Vec<String> = text.chars().map(String::from).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        assert_eq!(all(&parts, 100), expected);
        assert!(all(&[], 100).is_empty());
        assert!(all(&["  ", "\n"], 100).is_empty());
    }

    #[test]
    fn what_is_too_large_or_cut_short_is_refused() {
        assert_eq!(all(&["{", "\"limit\":1"], 100), [Err("unexpected EOF".to_owned())]);
        let refused = Err("grpc: received message larger than max (2 vs. 1)".to_owned());
        assert_eq!(all(&["{\"limit\":1}"], 1), [refused]);
        let blanks = " ".repeat(1000);
        assert_eq!(all(&[&blanks, &blanks, "{}"], 1), [Ok(0)]);
        let refused = Err("grpc: received message larger than max (1001 vs. 1)".to_owned());
        assert_eq!(all(&["{", &blanks, "}"], 1), [refused]);
    }
}
