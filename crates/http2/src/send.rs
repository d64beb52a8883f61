//! What is sent to the peer.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bytes::Bytes;

use crate::connection::{Connection, Phase};
use crate::error::ErrorCode;
use crate::frame::{self, MAX_PAYLOAD_BYTES, flag, kind};
use crate::output::Output;
use crate::streams::{Ending, StreamKey};

/// Data goes to the output until so much waits there; the rest stays with its stream, so that a
/// stream that comes later is not behind all of it.
const OUTPUT_DATA_BYTES: usize = 256 << 10;
/// A queue is short again below this.
const ROOM_BYTES: usize = 32 << 10;
/// The largest stream number; as the last one in a GOAWAY it promises to serve what comes.
const LAST_POSSIBLE_STREAM: u32 = 0x7fff_ffff;
/// What a header block says first when the table is given up (RFC 7541, section 6.3).
const NO_TABLE: u8 = 0x20;

impl Connection {
    /// Sends the head of a response: an encoded block with `:status` first.
    pub fn headers(&mut self, key: StreamKey, block: &[u8], end: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.head_sent {
            return;
        }
        stream.head_sent = true;
        self.send_block(key.id, block, end);
        if end {
            self.sent_all(key);
        }
    }

    /// Sends a part of the body, with `prefix` in front. What the windows do not allow waits.
    pub fn data(&mut self, key: StreamKey, prefix: &[u8], body: Bytes) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.head_sent || stream.ending != Ending::Open {
            return;
        }
        let len = prefix.len() + body.len();
        if len == 0 {
            return;
        }
        let window = stream.send_window.min(self.send_window);
        let at_once = stream.queue.is_empty()
            && len <= MAX_PAYLOAD_BYTES
            && len as i64 <= window
            && self.output.len() < OUTPUT_DATA_BYTES;
        if at_once {
            stream.send_window -= len as i64;
            self.send_window -= len as i64;
            self.output.put(&frame::header(kind::DATA, 0, key.id, len));
            self.output.put(prefix);
            self.output.put_bytes(body);
            self.progress += 1;
            return;
        }
        if !prefix.is_empty() {
            stream.queue.push_back(Bytes::copy_from_slice(prefix));
        }
        if !body.is_empty() {
            stream.queue.push_back(body);
        }
        stream.queued += len;
        self.line_up(key);
    }

    /// Ends the body.
    pub fn end(&mut self, key: StreamKey) {
        self.finish(key, Ending::Data);
    }

    /// Sends an encoded block behind the body, and ends it.
    pub fn trailers(&mut self, key: StreamKey, block: Bytes) {
        self.finish(key, Ending::Trailers(block));
    }

    fn finish(&mut self, key: StreamKey, ending: Ending) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.head_sent || stream.ending != Ending::Open {
            return;
        }
        stream.ending = ending;
        if stream.queue.is_empty() {
            self.send_ending(key);
        }
    }

    fn send_ending(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match stream.ending.clone() {
            Ending::Open => return,
            Ending::Data => {
                self.output.put(&frame::header(kind::DATA, flag::END_STREAM, key.id, 0));
                self.progress += 1;
            }
            Ending::Trailers(block) => self.send_block(key.id, &block, true),
        }
        self.sent_all(key);
    }

    /// Our half is done. A peer that still speaks then has until the output is taken: many send the
    /// end of a request as a frame of its own, which lies right behind.
    fn sent_all(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.sent_all = true;
        if stream.received_all {
            self.streams.remove(key);
        } else {
            self.outspoken.push(key);
        }
        self.forgive();
    }

    /// Who is still speaking is told that nobody listens.
    fn hang_up(&mut self) {
        while let Some(key) = self.outspoken.pop() {
            self.reset(key, ErrorCode::NO_ERROR);
        }
    }

    /// Ends a stream; what it has queued is dropped.
    pub fn reset(&mut self, key: StreamKey, code: ErrorCode) {
        if self.streams.get(key).is_some() {
            self.send_reset(key.id, code);
            self.streams.remove(key);
        }
    }

    /// Lets the peer send so much more on a stream.
    pub fn release(&mut self, key: StreamKey, bytes: usize) {
        let half = i64::from(self.config.stream_window_bytes) / 2;
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.unreturned += bytes as i64;
        // More than it has sent is nobody's to give.
        let taken = i64::from(self.config.stream_window_bytes) - stream.receive_window;
        let back = stream.unreturned.min(taken);
        if stream.received_all || back == 0 || back < half {
            return;
        }
        stream.unreturned = 0;
        stream.receive_window += back;
        self.send_window_update(key.id, back);
    }

    /// How much of a stream waits for the peer's windows.
    pub fn queued(&self, key: StreamKey) -> usize {
        self.streams.get(key).map_or(0, |stream| stream.queued)
    }

    /// Whether more may be given to a stream. If not, [`Connection::next_roomy`] tells when.
    pub fn has_room(&mut self, key: StreamKey) -> bool {
        let Some(stream) = self.streams.get_mut(key) else { return false };
        stream.wants_room = stream.queued >= ROOM_BYTES;
        !stream.wants_room
    }

    /// A stream that has room again.
    pub fn next_roomy(&mut self) -> Option<StreamKey> {
        self.roomy.pop_front()
    }

    /// What is to be written, with as much queued data as has its turn.
    pub fn output(&mut self) -> &mut Output {
        self.pump();
        self.hang_up();
        &mut self.output
    }

    /// Counts the frames of responses that were sent, so that a caller can see that there were any.
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Asks the peer whether it is there.
    pub fn ping(&mut self, data: [u8; 8]) {
        self.send_ping(0, data);
    }

    /// Begins to leave: the peer is told to open no more streams; those that it opened before it
    /// heard of it are served.
    pub fn drain(&mut self) {
        if self.phase != Phase::Open {
            return;
        }
        self.phase = Phase::Draining;
        self.send_goaway(LAST_POSSIBLE_STREAM, ErrorCode::NO_ERROR, b"");
        self.send_ping(0, Self::drain_ping());
    }

    pub(crate) fn close_behind_drain(&mut self) {
        self.phase = Phase::Closing(self.last_stream);
        self.send_goaway(self.last_stream, ErrorCode::NO_ERROR, b"");
    }

    /// Leaves now, with a reason; all streams are gone.
    pub fn fail(&mut self, code: ErrorCode, reason: &[u8]) {
        if self.phase != Phase::Closed {
            self.send_goaway(self.last_stream, code, reason);
            self.phase = Phase::Closed;
            self.streams.clear();
            self.line.clear();
        }
    }

    /// Whether nothing more will come in or go out but what is in the output.
    pub fn is_closed(&self) -> bool {
        match self.phase {
            Phase::Closed => true,
            Phase::Closing(_) => self.streams.len() == 0,
            Phase::Open | Phase::Draining => false,
        }
    }

    /// A stream that may send gets in line, once.
    pub(crate) fn line_up(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        if !stream.queue.is_empty() && stream.send_window > 0 && self.streams.mark_in_line(key) {
            self.line.push_back(key.slot);
        }
    }

    pub(crate) fn line_up_all(&mut self) {
        let keys: Vec<StreamKey> = self.streams.keys().collect();
        keys.into_iter().for_each(|key| self.line_up(key));
    }

    /// Moves queued data to the output, one frame of each stream in turn.
    fn pump(&mut self) {
        while self.send_window > 0 && self.output.len() < OUTPUT_DATA_BYTES {
            let Some(slot) = self.line.pop_front() else { return };
            // Whoever has the slot now may have come after the one that lined up.
            let Some(key) = self.streams.leave_line(slot) else { continue };
            self.send_queued(key);
            self.line_up(key);
        }
    }

    /// One frame from the queue of a stream.
    fn send_queued(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let window = stream.send_window.min(self.send_window).max(0);
        let len = stream.queued.min(MAX_PAYLOAD_BYTES).min(usize::try_from(window).unwrap_or(0));
        if len == 0 {
            return;
        }
        stream.send_window -= len as i64;
        self.send_window -= len as i64;
        stream.queued -= len;
        let last = stream.queued == 0 && stream.ending == Ending::Data;
        let flags = if last { flag::END_STREAM } else { 0 };
        self.output.put(&frame::header(kind::DATA, flags, key.id, len));
        self.progress += 1;
        let mut left = len;
        while let Some(first) = stream.queue.front_mut().filter(|_| left > 0) {
            let part = first.split_to(left.min(first.len()));
            left -= part.len();
            if first.is_empty() {
                stream.queue.pop_front();
            }
            self.output.put_bytes(part);
        }
        if stream.wants_room && stream.queued < ROOM_BYTES {
            stream.wants_room = false;
            self.roomy.push_back(key);
        }
        match (stream.queued, last) {
            (0, true) => self.sent_all(key),
            (0, false) => self.send_ending(key),
            _ => {}
        }
    }

    /// A header block, in as many frames as it takes.
    fn send_block(&mut self, id: u32, block: &[u8], end: bool) {
        let mut flags = if end { flag::END_STREAM } else { 0 };
        let mut frame_kind = kind::HEADERS;
        let table: &[u8] = if std::mem::take(&mut self.tell_table) { &[NO_TABLE] } else { &[] };
        let first_len = block.len().min(MAX_PAYLOAD_BYTES - table.len());
        let (mut part, mut rest) = block.split_at(first_len);
        let mut table = table;
        loop {
            flags |= if rest.is_empty() { flag::END_HEADERS } else { 0 };
            let len = table.len() + part.len();
            self.output.put(&frame::header(frame_kind, flags, id, len));
            self.output.put(std::mem::take(&mut table));
            self.output.put(part);
            if rest.is_empty() {
                break;
            }
            (part, rest) = rest.split_at(rest.len().min(MAX_PAYLOAD_BYTES));
            (frame_kind, flags) = (kind::CONTINUATION, 0);
        }
        self.progress += 1;
    }

    pub(crate) fn send_reset(&mut self, id: u32, code: ErrorCode) {
        if self.resets.len() == Self::RECENT_RESETS {
            self.resets.pop_front();
        }
        self.resets.push_back(id);
        self.output.put(&frame::header(kind::RST_STREAM, 0, id, 4));
        self.output.put(&code.0.to_be_bytes());
    }

    pub(crate) fn send_window_update(&mut self, id: u32, bytes: i64) {
        let bytes = u32::try_from(bytes).unwrap_or(0);
        self.output.put(&frame::header(kind::WINDOW_UPDATE, 0, id, 4));
        self.output.put(&bytes.to_be_bytes());
    }

    pub(crate) fn send_ping(&mut self, flags: u8, data: [u8; 8]) {
        self.output.put(&frame::header(kind::PING, flags, 0, data.len()));
        self.output.put(&data);
    }

    pub(crate) fn send_settings(&mut self, settings: &[(u16, u32)]) {
        self.output.put(&frame::header(kind::SETTINGS, 0, 0, settings.len() * 6));
        for (id, value) in settings {
            self.output.put(&id.to_be_bytes());
            self.output.put(&value.to_be_bytes());
        }
    }

    pub(crate) fn send_settings_ack(&mut self) {
        self.output.put(&frame::header(kind::SETTINGS, flag::ACK, 0, 0));
    }

    fn send_goaway(&mut self, last: u32, code: ErrorCode, reason: &[u8]) {
        self.output.put(&frame::header(kind::GOAWAY, 0, 0, 8 + reason.len()));
        self.output.put(&last.to_be_bytes());
        self.output.put(&code.0.to_be_bytes());
        self.output.put(reason);
    }
}
