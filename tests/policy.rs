//! Policy files: the manual says what the code does, faults come all at once, and no text makes the reader panic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, env, fs, path::Path, time::Duration};

use dagor::{
    admission::GateMode,
    id::BusinessCode,
    policy::{CHAT_TOML, DEFAULT_TOML, Faults, Policy, Revision, ServiceIndex, Sources, check_file, known_keys},
};
use proptest::prelude::*;

/// The faults of one text, as `line:column key: message`.
fn faults_of(text: &str) -> Vec<String> {
    let faults = Policy::parse("policy.toml", text).expect_err("the text was taken for a policy");
    let line = |f: &dagor::policy::Fault| format!("{}:{} {}: {}", f.line, f.column, f.key_path, f.message);
    faults.iter().map(line).collect()
}

fn faults_of_fixture(name: &str) -> Faults {
    Policy::load(&Path::new("tests/data/policy").join(name)).expect_err("the fixture was taken for a policy")
}

/// Compares with a committed file. After a change there: `DAGOR_REGENERATE=1 cargo test --test policy`.
fn assert_rendered(faults: &Faults, expected: &str) {
    let path = Path::new("tests/data/policy").join(expected);
    let rendered = faults.render(false);
    if env::var_os("DAGOR_REGENERATE").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    assert_eq!(rendered, fs::read_to_string(&path).unwrap());
}

#[test]
fn all_faults_of_a_file_are_shown_at_once_where_they_were_written() {
    let faults = faults_of_fixture("faulty.toml");
    assert_eq!(faults.iter().count(), 20);
    assert_rendered(&faults, "faulty.txt");
}

#[test]
fn all_syntax_errors_are_shown_with_their_places() {
    assert_rendered(&faults_of_fixture("syntax.toml"), "syntax.txt");
}

#[test]
fn a_failing_test_is_a_fault_where_it_stands() {
    assert_rendered(&faults_of_fixture("failing.toml"), "failing.txt");
}

#[test]
fn color_is_for_terminals_only() {
    let faults = faults_of_fixture("syntax.toml");
    assert!(faults.render(true).contains('\x1b'));
    assert!(!faults.render(false).contains('\x1b'));
}

#[test]
fn a_directory_is_one_policy_and_other_files_in_it_are_none() {
    let policy = Policy::load(Path::new("tests/data/policy/split")).unwrap();
    let names: Vec<_> = policy.businesses.iter().map(|business| business.name.as_str()).collect();
    assert_eq!(names, ["login", "message", "moments"]);
    assert_eq!(policy.connections.max, 1000);
}

#[test]
fn a_plain_table_stands_in_one_file_only() {
    let faults = faults_of_fixture("twice");
    let fault = faults.iter().next().unwrap();
    assert!(fault.file.ends_with("b.toml"), "{}", fault.file);
    assert_eq!((fault.line, fault.message.as_str()), (2, "`[connections]` stands in another file already"));
}

