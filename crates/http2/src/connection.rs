//! The connection: what the peer sends, frame by frame. What is sent to it is in `send`.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::VecDeque;

use crate::error::{ErrorCode, Fault};
use crate::frame::{self, Frame, flag, kind, setting};
use crate::head::Head;
use crate::hpack::Decoder;
use crate::output::Output;
use crate::streams::{Ending, Stream, StreamKey, Streams};

/// No more is read while so much waits to be written: a peer that asks has to listen.
const OUTPUT_LIMIT_BYTES: usize = 1 << 20;
/// So many frames without any use are borne until [`Connection::calm_down`].
const NUISANCE_LIMIT: u32 = 10_000;
/// So many of them one header list counts for that is too large.
const LARGE_HEAD: u32 = 100;
/// Frames of one header block.
const CONTINUATION_LIMIT: u32 = 64;
/// The ping whose answer says that the peer has seen that we leave.
const DRAIN_PING: [u8; 8] = *b"draining";

/// What a connection offers and bears.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How much of each body the peer may send ahead.
    pub stream_window_bytes: u32,
    /// How much of all bodies together.
    pub connection_window_bytes: u32,
    /// Streams at a time; more are refused.
    pub concurrent_streams: u32,
    /// Names, values and 32 bytes for each field. A larger head ends its stream.
    pub header_list_bytes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 8 << 20,
            concurrent_streams: u32::MAX,
            header_list_bytes: 64 << 10,
        }
    }
}

/// What has come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request has begun: see [`Connection::head`], until the next event.
    Head {
        /// Whose.
        stream: StreamKey,
        /// There is no body.
        end: bool,
    },
    /// A part of its body.
    Data {
        /// Whose.
        stream: StreamKey,
        /// The part; give it back to the window with [`Connection::release`].
        data: &'a [u8],
        /// It was the last one.
        end: bool,
    },
    /// The stream is over before its time; nothing can be sent on it.
    Reset {
        /// Whose.
        stream: StreamKey,
        /// The peer's reason, or ours.
        code: ErrorCode,
    },
    /// The peer wants to know whether we are there. It is answered already.
    Ping,
    /// The answer to a ping of ours.
    Pong([u8; 8]),
}

/// A header block of which more is to come.
#[derive(Debug)]
struct Block {
    stream: u32,
    end: bool,
    frames: u32,
    bytes: Vec<u8>,
}

/// How far the connection is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The peer was told that we leave; what it sends meanwhile is served.
    Draining,
    /// Streams above this one are not looked at.
    Closing(u32),
    Closed,
}

/// The server side of one connection.
#[derive(Debug)]
pub struct Connection {
    pub(crate) config: Config,
    pub(crate) phase: Phase,
    /// How much of the preface is still to come.
    preface: &'static [u8],
    greeted: bool,
    hpack: Decoder,
    head: Head,
    block: Option<Block>,
    pub(crate) streams: Streams,
    /// The highest number that the peer has used.
    pub(crate) last_stream: u32,
    pub(crate) resets: VecDeque<u32>,
    receive_window: i64,
    unreturned: i64,
    pub(crate) send_window: i64,
    /// What the peer gives to new streams.
    pub(crate) initial_send_window: i64,
    /// The next header block must tell the peer's decoder that no table is in use.
    pub(crate) tell_table: bool,
    pub(crate) output: Output,
    /// Slots of streams that may have something to send.
    pub(crate) line: VecDeque<u32>,
    pub(crate) roomy: VecDeque<StreamKey>,
    /// Streams that are answered while the peer still speaks.
    pub(crate) outspoken: Vec<StreamKey>,
    pub(crate) progress: u64,
    progress_at_ping: u64,
    nuisance: u32,
}

impl Connection {
    /// Streams that we ended while the peer may have been sending; what comes for them is passed
    /// over.
    pub(crate) const RECENT_RESETS: usize = 256;

    /// A connection that was just accepted; our settings are its first output.
    pub fn new(config: Config) -> Self {
        let mut connection = Self {
            config,
            phase: Phase::Open,
            preface: frame::PREFACE,
            greeted: false,
            hpack: Decoder::new(),
            head: Head::default(),
            block: None,
            streams: Streams::default(),
            last_stream: 0,
            resets: VecDeque::new(),
            receive_window: i64::from(config.connection_window_bytes).max(frame::DEFAULT_WINDOW),
            unreturned: 0,
            send_window: frame::DEFAULT_WINDOW,
            initial_send_window: frame::DEFAULT_WINDOW,
            tell_table: false,
            output: Output::default(),
            line: VecDeque::new(),
            roomy: VecDeque::new(),
            outspoken: Vec::new(),
            progress: 0,
            progress_at_ping: 0,
            nuisance: 0,
        };
        connection.greet();
        connection
    }

