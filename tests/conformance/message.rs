//! Frames between their readable form and bytes, as `proto/client.proto` says: the messages are looked up there, so that
//! the kit knows no field by itself.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use dagor::{
    id::{BusinessCode, MessageId},
    wire::{Flags, HEADER_BYTES, Header, Kind},
};
use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind as Type, MessageDescriptor, ReflectMessage as _,
    Value as Field, prost::Message as _,
};
use serde_json::{Map, Value, json};

use crate::case::{Frame, each_id};

const PACKAGE: &str = "dagor.client.v1";
const FLAGS: [(Flags, &str); 2] = [(Flags::NO_REPLY_WANTED, "no_reply_wanted"), (Flags::RESENT, "resent")];

/// The messages of the protocol.
pub(crate) fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let files = protox::compile(["client.proto"], ["proto"]).unwrap();
        DescriptorPool::from_file_descriptor_set(files).unwrap()
    })
}

fn descriptor(kind: &str) -> MessageDescriptor {
    pool().get_message_by_name(&format!("{PACKAGE}.{kind}")).unwrap_or_else(|| panic!("there is no frame {kind}"))
}

fn kind_named(name: &str) -> Kind {
    *Kind::ALL.iter().find(|kind| format!("{kind:?}") == name).unwrap_or_else(|| panic!("there is no frame {name}"))
}

/// The bytes of a frame, or of each of its `ids`.
pub(crate) fn encode(frame: &Frame, out: &mut Vec<u8>) {
    let (kind, fields) = frame.body();
    if kind == "raw" {
        return out.extend(from_hex(fields.as_str().expect("raw bytes are text")));
    }
    let body = message(&descriptor(kind), fields).encode_to_vec();
    let flags = frame.flags.as_ref().and_then(Value::as_array).into_iter().flatten();
    let flags = flags.fold(Flags::default(), |all, name| all.with(flag_named(name.as_str().unwrap_or_default())));
    for one in each_id(&json!(frame)) {
        let header = Header {
            body_bytes: body.len(),
            kind: kind_named(kind) as u8,
            flags,
            business: BusinessCode(frame.business.unwrap_or_default()),
            id: MessageId(one["id"].as_u64().unwrap_or_default()),
        };
        out.extend(header.encode());
        out.extend(&body);
    }
}

fn flag_named(name: &str) -> Flags {
    FLAGS.iter().find(|(_, known)| *known == name).unwrap_or_else(|| panic!("there is no flag {name}")).0
}

fn message(descriptor: &MessageDescriptor, fields: &Value) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, value) in fields.as_object().expect("a message is an object") {
        let field = descriptor.get_field_by_name(name);
        let field = field.unwrap_or_else(|| panic!("{} has no field {name}", descriptor.name()));
        let value = match value {
            Value::Array(items) if field.is_list() => {
                Field::List(items.iter().map(|item| scalar(&field, item)).collect())
            }
            value => scalar(&field, value),
        };
        message.set_field(&field, value);
    }
    message
}

fn scalar(field: &FieldDescriptor, value: &Value) -> Field {
    let read = match field.kind() {
        Type::Uint32 => value.as_u64().and_then(|number| u32::try_from(number).ok()).map(Field::U32),
        Type::Uint64 | Type::Fixed64 => value.as_u64().map(Field::U64),
        Type::Bool => value.as_bool().map(Field::Bool),
        Type::String => value.as_str().map(|text| Field::String(text.to_owned())),
        Type::Bytes => value.as_str().map(|text| Field::Bytes(Bytes::from(text.to_owned()))),
        Type::Enum(values) => value
            .as_str()
            .and_then(|name| values.get_value_by_name(name))
            .map(|value| Field::EnumNumber(value.number())),
        Type::Message(inner) => Some(Field::Message(message(&inner, value))),
        other => panic!("the protocol has no {other:?}"),
    };
    read.unwrap_or_else(|| panic!("{} cannot be {value}", field.full_name()))
}

/// Takes the whole frames out of what a client sent, in their readable form, every field with its value.
pub(crate) fn decode(bytes: &mut BytesMut) -> Vec<Value> {
    let mut frames = Vec::new();
    while let Some(header) = bytes.first_chunk::<HEADER_BYTES>().map(Header::decode) {
        if bytes.len() < HEADER_BYTES + header.body_bytes {
            break;
        }
        let frame = bytes.split_to(HEADER_BYTES + header.body_bytes);
        frames.push(readable(&header, &frame[HEADER_BYTES..]));
    }
    frames
}

fn readable(header: &Header, body: &[u8]) -> Value {
    let kind = Kind::from_code(header.kind).unwrap_or_else(|| panic!("a frame of the unknown kind {}", header.kind));
    let kind = format!("{kind:?}");
    let message = DynamicMessage::decode(descriptor(&kind), body).expect("a well-formed body");
    let flags: Vec<_> = FLAGS.iter().filter(|(flag, _)| header.flags.contains(*flag)).map(|(_, name)| *name).collect();
    let mut frame = json!({"id": header.id.0, "business": header.business.0, "flags": flags});
    frame[kind] = plain_message(&message);
    frame
}

fn plain_message(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    let entry = |field: FieldDescriptor| (field.name().to_owned(), plain(&field, &message.get_field(&field)));
    Value::Object(descriptor.fields().map(entry).collect::<Map<_, _>>())
}

fn plain(field: &FieldDescriptor, value: &Field) -> Value {
    match value {
        Field::Bool(value) => json!(value),
        Field::U32(value) => json!(value),
        Field::U64(value) => json!(value),
        Field::String(value) => json!(value),
        Field::Bytes(value) => json!(String::from_utf8_lossy(value)),
        Field::EnumNumber(number) => match field.kind() {
            Type::Enum(values) => values.get_value(*number).map_or(json!(number), |value| json!(value.name())),
            _ => json!(number),
        },
        Field::Message(message) => plain_message(message),
        Field::List(items) => items.iter().map(|item| plain(field, item)).collect(),
        other => panic!("the protocol has no {other:?}"),
    }
}

/// Pairs of hexadecimal digits; spaces do not count.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).expect("hexadecimal digits")).collect()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
