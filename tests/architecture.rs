//! The rules of the house, read from the source: who may import whom, what the decision core must not know, and how long
//! a file may be. `docs/architecture.md` draws the same order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Each module of the crate with the modules that it may import, itself left out. A row names only rows above it, but for
/// the admin pages, which the gateway serves and which show the gateway.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("clock", &[]),
    ("mac", &[]),
    ("histogram", &[]),
    ("web", &[]),
    ("trace", &[]),
    ("pb", &[]),
    ("admission", &["clock", "id"]),
    ("request", &["admission", "clock"]),
    ("wire", &["admission", "id", "request"]),
    ("layer", &["admission", "clock", "id", "mac", "request"]),
    ("ticket", &["id", "mac", "pb"]),
    ("policy", &["admission", "clock", "id", "wire"]),
    ("registry", &["clock", "id"]),
    ("service", &["admission", "clock", "id", "pb", "registry"]),
    ("manager", &["admission", "clock", "histogram", "id", "pb", "policy", "web"]),
    (
        "gateway",
        &[
            "admin",
            "admission",
            "clock",
            "histogram",
            "id",
            "layer",
            "mac",
            "pb",
            "policy",
            "registry",
            "request",
            "service",
            "ticket",
            "trace",
            "wire",
        ],
    ),
    ("admin", &["admission", "gateway", "policy", "registry", "ticket", "web", "wire"]),
    ("client", &["clock", "id", "pb", "wire"]),
    ("sim", &["admission", "client", "clock", "gateway", "id", "layer", "manager", "policy", "ticket", "trace"]),
    ("load", &["clock", "id", "pb", "trace", "wire"]),
    ("cli", &["client", "clock", "gateway", "id", "load", "manager", "policy", "registry", "service", "sim"]),
];

/// Where decisions are made from arguments alone.
const CORES: &[&str] = &["src/admission/", "src/manager/core/"];

/// What would make a decision depend on more than its arguments.
const IMPURE: &[&str] =
    &["tokio", "std::net", "std::fs", "std::env", "std::time::Instant", "std::time::SystemTime", "fastrand"];

/// A file that is longer has more than one subject.
const MOST_LINES: usize = 500;

struct Source {
    /// Relative to the package.
    path: PathBuf,
    /// The module of the crate that it belongs to.
    module: String,
    /// Without comments; lines keep their numbers.
    code: String,
}

/// All files below `src`, except `lib.rs` and `main.rs`, which belong to no module.
fn sources() -> Vec<Source> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&package.join("src"), &mut files);
    let mut sources: Vec<_> = files.iter().map(|file| Source::read(package, file)).collect();
    sources.retain(|source| !["lib", "main"].contains(&source.module.as_str()));
    assert!(sources.len() > 100, "the sources were not found");
    sources
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    fn read(package: &Path, file: &Path) -> Self {
        let path = file.strip_prefix(package).unwrap().to_owned();
        let first = path.iter().nth(1).unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(file).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
        Self { path, module, code }
    }

    /// Says that the rule is broken at this byte of the code.
    fn fault(&self, at: usize, sentence: &str) -> String {
        let line = 1 + self.code[..at].matches('\n').count();
        format!("{}:{line}: {sentence}", self.path.display())
    }

    /// The paths that begin with `root` (such as `crate::`), groups taken apart, each with its place.
    fn paths(&self, root: &str) -> Vec<(usize, String)> {
        let mut paths = Vec::new();
        for (at, _) in self.code.match_indices(root) {
            let part_of_a_name = self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if !part_of_a_name {
                expand(&self.code, at + root.len(), root, &mut paths);
            }
        }
        paths
    }
}

/// Reads a path that begins at `at`, or each path of a group; returns where it ends.
fn expand(code: &str, mut at: usize, prefix: &str, paths: &mut Vec<(usize, String)>) -> usize {
    let begin = at;
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    at += code[at..].find(|c| !is_path(c)).unwrap_or(code.len() - at);
    let path = format!("{prefix}{}", &code[begin..at]);
    if !code[at..].starts_with('{') {
        paths.push((begin, path));
        return at;
    }
    loop {
        // Past the opening brace or the comma.
        at += 1;
        at += code[at..].len() - code[at..].trim_start().len();
        if code[at..].starts_with('}') {
            return at + 1;
        }
        at = expand(code, at, &path, paths);
        at += code[at..].find([',', '}']).expect("a group ends");
        if code[at..].starts_with('}') {
            return at + 1;
        }
    }
}

/// The module in `crate::module::item`.
fn second(path: &str) -> &str {
    path.split("::").nth(1).unwrap_or_default()
}