#[test]
fn a_path_that_cannot_be_read_is_a_fault_of_the_file() {
    let empty = tempfile::tempdir().unwrap();
    let odd = empty.path().join("odd.toml");
    let why = |path: &Path| Policy::load(path).unwrap_err().iter().next().unwrap().message.clone();
    assert!(why(empty.path()).contains("no file in this directory ends in `.toml`"));
    assert!(why(&odd).contains("No such file"));
    fs::write(&odd, [b'#', 0xff]).unwrap();
    assert!(why(&odd).contains("byte 1 is not UTF-8"));
    fs::write(&odd, " \n").unwrap();
    assert!(why(&odd).contains("it is empty"));
    fs::write(&odd, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(why(&odd).contains("1048576 bytes"));
}

#[test]
fn marks_are_allowed_only_as_far_as_is_written() {
    let text = "[[tier]]\nname = \"all\"\nlevels = [16, 127]\n[[tier]]\nname = \"vip\"\nlevels = [0, 15]\n\
        [[service]]\nname = \"main\"\n[service.marks]\nlevels = [0, 31]\ntiers = [\"vip\"]\nlongest = \"5m\"\n\
        [[service]]\nname = \"other\"\n";
    let policy = Policy::parse("p", &(text.to_owned() + "[[business]]\nname = \"a\"\ncode = 2\nservice = \"main\"\n"));
    let policy = policy.unwrap();
    let [main, other] = ["main", "other"].map(|name| &policy.service_named(name).unwrap().marks);
    assert_eq!((main.levels, &main.tiers[..], main.longest), (Some((0, 31)), &[1][..], Duration::from_secs(300)));
    assert_eq!((other.levels, &other.tiers[..]), (None, &[][..]));
    assert_eq!(policy.service_of(BusinessCode(2)).unwrap().name, "main");
    assert!(policy.service_of(BusinessCode::LOGIN).is_none());
}

#[test]
fn what_is_wrong_with_marks_is_shown_where_it_was_written() {
    let text = "[[service]]\nname = \"main\"\n[service.marks]\nlevels = [9, 128]\ntiers = [\"gold\"]\n\
        longest = \"0s\"\nlevel = 3\n[[service]]\nname = \"other\"\n[service.marks]\nlevels = \"all\"\n";
    assert_eq!(
        faults_of(text),
        [
            "1:1 : there are several services: which one answers this?",
            "4:10 service[0].marks.levels: levels are two numbers from 0 to 127, the lower one first",
            "5:10 service[0].marks.tiers[0]: unknown tier `gold`",
            "6:11 service[0].marks.longest: longest must be from 1s to 30days, not 0s",
            "7:1 service[0].marks.level: unknown key `level`",
            "11:10 service[1].marks.levels: expected two numbers such as [0, 127], or \"none\"",
        ]
    );
}

#[test]
fn the_manual_says_what_holds_where_nothing_is_written() {
    let manual = Policy::built_in_default();
    let nothing = Policy::parse("nothing", "").unwrap();
    assert_eq!(Policy { revision: nothing.revision, tests: Vec::new(), ..manual.clone() }, nothing);
    assert_eq!(Policy::default(), manual);
    let names: Vec<_> = manual.businesses.iter().map(|business| (business.code.0, business.name.as_str())).collect();
    assert_eq!(names, [(1, "login"), (2, "request")]);
    assert_eq!(manual.business_named("request").unwrap().service, Some(ServiceIndex(0)));
}

#[test]
fn the_chat_policy_ranks_businesses_as_wechat_does() {
    let policy = Policy::built_in_chat();
    let mut ranked: Vec<_> = policy.businesses.iter().map(|b| (b.priority, b.code.0, b.name.as_str())).collect();
    ranked.sort_unstable();
    assert_eq!(ranked, [(0, 1, "login"), (10, 10, "payment"), (20, 20, "message"), (30, 30, "moments")]);
    assert_eq!(policy.services.len(), 1);
    assert_eq!(policy.tiers[0].name, "default");
    assert_eq!(policy.business(BusinessCode(20)).unwrap().timeout, Duration::from_millis(500));
}

#[test]
fn what_a_business_leaves_out_has_a_default() {
    let policy = Policy::parse("p", "[[business]]\nname = \"sync\"\ncode = 7\n").unwrap();
    let sync = policy.business_named("sync").unwrap();
    assert_eq!((sync.priority, sync.service, sync.timeout), (63, Some(ServiceIndex(0)), Duration::from_millis(500)));
    let login = policy.business(BusinessCode::LOGIN).unwrap();
    assert_eq!((login.priority, login.service, login.timeout), (0, None, Duration::from_secs(5)));
}

#[test]
fn settings_of_a_service_are_its_own() {
    let text = "[[service]]\nname = \"a\"\n[service.gate]\nmode = \"dry-run\"\n[service.queue]\ncapacity = 5\n\
                [[service]]\nname = \"b\"\n[[business]]\nname = \"x\"\ncode = 3\nservice = \"b\"\n";
    let policy = Policy::parse("p", text).unwrap();
    assert_eq!((policy.services[0].gate.mode, policy.services[0].queue.capacity), (GateMode::DryRun, 5));
    assert_eq!((policy.services[1].gate.mode, policy.services[1].queue.capacity), (GateMode::Enforce, 10_000));
    assert_eq!(policy.business_named("x").unwrap().service, Some(ServiceIndex(1)));
}

#[test]
fn limits_of_connections_must_fit_each_other() {
    let fault = |settings: &str| faults_of(&format!("[connections]\n{settings}\n"));
    assert_eq!(fault("max = 0"), ["2:7 connections.max: max must be from 1 to 100000000, not 0"]);
    assert_eq!(fault("max_per_ip = 0"), ["2:14 connections.max_per_ip: max_per_ip must be from 1 to 100000000, not 0"]);
    assert_eq!(
        fault("login_rate = \"0/s\""),
        ["2:14 connections.login_rate: login_rate must be from 1/h to 10000000/s, not 0/h"]
    );
    assert_eq!(
        fault("heartbeat_tolerance = \"30s\""),
        ["2:23 connections.heartbeat_tolerance: heartbeat (30s) must be shorter than heartbeat_tolerance (30s)"]
    );
    assert_eq!(fault("max_age = \"59s\""), ["2:11 connections.max_age: max_age must be from 1m to 30days, not 59s"]);
    assert_eq!(
        fault("max_age = 3600"),
        ["2:11 connections.max_age: expected a duration in text with a unit, or \"unlimited\", found an integer"]
    );
    assert_eq!(
        fault("max_body = \"16MiB\""),
        ["2:12 connections.max_body: max_body must be from 1B to 16777215B, not 16MiB"]
    );
    assert_eq!(
        fault("max_body = \"2KiB\""),
        ["2:12 connections.max_body: max_body_before_login (4KiB) must not exceed max_body (2KiB)"]
    );
    assert_eq!(
        fault("max_body = \"256KiB\""),
        ["2:12 connections.max_body: outgoing_bytes (256KiB) must hold one frame of max_body (256KiB and a header)"]
    );
    assert_eq!(
        fault("outgoing_bytes_total = \"128KiB\""),
        [
            "2:24 connections.outgoing_bytes_total: outgoing_bytes_total (128KiB) must not be below outgoing_bytes (256KiB)"
        ]
    );
    assert_eq!(
        fault("keep_for = \"100ms\"\n[[business]]\nname = \"x\"\ncode = 2\ntimeout = \"1s\""),
        ["6:11 business[0].timeout: a try must not take longer than a message is kept (connections.keep_for, 100ms)"]
    );
}

#[test]
fn an_age_of_connections_is_a_time_or_unlimited() {
    let age =
        |value: &str| Policy::parse("p", &format!("[connections]\nmax_age = {value}")).unwrap().connections.max_age;
    assert_eq!((age("\"unlimited\""), age("\"90m\"")), (None, Some(Duration::from_secs(5400))));
}

#[test]
fn codes_zero_and_one_are_reserved() {
    let business = |name: &str, code: u32| format!("[[business]]\nname = \"{name}\"\ncode = {code}\n");
    assert_eq!(faults_of(&business("x", 0)), ["3:8 business[0].code: code 0 means \"no business\""]);
    assert_eq!(faults_of(&business("x", 1)), ["3:8 business[0].code: code 1 belongs to `login`"]);
    assert_eq!(faults_of(&business("login", 2)), ["3:8 business[0].code: `login` has code 1"]);
    assert_eq!(faults_of(&business("x", 65_536)), ["3:8 business[0].code: a code is at most 65535"]);
}

#[test]
fn names_are_short_plain_and_given_once() {
    let twice = "[[business]]\nname = \"x\"\ncode = 2\n[[business]]\nname = \"x\"\ncode = 3\n";
    assert_eq!(faults_of(twice), ["5:8 business[1].name: there is a business `x` already"]);
    let odd = "[[tier]]\nname = \"a b\"\nlevels = [0, 1]\n[[tier]]\nlevels = [2, 1]\n";
    assert_eq!(
        faults_of(odd),
        [
            "2:8 tier[0].name: a name is 1 to 64 letters, digits, `-`, `_` or `.`",
            "4:1 tier[1]: `name` is missing",
            "5:10 tier[1].levels: levels are two numbers from 0 to 127, the lower one first",
        ]
    );
}

#[test]
fn lists_and_faults_are_bounded() {
    let business = |code: u32| format!("[[business]]\nname = \"b{code}\"\ncode = {code}\n");
    let many: String = (2..515).map(business).collect();
    assert_eq!(faults_of(&many), ["1537:1 business[512]: a policy holds at most 512 businesses"]);
    let odd: String = (0..1000).map(|key| format!("k{key} = 1\n")).collect();
    let faults = Policy::parse("odd.toml", &odd).unwrap_err();
    assert_eq!((faults.total(), faults.iter().count()), (1000, 100));
    assert!(faults.render(false).ends_with("\n1000 faults in the policy, the first 100 are shown\n"));
}

#[test]
fn with_several_services_a_business_names_its_own() {
    let text = "[[service]]\nname = \"a\"\n[[service]]\nname = \"b\"\n[[business]]\nname = \"x\"\ncode = 2\n";
    assert_eq!(faults_of(text), ["5:1 business[0]: there are several services: which one answers this?"]);
}

#[test]
fn a_login_takes_neither_service_nor_timeout() {
    let text = "[[business]]\nname = \"login\"\ncode = 1\nservice = \"main\"\ntimeout = \"1s\"\n";
    assert_eq!(faults_of(text).len(), 2);
}

#[test]
fn a_test_may_not_let_a_tier_claim_what_it_may_not() {
    let text = "[[tier]]\nname = \"a\"\nlevels = [0, 63]\n[[tier]]\nname = \"b\"\nlevels = [64, 127]\n\
                [[business]]\nname = \"x\"\ncode = 2\ntiers = [\"a\"]\n\
                [[test]]\nname = \"t\"\nbusiness = \"x\"\ntier = \"b\"\ncut = \"63/127\"\nexpect = \"admitted\"\n";
    assert_eq!(faults_of(text), ["14:8 test[0].tier: tier `b` may not claim `x`"]);
}

#[test]
fn a_report_ranks_the_businesses() {
    let report = check_file(Path::new("policies/chat.toml")).unwrap().to_string();
    let (head, table) = report.split_once("\n\n").unwrap();
    assert!(head.starts_with("policies/chat.toml: sound, revision "), "{head}");
    assert!(head.ends_with("4 businesses, 1 service, 2 tiers, 6 tests passed"), "{head}");
    assert_eq!(table.lines().next().unwrap(), "priority  business  code  service      timeout  tiers");
    assert_eq!(table.lines().nth(2).unwrap(), "10        payment   10    main         500ms    all");
}

#[test]
fn a_revision_depends_on_the_text_alone() {
    let revision = |name: &str, text: &str| Sources::from_text(name, text).revision();
    assert_eq!(revision("a", DEFAULT_TOML), revision("b", DEFAULT_TOML));
    assert_ne!(revision("a", DEFAULT_TOML), revision("a", CHAT_TOML));
    // Gateways on different machines compare revisions: this number may never change.
    assert_eq!(revision("a", "# a policy\n"), Revision(9_703_702_534_932_240_768));
}

/// The text that each key of the manual has the first time it is written, by its path without indices.
fn manual() -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut written = BTreeMap::new();
    for line in DEFAULT_TOML.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            written.entry(section.clone()).or_insert_with(String::new);
        } else if let Some((key, value)) = line.split_once(" = ") {
            written.entry(format!("{section}.{key}")).or_insert_with(|| value.to_owned());
        }
    }
    written.entry("gateway".to_owned()).or_default();
    written
}