    /// Takes whole frames off the front of `input` until one of them means something. `None`: what
    /// is left is no whole frame, or too much waits to be written, or the connection is closed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        loop {
            if self.phase == Phase::Closed {
                *input = &[];
                return None;
            }
            if self.is_choked() {
                return None;
            }
            let fault = match self.step(input) {
                Ok(Step::Event(event)) => return Some(event),
                Ok(Step::Nothing) => continue,
                Ok(Step::Starved) => return None,
                Err(fault) => fault,
            };
            match fault {
                Fault::Connection(code, reason) => self.fail(code, reason.as_bytes()),
                Fault::Stream(id, code) => {
                    if let Some(event) = self.stream_fault(id, code) {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// Whether nothing is read until more has been written.
    pub fn is_choked(&self) -> bool {
        self.output.len() >= OUTPUT_LIMIT_BYTES
    }

    /// The head of the newest request.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Forgives half of the useless frames so far. Called once a second or so, it makes a limit on
    /// their number a limit on their rate.
    pub fn calm_down(&mut self) {
        self.nuisance /= 2;
    }

    fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, Fault> {
        if !self.preface.is_empty() {
            return self.read_preface(input);
        }
        let Some((frame, payload)) = frame::take(input)? else { return Ok(Step::Starved) };
        if !self.greeted && frame.kind != kind::SETTINGS {
            return Err(Fault::protocol("the first frame is no SETTINGS"));
        }
        self.greeted = true;
        if self.block.is_some() && frame.kind != kind::CONTINUATION {
            return Err(Fault::protocol("a frame inside of a header block"));
        }
        match frame.kind {
            kind::DATA => self.data_frame(frame, payload),
            kind::HEADERS => self.headers_frame(frame, payload),
            kind::CONTINUATION => self.continuation_frame(frame, payload),
            kind::RST_STREAM => self.reset_frame(frame, payload),
            kind::PING => self.ping_frame(frame, payload),
            kind::SETTINGS => self.settings_frame(frame, payload),
            kind::WINDOW_UPDATE => self.window_frame(frame, payload),
            kind::PRIORITY => self.priority_frame(frame, payload),
            kind::PUSH_PROMISE => Err(Fault::protocol("a client cannot push")),
            kind::GOAWAY if frame.stream != 0 => Err(Fault::protocol("GOAWAY on a stream")),
            kind::GOAWAY if payload.len() < 8 => Err(Fault::size("GOAWAY of a wrong length")),
            // The client ends its streams itself; frames without a name are for others.
            _ => self.useless(1),
        }
    }

    fn read_preface<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, Fault> {
        let count = self.preface.len().min(input.len());
        let (wanted, later) = self.preface.split_at(count);
        let (said, rest) = input.split_at(count);
        if wanted != said {
            return Err(Fault::protocol("no preface of HTTP/2"));
        }
        (self.preface, *input) = (later, rest);
        Ok(if later.is_empty() { Step::Nothing } else { Step::Starved })
    }

    fn data_frame<'a>(&mut self, frame: Frame, payload: &'a [u8]) -> Result<Step<'a>, Fault> {
        // Padding counts, and so does what nobody wants: the peer has counted it.
        let len = payload.len() as i64;
        self.take_in(len)?;
        let data = frame::unpadded(frame, payload)?;
        let end = frame.has(flag::END_STREAM);
        let Some(key) = self.streams.find(frame.stream) else {
            return self.stray(frame.stream);
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(Step::Nothing) };
        if stream.received_all {
            return Err(Fault::Stream(key.id, ErrorCode::STREAM_CLOSED));
        }
        if len > stream.receive_window {
            return Err(Fault::Stream(key.id, ErrorCode::FLOW_CONTROL_ERROR));
        }
        stream.receive_window -= len;
        if let Some(announced) = &mut stream.announced {
            let left = announced.checked_sub(data.len() as u64);
            *announced = left.ok_or(Fault::Stream(key.id, ErrorCode::PROTOCOL_ERROR))?;
            if end && *announced > 0 {
                return Err(Fault::Stream(key.id, ErrorCode::PROTOCOL_ERROR));
            }
        }
        if end {
            self.received_all(key);
        } else if data.is_empty() {
            self.release(key, payload.len());
            return self.useless(1);
        }
        self.release(key, payload.len() - data.len());
        Ok(Step::Event(Event::Data { stream: key, data, end }))
    }

    /// Counts data against the window of the connection, which opens again at once: a body that
    /// waits for its reader must not hold up the others.
    fn take_in(&mut self, len: i64) -> Result<(), Fault> {
        if len > self.receive_window {
            let code = ErrorCode::FLOW_CONTROL_ERROR;
            return Err(Fault::Connection(code, "more data than the connection's window"));
        }
        self.receive_window -= len;
        self.unreturned += len;
        let half = i64::from(self.config.connection_window_bytes) / 2;
        if self.unreturned > 0 && self.unreturned >= half {
            self.send_window_update(0, self.unreturned);
            self.receive_window += self.unreturned;
            self.unreturned = 0;
        }
        Ok(())
    }

    /// A frame that can only come on a stream that is or was open.
    fn stray<'a>(&mut self, id: u32) -> Result<Step<'a>, Fault> {
        if id == 0 {
            return Err(Fault::protocol("a frame of a stream on the connection"));
        }
        if self.is_idle(id) {
            return Err(Fault::protocol("a frame on an idle stream"));
        }
        if self.resets.contains(&id) || matches!(self.phase, Phase::Closing(_)) {
            return self.useless(1);
        }
        Err(Fault::Stream(id, ErrorCode::STREAM_CLOSED))
    }

    fn is_idle(&self, id: u32) -> bool {
        id > self.last_stream || id.is_multiple_of(2)
    }

    fn headers_frame<'a>(&mut self, frame: Frame, payload: &'a [u8]) -> Result<Step<'a>, Fault> {
        if frame.stream.is_multiple_of(2) {
            return Err(Fault::protocol("a stream that a client cannot open"));
        }
        let mut fragment = frame::unpadded(frame, payload)?;
        if frame.has(flag::PRIORITY) {
            let behind = fragment.get(5..);
            fragment = behind.ok_or(Fault::size("no room for a priority"))?;
        }
        let end = frame.has(flag::END_STREAM);
        if frame.has(flag::END_HEADERS) {
            return self.header_block(frame.stream, end, fragment);
        }
        let bytes = fragment.to_vec();
        self.block = Some(Block { stream: frame.stream, end, frames: 1, bytes });
        Ok(Step::Nothing)
    }

    fn continuation_frame<'a>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'a>, Fault> {
        let Some(mut block) = self.block.take_if(|block| block.stream == frame.stream) else {
            return Err(Fault::protocol("CONTINUATION of nothing"));
        };
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        if frame.has(flag::END_HEADERS) {
            return self.header_block(block.stream, block.end, &block.bytes);
        }
        let limit = self.config.header_list_bytes as usize;
        if block.bytes.len() > limit || block.frames > CONTINUATION_LIMIT {
            let code = ErrorCode::ENHANCE_YOUR_CALM;
            return Err(Fault::Connection(code, "a header block without end"));
        }
        self.block = Some(block);
        Ok(Step::Nothing)
    }

    fn header_block<'a>(&mut self, id: u32, end: bool, block: &[u8]) -> Result<Step<'a>, Fault> {
        let limit = self.config.header_list_bytes as usize;
        let Self { hpack, head, .. } = self;
        head.clear();
        // Whatever becomes of the stream, the table has to follow.
        hpack.decode(block, |field| head.push(field, limit)).map_err(|_| {
            Fault::Connection(ErrorCode::COMPRESSION_ERROR, "malformed header block")
        })?;
        if let Some(key) = self.streams.find(id) {
            return self.trailer_block(key, end);
        }
        if id <= self.last_stream {
            if self.resets.contains(&id) {
                return self.useless(1);
            }
            return Err(Fault::protocol("a stream that is closed opens again"));
        }
        self.last_stream = id;
        if matches!(self.phase, Phase::Closing(last) if id > last) {
            return self.useless(1);
        }
        if self.head.is_too_large(limit) {
            // Few bytes may stand for many: reading them was more work than most frames are.
            self.useless(LARGE_HEAD)?;
            return Err(Fault::Stream(id, ErrorCode::FRAME_SIZE_ERROR));
        }
        let announced = self.head.content_length();
        if !self.head.is_request() || (end && announced.is_some_and(|length| length > 0)) {
            return Err(Fault::Stream(id, ErrorCode::PROTOCOL_ERROR));
        }
        if self.streams.len() >= self.config.concurrent_streams as usize {
            return Err(Fault::Stream(id, ErrorCode::REFUSED_STREAM));
        }
        let stream = self.streams.insert(Stream {
            id,
            receive_window: i64::from(self.config.stream_window_bytes),
            unreturned: 0,
            received_all: end,
            announced,
            send_window: self.initial_send_window,
            head_sent: false,
            ending: Ending::Open,
            sent_all: false,
            queue: VecDeque::new(),
            queued: 0,
            wants_room: false,
        });
        Ok(Step::Event(Event::Head { stream, end }))
    }

    /// A second header block ends a body. What it says is of no use to a server.
    fn trailer_block<'a>(&mut self, key: StreamKey, end: bool) -> Result<Step<'a>, Fault> {
        let is_trailer = self.head.is_trailer();
        let too_large = self.head.is_too_large(self.config.header_list_bytes as usize);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(Step::Nothing) };
        if stream.received_all {
            return Err(Fault::Stream(key.id, ErrorCode::STREAM_CLOSED));
        }
        let missing = stream.announced.is_some_and(|left| left > 0);
        if !end || !is_trailer || too_large || missing {
            return Err(Fault::Stream(key.id, ErrorCode::PROTOCOL_ERROR));
        }
        self.received_all(key);
        Ok(Step::Event(Event::Data { stream: key, data: &[], end: true }))
    }

    fn received_all(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.received_all = true;
        if stream.sent_all {
            self.streams.remove(key);
        }
    }

    fn reset_frame<'a>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'a>, Fault> {
        let code = frame::reset_code(payload)?;
        if frame.stream == 0 || self.is_idle(frame.stream) {
            return Err(Fault::protocol("RST_STREAM of an idle stream"));
        }
        let Some(stream) = self.streams.find(frame.stream) else { return self.useless(1) };
        self.useless(1)?;
        self.streams.remove(stream);
        Ok(Step::Event(Event::Reset { stream, code }))
    }

    fn ping_frame<'a>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'a>, Fault> {
        if frame.stream != 0 {
            return Err(Fault::protocol("PING on a stream"));
        }
        let data = <[u8; 8]>::try_from(payload).map_err(|_| Fault::size("PING is eight bytes"))?;
        if !frame.has(flag::ACK) {
            self.send_ping(flag::ACK, data);
            // gRPC clients ping to measure the line while they receive much.
            if std::mem::replace(&mut self.progress_at_ping, self.progress) == self.progress {
                self.useless(1)?;
            }
            return Ok(Step::Event(Event::Ping));
        }
        if data == DRAIN_PING && self.phase == Phase::Draining {
            self.close_behind_drain();
        }
        Ok(Step::Event(Event::Pong(data)))
    }

    fn settings_frame<'a>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'a>, Fault> {
        if frame.stream != 0 {
            return Err(Fault::protocol("SETTINGS on a stream"));
        }
        if frame.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(Fault::size("SETTINGS that both acknowledge and set"));
            }
            return self.useless(1);
        }
        for (id, value) in frame::settings(payload)? {
            match id {
                setting::HEADER_TABLE_SIZE if value < frame::DEFAULT_TABLE_BYTES => {
                    self.tell_table = true;
                }
                setting::ENABLE_PUSH if value > 1 => {
                    return Err(Fault::protocol("ENABLE_PUSH is 0 or 1"));
                }
                setting::INITIAL_WINDOW_SIZE => self.set_initial_window(i64::from(value))?,
                setting::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    return Err(Fault::protocol("MAX_FRAME_SIZE out of range"));
                }
                _ => {}
            }
        }
        self.send_settings_ack();
        // A change of windows goes through all streams.
        self.useless(1 + (self.streams.len() / 64) as u32)
    }

    fn set_initial_window(&mut self, bytes: i64) -> Result<(), Fault> {
        const TOO_LARGE: Fault =
            Fault::Connection(ErrorCode::FLOW_CONTROL_ERROR, "a window above 2^31 - 1");
        if bytes > frame::MAX_WINDOW {
            return Err(TOO_LARGE);
        }
        let change = bytes - self.initial_send_window;
        self.initial_send_window = bytes;
        if change == 0 {
            return Ok(());
        }
        for stream in self.streams.iter_mut() {
            stream.send_window += change;
            if stream.send_window > frame::MAX_WINDOW {
                return Err(TOO_LARGE);
            }
        }
        if change > 0 {
            self.line_up_all();
        }
        Ok(())
    }

    fn window_frame<'a>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'a>, Fault> {
        let more = frame::number(payload, "WINDOW_UPDATE of a wrong length")?;
        let more = i64::from(more & 0x7fff_ffff);
        if frame.stream == 0 {
            if more == 0 {
                return Err(Fault::protocol("WINDOW_UPDATE of nothing"));
            }
            self.send_window += more;
            if self.send_window > frame::MAX_WINDOW {
                let code = ErrorCode::FLOW_CONTROL_ERROR;
                return Err(Fault::Connection(code, "the connection's window above 2^31 - 1"));
            }
            return Ok(Step::Nothing);
        }
        if self.is_idle(frame.stream) {
            return Err(Fault::protocol("WINDOW_UPDATE of an idle stream"));
        }
        if more == 0 {
            return Err(Fault::Stream(frame.stream, ErrorCode::PROTOCOL_ERROR));
        }
        // The stream may have ended while this was on its way.
        let Some(key) = self.streams.find(frame.stream) else { return Ok(Step::Nothing) };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(Step::Nothing) };
        stream.send_window += more;
        if stream.send_window > frame::MAX_WINDOW {
            return Err(Fault::Stream(frame.stream, ErrorCode::FLOW_CONTROL_ERROR));
        }
        self.line_up(key);
        Ok(Step::Nothing)
    }

    fn priority_frame<'a>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'a>, Fault> {
        if frame.stream == 0 {
            return Err(Fault::protocol("PRIORITY on the connection"));
        }
        if payload.len() != 5 {
            return Err(Fault::size("PRIORITY of a wrong length"));
        }
        self.useless(1)
    }

    /// Frames that cost the peer nothing and move nothing forward are borne up to a limit.
    fn useless<'a>(&mut self, count: u32) -> Result<Step<'a>, Fault> {
        self.nuisance = self.nuisance.saturating_add(count);
        if self.nuisance > NUISANCE_LIMIT {
            return Err(Fault::Connection(ErrorCode::ENHANCE_YOUR_CALM, "too much ado"));
        }
        Ok(Step::Nothing)
    }

    /// Ends a stream that the peer has spoiled.
    fn stream_fault<'a>(&mut self, id: u32, code: ErrorCode) -> Option<Event<'a>> {
        let open = self.streams.find(id);
        self.send_reset(id, code);
        if let Some(key) = open {
            self.streams.remove(key);
        }
        if let Err(Fault::Connection(code, reason)) = self.useless(1) {
            self.fail(code, reason.as_bytes());
        }
        open.map(|stream| Event::Reset { stream, code })
    }

    pub(crate) fn forgive(&mut self) {
        self.nuisance = self.nuisance.saturating_sub(1);
    }

    pub(crate) fn drain_ping() -> [u8; 8] {
        DRAIN_PING
    }
}

enum Step<'a> {
    Event(Event<'a>),
    Nothing,
    /// The input has no whole frame.
    Starved,
}

// The names of what we tell a peer stay beside those that we understand.
impl Connection {
    fn greet(&mut self) {
        let Config { stream_window_bytes, concurrent_streams, header_list_bytes, .. } = self.config;
        let mut settings = vec![
            (setting::INITIAL_WINDOW_SIZE, stream_window_bytes),
            (setting::MAX_FRAME_SIZE, frame::MAX_PAYLOAD_BYTES as u32),
            (setting::MAX_HEADER_LIST_SIZE, header_list_bytes),
        ];
        if concurrent_streams != u32::MAX {
            settings.push((setting::MAX_CONCURRENT_STREAMS, concurrent_streams));
        }
        self.send_settings(&settings);
        let more = i64::from(self.config.connection_window_bytes) - frame::DEFAULT_WINDOW;
        if more > 0 {
            self.send_window_update(0, more);
        }
    }
}