fn may_import(module: &str) -> &'static [&'static str] {
    let row = MAY_IMPORT.iter().find(|(name, _)| *name == module);
    row.unwrap_or_else(|| panic!("`{module}` is missing in the table of this test")).1
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_point_one_way() {
    let mut faults = Vec::new();
    for source in sources() {
        let allowed = may_import(&source.module);
        for (at, path) in source.paths("crate::") {
            let imported = second(&path);
            if imported != source.module && !allowed.contains(&imported) {
                faults.push(source.fault(at, &format!("`{}` must not import `{imported}`", source.module)));
            }
        }
    }
    assert_none(&faults);
}

/// An allowance that nobody uses is an invitation.
#[test]
fn the_table_allows_no_more_than_is_used() {
    let mut used = BTreeSet::new();
    for source in sources() {
        for (_, path) in source.paths("crate::") {
            used.insert((source.module.clone(), second(&path).to_owned()));
        }
    }
    let allowed = MAY_IMPORT.iter().flat_map(|(module, imports)| imports.iter().map(move |import| (*module, *import)));
    let unused: Vec<_> = allowed
        .filter(|&(module, import)| !used.contains(&(module.to_owned(), import.to_owned())))
        .map(|(module, import)| format!("`{module}` imports nothing of `{import}`"))
        .collect();
    assert_none(&unused);
}

#[test]
fn a_module_imports_only_what_stands_before_it() {
    let place = |module: &str| MAY_IMPORT.iter().position(|(name, _)| *name == module);
    for (module, imports) in MAY_IMPORT {
        for import in *imports {
            let admin_pages = (*module, *import) == ("gateway", "admin");
            assert!(place(import) < place(module) || admin_pages, "`{module}` stands before `{import}`");
        }
    }
}

/// They share messages only.
#[test]
fn gateways_and_managers_do_not_import_each_other() {
    assert!(!may_import("gateway").contains(&"manager") && !may_import("manager").contains(&"gateway"));
}

#[test]
fn the_sdks_and_the_load_generator_never_import_the_gateway() {
    for module in ["client", "service", "load"] {
        assert!(!may_import(module).contains(&"gateway"), "{module}");
    }
}

#[test]
fn the_decision_cores_read_no_clock_and_touch_no_system() {
    let mut faults = Vec::new();
    let is_core = |source: &&Source| CORES.iter().any(|core| source.path.starts_with(core));
    for source in sources().iter().filter(is_core) {
        for name in IMPURE {
            let root = name.split("::").next().unwrap_or_default().to_owned() + "::";
            let impure =
                |path: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
            for (at, _) in source.paths(&root).iter().filter(|(_, path)| impure(path)) {
                faults.push(source.fault(*at, &format!("a core decides from its arguments, without `{name}`")));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn no_file_is_longer_than_a_reader_bears() {
    let long = sources().into_iter().filter(|source| source.module != "pb").filter_map(|source| {
        let lines = source.code.lines().count();
        let sentence = format!("{lines} lines; split it where a reader would pause (at most {MOST_LINES})");
        (lines > MOST_LINES).then(|| source.fault(source.code.len(), &sentence))
    });
    assert_none(&long.collect::<Vec<_>>());
}

#[test]
fn the_documentation_draws_the_same_order() {
    let drawing =
        page_text("docs/architecture.md").lines().find(|line| line.starts_with("id, clock")).unwrap().to_owned();
    let drawn: Vec<_> = drawing.split(['→', '⇄', ',']).map(str::trim).collect();
    let order: Vec<_> = MAY_IMPORT.iter().map(|(module, _)| *module).collect();
    assert_eq!(drawn, order);
}

#[test]
fn the_layers_alone_compile_as_many_crates_as_the_documentation_says() {
    for (feature, page) in [("layers", "docs/architecture.md"), ("http", "docs/layers.md")] {
        let sentence = format!("{} crates beside this one", crates_of(feature));
        assert!(page_text(page).contains(&sentence), "not in {page}: {sentence}");
    }
}

/// How many crates a feature compiles beside this one. None of them is a runtime.
fn crates_of(feature: &str) -> usize {
    let feature = format!("--features={feature}");
    let tree = ["tree", "--offline", "--locked", "--no-default-features", &feature, "-enormal", "--prefix=none"];
    let output = Command::new(env!("CARGO")).args(tree).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates: BTreeSet<_> = listed.lines().map(|line| line.split(" (").next()).collect();
    assert!(!listed.contains("tokio v"), "the layers need no runtime\n{listed}");
    crates.len() - 1
}

fn page_text(page: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}

/// The test itself sees through groups, and is not taken in by longer names or comments.
#[test]
fn paths_are_found_in_groups_and_alone() {
    let code = "use crate::{a::{B, c::D}, e, f as g};\nmy_crate::x(); crate::h::i();\n".to_owned();
    let source = Source { path: PathBuf::from("src/a.rs"), module: "a".into(), code };
    let paths: Vec<_> = source.paths("crate::").into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["crate::a::B", "crate::a::c::D", "crate::e", "crate::f", "crate::h::i"]);
    assert_eq!(source.fault(40, "here"), "src/a.rs:2: here");
}
