//! The conformance kit for client SDKs: the SDK of this package passes it, its files are well-formed, and their bytes are
//! what `proto/client.proto` says. After a change to a case: `DAGOR_REGENERATE=1 cargo test --test conformance`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod case;
mod message;
mod runner;
mod sdk;

use std::{env, fs, path::Path};

use self::{
    case::{Action, Case},
    sdk::Sdk,
};

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

/// All failures at once.
fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_sdk_passes_every_case() {
    let run = |name: String| runner::run(&read(&name).1, Sdk::new).err().map(|fault| format!("{name}, {fault}"));
    assert_none(&names().into_iter().filter_map(run).collect::<Vec<_>>());
}

/// Where a case says what the client does, a client that does nothing, or something else, fails: so does the SDK if the
/// case says that nothing happens instead.
#[test]
fn no_expectation_can_be_left_out() {
    let mut idle = Vec::new();
    for name in names() {
        let case = read(&name).1;
        for index in 0..case.steps.len() {
            let mut changed = case.clone();
            let step = &mut changed.steps[index];
            if !step.action.is_expectation() {
                continue;
            }
            let was = case::line(&step.action);
            step.action = Action::PauseMs(step.within_ms.map_or(0, |[_, to]| to));
            if runner::run(&changed, Sdk::new).is_ok() {
                idle.push(format!("{name}, step {}, {was}: passes without it", index + 1));
            }
        }
    }
    assert_none(&idle);
}

#[test]
fn the_bytes_and_the_index_are_those_of_the_cases() {
    let mut stale: Vec<_> = names();
    stale.retain(|name| {
        !is_current(&Path::new(CASES).join(name).with_extension("json"), &complete(read(name).1).to_text())
    });
    let list: Vec<_> = names().iter().map(|name| format!("  \"{name}\"")).collect();
    if !is_current(&Path::new(CASES).with_file_name("index.json"), &format!("[\n{}\n]\n", list.join(",\n"))) {
        stale.push("index".into());
    }
    assert!(stale.is_empty(), "{stale:?} differ; run DAGOR_REGENERATE=1 cargo test --test conformance");
}
