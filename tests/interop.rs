//! The two protocols work with nothing of ours on the other side: a client and a logic service in Python, written
//! against the documents and the `.proto` files alone.

mod site;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use dagor::gateway::PolicySource;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use self::site::within;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
const TRANSPORTS: [&str; 2] = ["tcp", "ws"];

/// A Python with the pinned packages and the generated protobuf modules.
struct Python {
    interpreter: PathBuf,
    modules: PathBuf,
}

impl Python {
    /// Set up by whichever test comes first.
    fn get() -> &'static Self {
        static PYTHON: OnceLock<Python> = OnceLock::new();
        PYTHON.get_or_init(|| Self::set_up().expect("Python is set up: `tests/run` installs what it needs"))
    }

    fn set_up() -> io::Result<Self> {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let environment = scratch.with_file_name("python-venv");
        let interpreter = environment.join("bin/python");
        install(&environment, &interpreter)?;
        let modules = scratch.join("python-modules");
        fs::create_dir_all(&modules)?;
        run(std::process::Command::new(&interpreter)
            .args(["-m", "grpc_tools.protoc", "--proto_path", PROTO, "client.proto", "service.proto"])
            .arg("--python_out")
            .arg(&modules)
            .arg("--grpc_python_out")
            .arg(&modules))?;
        Ok(Self { interpreter, modules })
    }

    /// A script of `tests/python`, which ends with the test at the latest.
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command
            .arg(Path::new(SOURCES).join(name))
            .env("PYTHONPATH", &self.modules)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// Installs the pinned packages, unless the same ones are there.
fn install(environment: &Path, interpreter: &Path) -> io::Result<()> {
    let requirements = Path::new(SOURCES).join("requirements.txt");
    let wanted = fs::read(&requirements)?;
    let installed = environment.join("installed.txt");
    if fs::read(&installed).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    run(std::process::Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment))?;
    let pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "--timeout", "30"];
    run(std::process::Command::new(interpreter).args(pip).arg("--requirement").arg(&requirements))?;
    // Written last: an installation that was interrupted starts again.
    fs::write(installed, wanted)
}

fn run(command: &mut std::process::Command) -> io::Result<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}

/// Has the Python client log in, ask `payloads` of `business`, and wait for all replies and a push.
async fn client(transport: &str, gateway: SocketAddr, business: &str, payloads: &[&str]) -> Value {
    let mut script = Python::get().script("client.py");
    script.args([transport, &gateway.to_string(), "monty", business]).args(payloads);
    let output = within("the client", script.output()).await.expect("Python runs");
    assert!(output.status.success(), "the client failed over {transport}");
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// Starts the Python service; dropping the child ends it.
async fn service() -> (SocketAddr, Child) {
    let mut child = Python::get().script("service.py").stdin(Stdio::piped()).spawn().expect("Python runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = within("the service's address", lines.next_line()).await.expect("standard output is text");
    let address = line.expect("the service says where it listens").parse().expect("an address");
    (address, child)
}

fn replied(payload: &str) -> Value {
    json!({"outcome": "OUTCOME_REPLIED", "reason": 0, "payload": payload})
}

#[tokio::test]
async fn a_python_client_is_answered_and_pushed_to_on_both_transports() {
    let (echo, _) = site::echo().await;
    let gateway = site::gateway(PolicySource::BuiltInChat, 2, echo).await;
    for transport in TRANSPORTS {
        let got = client(transport, gateway.addresses.clients, "message", &["one", "push:two", "drei ä"]).await;
        assert_eq!(got["gateway"], "test");
        assert_eq!(got["businesses"], json!({"login": 1, "payment": 10, "message": 20, "moments": 30}));
        let replies = json!({"1": replied("one"), "2": replied("push:two"), "3": replied("drei ä")});
        assert_eq!(got["replies"], replies, "{transport}");
        assert_eq!(got["push"], json!({"id": 1, "business": 20, "payload": "two"}), "{transport}");
    }
}

#[tokio::test]
async fn a_python_service_answers_and_pushes_through_the_gateway() {
    let (address, _service) = service().await;
    let gateway = site::gateway(PolicySource::BuiltInChat, 2, address).await;
    // More at once than the service grants: the rest waits in the gateway.
    let mut payloads = vec!["hello"; 20];
    payloads[7] = "push:spam";
    for transport in TRANSPORTS {
        let got = client(transport, gateway.addresses.clients, "payment", &payloads).await;
        let replies = got["replies"].as_object().expect("replies by id");
        assert_eq!(replies.len(), payloads.len());
        for (id, reply) in replies {
            let heard = if id == "8" { "python heard spam" } else { "python heard hello" };
            assert_eq!(*reply, replied(heard), "{transport}");
        }
        assert_eq!(got["push"], json!({"id": 1, "business": 10, "payload": "python says spam"}), "{transport}");
    }
}
