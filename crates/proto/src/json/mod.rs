//! Messages as JSON: straight from their wire form to text and back, by tables.
//!
//! ```text
//!   JSON --[Scanner: where a value ends]--> one value --[read]--> wire form --> prost
//!   wire form --[write]--> JSON
//! ```
//!
//! It is protobuf's JSON as Go writes and reads it: names as in the `.proto` file, default values
//! left out, 64-bit numbers as strings, bytes in base64, enums by name. Nothing is built between
//! the two forms, so a large reply costs one pass. What is refused is told in Go's words: first
//! those of `encoding/json`, which finds the value, then those of `protojson`, which reads it.

mod base64;
mod error;
mod number;
mod quote;
mod read;
mod scan;
mod schema;
mod token;
mod write;

pub use base64::encode as encode_base64;
pub use base64::{Alphabet, decode as decode_base64};
pub use error::Error;
pub use quote::quote;
pub use read::read;
pub use scan::Scanner;
pub use schema::{Enum, Field, Kind, Method, Schema, method};
pub use write::{Malformed, Style, write, write_text};
