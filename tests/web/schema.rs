//! `schema.js`: the messages of `proto/client.proto` as a table for the browser.

use std::{env, fmt::Write as _, fs};

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind};

const FILE: &str = "tests/web/schema.js";
const PACKAGE: &str = "dagor.client.v1";
const HEAD: &str = "// Generated from proto/client.proto: DAGOR_REGENERATE=1 cargo test --test web schema\n";

fn generate() -> String {
    let files = protox::compile(["client.proto"], ["proto"]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    let mut text = HEAD.to_owned();
    text.push_str("\n/** Field number → [name, type, \"repeated\"?] */\nexport const MESSAGES = {\n");
    for message in pool.all_messages().filter(|message| message.package_name() == PACKAGE) {
        let fields: Vec<_> = message.fields().map(|field| field_text(&field)).collect();
        writeln!(text, "  {}: {{ {} }},", message.name(), fields.join(", ")).unwrap();
    }
    text.push_str("};\n\n/** The names of the values, from 0. */\nexport const ENUMS = {\n");
    for listed in pool.all_enums().filter(|listed| listed.package_name() == PACKAGE) {
        let names: Vec<_> = listed.values().map(|value| format!("\"{}\"", value.name())).collect();
        writeln!(text, "  {}: [{}],", listed.name(), names.join(", ")).unwrap();
    }
    text.push_str("};\n");
    text
}

fn field_text(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.name().to_owned(),
        Kind::Enum(listed) => listed.name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    let label = if field.is_list() { ", \"repeated\"" } else { "" };
    format!("{}: [\"{}\", \"{kind}\"{label}]", field.number(), field.name())
}

#[test]
fn the_schema_of_the_browser_client_is_that_of_the_protocol() {
    let fresh = generate();
    if fs::read_to_string(FILE).unwrap_or_default() == fresh {
        return;
    }
    let regenerate = env::var_os("DAGOR_REGENERATE").is_some();
    assert!(regenerate, "{FILE} differs; run DAGOR_REGENERATE=1 cargo test --test web schema");
    fs::write(FILE, fresh).unwrap();
}
