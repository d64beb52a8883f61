//! What the tables say of a message.

use crate::generated_json::METHODS;

/// A message: its fields in the order in which they are declared.
#[derive(Debug)]
pub struct Schema {
    /// The full name, as in `etcdserverpb.PutRequest`.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// The number on the wire.
    pub number: u32,
    /// The name in the `.proto` file, which is the one that is written.
    pub name: &'static str,
    /// The same in lowerCamelCase, which is read, too.
    pub json_name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it is a list of that.
    pub repeated: bool,
    /// The full name of the oneof that it belongs to.
    pub oneof: Option<&'static str>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `bool`
    Bool,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// An enum.
    Enum(&'static Enum),
    /// A message.
    Message(&'static Schema),
}

/// An enum: its numbers and their names.
#[derive(Debug)]
pub struct Enum {
    /// Each number with its name.
    pub names: &'static [(i32, &'static str)],
}

/// A call: what goes in and what comes out.
#[derive(Debug)]
pub struct Method {
    /// As in `/etcdserverpb.KV/Put`.
    pub path: &'static str,
    /// The message of the request.
    pub request: &'static Schema,
    /// The message of the reply.
    pub response: &'static Schema,
}

/// The method of a gRPC path.
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

impl Field {
    /// A field of one value.
    pub(crate) const fn new(
        number: u32,
        name: &'static str,
        json_name: &'static str,
        kind: Kind,
    ) -> Self {
        Self { number, name, json_name, kind, repeated: false, oneof: None }
    }

    /// The same as a list.
    pub(crate) const fn list(mut self) -> Self {
        self.repeated = true;
        self
    }

    /// The same in a oneof.
    pub(crate) const fn one_of(mut self, oneof: &'static str) -> Self {
        self.oneof = Some(oneof);
        self
    }

    /// What the wire holds before each value: the number and how the value ends.
    pub(crate) fn tag(&self) -> u64 {
        u64::from(self.number) << 3 | if self.kind.is_delimited() { 2 } else { 0 }
    }
}

impl Kind {
    /// Whether a value is bytes with a length before them.
    pub(crate) fn is_delimited(self) -> bool {
        matches!(self, Self::String | Self::Bytes | Self::Message(_))
    }

    /// The name that errors carry.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Enum(_) => "enum",
            Self::Message(_) => "message",
        }
    }
}

impl Enum {
    pub(crate) fn number_of(&self, name: &str) -> Option<i32> {
        self.names.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
    }

    pub(crate) fn name_of(&self, number: i32) -> Option<&'static str> {
        self.names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
    }
}

impl Schema {
    /// The field of a number, with its place; `from` is where it is likely to be.
    pub(crate) fn by_number(&self, number: u32, from: usize) -> Option<(usize, &'static Field)> {
        let (before, behind) = self.fields.split_at_checked(from)?;
        let find = |fields: &'static [Field], at| {
            let place = fields.iter().position(|field| field.number == number)?;
            Some((place + at, fields.get(place)?))
        };
        find(behind, from).or_else(|| find(before, 0))
    }

    /// The field of a name, with its place.
    pub(crate) fn by_name(&self, name: &str) -> Option<(usize, &'static Field)> {
        let of_json = self.fields.iter().position(|field| field.json_name == name);
        let place = of_json.or_else(|| self.fields.iter().position(|field| field.name == name))?;
        Some((place, self.fields.get(place)?))
    }
}