#[test]
fn the_manual_holds_every_key_and_no_other() {
    assert_eq!(manual().into_keys().collect::<Vec<_>>(), known_keys());
}

#[test]
fn the_reference_lists_every_key_with_its_default() {
    let reference = fs::read_to_string("docs/policy.md").unwrap();
    let mut section = String::new();
    let mut listed = BTreeMap::new();
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("## `") {
            section = heading.trim_matches(['[', ']', '`']).to_owned();
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<_> = row.split(" | ").collect();
            listed.insert(format!("{section}.{}", cells[0].trim_matches('`')), cells[2].trim_matches('`').to_owned());
        }
    }
    let manual: BTreeMap<_, _> = manual().into_iter().filter(|(_, value)| !value.is_empty()).collect();
    assert_eq!(listed.keys().collect::<Vec<_>>(), manual.keys().collect::<Vec<_>>());
    // Elsewhere the manual shows an example, as a name has no default.
    let has_defaults =
        |key: &str| ["connections.", "gateway.", "service.gate", "service.queue"].iter().any(|s| key.starts_with(s));
    for (key, default) in manual.iter().filter(|(key, _)| has_defaults(key)) {
        assert_eq!(listed.get(key), Some(default), "{key}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        if let Err(faults) = Policy::parse("p", &text) {
            prop_assert!(!faults.render(true).is_empty());
        }
    }

    #[test]
    fn no_change_of_the_manual_makes_the_reader_panic(at in 0..DEFAULT_TOML.len(), length in 0..40_usize, new in "[\\[\\]\"=.a-z0-9é\\n]{0,6}") {
        let (from, to) = (DEFAULT_TOML.floor_char_boundary(at), DEFAULT_TOML.floor_char_boundary(at + length));
        let text = format!("{}{new}{}", &DEFAULT_TOML[..from], &DEFAULT_TOML[to..]);
        if let Err(faults) = Policy::parse("p", &text) {
            for fault in faults.iter() {
                prop_assert!(text.get(fault.span.clone()).is_some());
            }
            prop_assert!(!faults.render(false).is_empty());
        }
    }
}
