//! The conformance kit for client SDKs: the SDK of this package passes it, its files are well-formed, and their bytes are
//! what `proto/client.proto` says. After a change to a case: `DAGOR_REGENERATE=1 cargo test --test conformance`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod case;
mod message;
mod runner;
mod sdk;

use std::{collections::BTreeMap, env, fs, path::Path, sync::OnceLock};

use self::{
    case::{Action, Case},
    sdk::Sdk,
};

const CASES: &str = "tests/conformance/cases";
const INDEX: &str = "tests/conformance/index.json";

/// What is in the folder, read once: the cases by name, with their text.
fn kit() -> &'static BTreeMap<String, (String, Case)> {
    static KIT: OnceLock<BTreeMap<String, (String, Case)>> = OnceLock::new();
    KIT.get_or_init(|| fs::read_dir(CASES).unwrap().map(|entry| read(&entry.unwrap().path())).collect())
}

fn read(file: &Path) -> (String, (String, Case)) {
    let text = fs::read_to_string(file).unwrap();
    let case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    (file.file_stem().unwrap().to_str().unwrap().to_owned(), (text, complete(case)))
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

/// Writes `fresh` to `file` if that is asked for; otherwise that must be `current`.
fn is_current(file: &Path, current: &str, fresh: &str) -> bool {
    let differs = current != fresh;
    if differs && env::var_os("DAGOR_REGENERATE").is_some() {
        fs::write(file, fresh).unwrap();
        return true;
    }
    !differs
}

/// All failures at once.
fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_sdk_passes_every_case() {
    let run = |(name, (_, case)): (&String, &(String, Case))| {
        runner::run(case, Sdk::new).err().map(|fault| format!("{name}, {fault}"))
    };
    assert_none(&kit().iter().filter_map(run).collect::<Vec<_>>());
}

/// Where a case says what the client does, a client that does nothing, or something else, fails: so does the SDK if the
/// case says that nothing happens instead.
#[test]
fn no_expectation_can_be_left_out() {
    let mut idle = Vec::new();
    for (name, (_, case)) in kit() {
        for (index, step) in case.steps.iter().enumerate().filter(|(_, step)| step.action.is_expectation()) {
            let mut changed = case.clone();
            changed.steps[index].action = Action::PauseMs(step.within_ms.map_or(0, |[_, to]| to));
            if runner::run(&changed, Sdk::new).is_ok() {
                idle.push(format!("{name}, step {}, {}: passes without it", index + 1, case::line(&step.action)));
            }
        }
    }
    assert_none(&idle);
}

#[test]
fn the_bytes_and_the_index_are_those_of_the_cases() {
    let mut stale = Vec::new();
    for (name, (text, case)) in kit() {
        if !is_current(&Path::new(CASES).join(name).with_extension("json"), text, &case.to_text()) {
            stale.push(name.as_str());
        }
    }
    let list: Vec<_> = kit().keys().map(|name| format!("  \"{name}\"")).collect();
    let index = fs::read_to_string(INDEX).unwrap_or_default();
    if !is_current(Path::new(INDEX), &index, &format!("[\n{}\n]\n", list.join(",\n"))) {
        stale.push("index");
    }
    assert!(stale.is_empty(), "{stale:?} differ; run DAGOR_REGENERATE=1 cargo test --test conformance");
}
