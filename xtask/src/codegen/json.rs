//! The tables by which messages become JSON: `crates/proto/src/generated/json.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
};

/// Services whose calls are made in JSON, by package.
const PACKAGES: [&str; 3] = ["etcdserverpb", "v3electionpb", "v3lockpb"];

/// The tables of all messages that the calls speak of, as code.
pub(super) fn tables(set: &FileDescriptorSet) -> anyhow::Result<String> {
    let mut tables = Tables { types: Types::of(set), done: BTreeMap::new() };
    let mut methods = String::new();
    for file in set.file.iter().filter(|file| PACKAGES.contains(&file.package())) {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let request = tables.message(method.input_type())?;
                let response = tables.message(method.output_type())?;
                writeln!(
                    methods,
                    "Method {{ path: {path:?}, request: &{request}, response: &{response} }},"
                )?;
            }
        }
    }
    let tables: String = tables.done.into_values().collect();
    Ok(format!(
        "use crate::json::{{Enum, Field, Kind, Method, Schema}};\n\n\
         /// All calls.\npub(crate) static METHODS: &[Method] = &[{methods}];\n\n{tables}"
    ))
}

/// What is declared, by full name with a dot in front.
struct Types<'a> {
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
}

impl<'a> Types<'a> {
    fn of(set: &'a FileDescriptorSet) -> Self {
        let mut types = Self { messages: BTreeMap::new(), enums: BTreeMap::new() };
        for file in &set.file {
            let package = format!(".{}", file.package());
            for of in &file.enum_type {
                types.enums.insert(format!("{package}.{}", of.name()), of);
            }
            file.message_type.iter().for_each(|message| types.add(&package, message));
        }
        types
    }

    fn add(&mut self, within: &str, message: &'a DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        for of in &message.enum_type {
            self.enums.insert(format!("{name}.{}", of.name()), of);
        }
        message.nested_type.iter().for_each(|nested| self.add(&name, nested));
        self.messages.insert(name, message);
    }
}

struct Tables<'a> {
    types: Types<'a>,
    /// By full name.
    done: BTreeMap<String, String>,
}

impl Tables<'_> {
    /// Makes the table of a message and of all that it holds; the answer is its name in the code.
    fn message(&mut self, name: &str) -> anyhow::Result<String> {
        let constant = constant(name);
        if self.done.contains_key(name) {
            return Ok(constant);
        }
        let message = *self.types.messages.get(name).with_context(|| format!("no {name}"))?;
        // Its place is taken before what it holds is looked at: a txn holds txns.
        self.done.insert(name.to_owned(), String::new());
        if message.field.len() > 64 {
            bail!("{name} has more fields than the reader can tell apart");
        }
        let mut fields = String::new();
        for field in &message.field {
            let of_oneof = field.oneof_index.filter(|_| !field.proto3_optional());
            let oneof = of_oneof.and_then(|index| message.oneof_decl.get(index as usize));
            fields.push_str(&self.field(field).with_context(|| format!("in {name}"))?);
            if let Some(oneof) = oneof {
                write!(fields, ".one_of({:?})", format!("{}.{}", &name[1..], oneof.name()))?;
            }
            fields.push(',');
        }
        let code = format!(
            "static {constant}: Schema = Schema {{ name: {:?}, fields: &[{fields}] }};\n",
            &name[1..]
        );
        self.done.insert(name.to_owned(), code);
        Ok(constant)
    }

    fn field(&mut self, field: &FieldDescriptorProto) -> anyhow::Result<String> {
        let kind = match field.r#type() {
            Type::Bool => "Bool".to_owned(),
            Type::Int32 => "Int32".to_owned(),
            Type::Int64 => "Int64".to_owned(),
            Type::Uint32 => "Uint32".to_owned(),
            Type::Uint64 => "Uint64".to_owned(),
            Type::String => "String".to_owned(),
            Type::Bytes => "Bytes".to_owned(),
            Type::Enum => format!("Enum(&{})", self.names(field.type_name())?),
            Type::Message => format!("Message(&{})", self.message(field.type_name())?),
            other => bail!("{} is a {other:?}, for which there is no JSON yet", field.name()),
        };
        let (number, name, json) = (field.number(), field.name(), field.json_name());
        let list = if field.label() == Label::Repeated { ".list()" } else { "" };
        Ok(format!("Field::new({number}, {name:?}, {json:?}, Kind::{kind}){list}"))
    }

    fn names(&mut self, name: &str) -> anyhow::Result<String> {
        let constant = constant(name);
        let of = self.types.enums.get(name).with_context(|| format!("no {name}"))?;
        let names: String = of
            .value
            .iter()
            .map(|value| format!("({}, {:?}),", value.number(), value.name()))
            .collect();
        let code = format!("static {constant}: Enum = Enum {{ names: &[{names}] }};\n");
        self.done.insert(name.to_owned(), code);
        Ok(constant)
    }
}

/// `.etcdserverpb.PutRequest` as `ETCDSERVERPB_PUT_REQUEST`.
fn constant(name: &str) -> String {
    let mut out = String::new();
    let mut before = '_';
    for c in name.trim_start_matches('.').chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            out.push('_');
        }
        out.push(if c == '.' { '_' } else { c.to_ascii_uppercase() });
        before = c;
    }
    out
}
