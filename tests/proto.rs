//! The committed protobuf code is what the files in `proto/` say. After a change there:
//! `DAGOR_REGENERATE=1 cargo test --test proto`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::Path};

/// Compiles one file of `proto/` in pure Rust and returns the generated code.
fn generate(name: &str, package: &str) -> String {
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile([format!("{name}.proto")], ["proto"]).unwrap();
    tonic_prost_build::configure()
        .bytes(".")
        .emit_rerun_if_changed(false)
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    fs::read_to_string(out.path().join(format!("{package}.rs"))).unwrap()
}

#[test]
fn the_generated_code_is_current() {
    let mut stale = Vec::new();
    for name in ["client", "service", "manager", "ticket"] {
        let committed = Path::new("src/pb").join(format!("{name}.rs"));
        let fresh = generate(name, &format!("dagor.{name}.v1"));
        if fs::read_to_string(&committed).unwrap_or_default() == fresh {
            continue;
        }
        if env::var_os("DAGOR_REGENERATE").is_some() {
            fs::write(&committed, fresh).unwrap();
        } else {
            stale.push(committed);
        }
    }
    assert!(stale.is_empty(), "{stale:?} differ from proto/; run DAGOR_REGENERATE=1 cargo test --test proto");
}
