//! The conformance kit for client SDKs: its files are well-formed and their bytes are what `proto/client.proto` says. After
//! a change to a case: `DAGOR_REGENERATE=1 cargo test --test conformance`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod case;
mod message;

use std::{env, fs, path::Path};

use self::case::{Action, Case};

const CASES: &str = "tests/conformance/cases";

/// The names in the folder, in order.
fn names() -> Vec<String> {
    let files = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn read(name: &str) -> (String, Case) {
    let text = fs::read_to_string(Path::new(CASES).join(name).with_extension("json")).unwrap();
    let case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    (text, case)
}

/// Fills in the bytes of what the gateway sends.
fn complete(mut case: Case) -> Case {
    for step in &mut case.steps {
        if let Action::GatewaySends(frames) = &step.action {
            let mut bytes = Vec::new();
            frames.iter().for_each(|frame| message::encode(frame, &mut bytes));
            step.hex = Some(message::to_hex(&bytes));
        }
    }
    case
}

/// Writes `text` to `file` if that is asked for; otherwise it must stand there already.
fn is_current(file: &Path, text: &str) -> bool {
    let current = fs::read_to_string(file).unwrap_or_default() == text;
    if !current && env::var_os("DAGOR_REGENERATE").is_some() {
        fs::write(file, text).unwrap();
        return true;
    }
    current
}

#[test]
fn the_bytes_and_the_index_are_those_of_the_cases() {
    let mut stale: Vec<_> = names();
    stale.retain(|name| !is_current(&Path::new(CASES).join(name).with_extension("json"), &complete(read(name).1).to_text()));
    let list: Vec<_> = names().iter().map(|name| format!("  \"{name}\"")).collect();
    if !is_current(&Path::new(CASES).with_file_name("index.json"), &format!("[\n{}\n]\n", list.join(",\n"))) {
        stale.push("index".into());
    }
    assert!(stale.is_empty(), "{stale:?} differ; run DAGOR_REGENERATE=1 cargo test --test conformance");
}
