//! A gateway process is killed and started again on the same port while a page sends numbered messages and gets pushes.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use dagor::{
    admission::{GateMode, GateSettings},
    service::{Handler, HandlerError, Push, Reply, Request, Server},
};
use tokio::sync::{mpsc, oneshot};

use crate::{chromium::Chromium, site::Site};

const MESSAGES: usize = 300;
/// While these are being answered the gateway falls: their pushes are out, their replies are lost.
const FALLS: [u64; 3] = [80, 81, 200];

/// Pushes every message back to its sender, then answers it.
struct Mirror {
    /// Asks for the fall of the gateway; the answer comes when it has been started again.
    falls: mpsc::Sender<oneshot::Sender<()>>,
    /// The messages that have not brought it down yet.
    to_fall: Mutex<BTreeSet<u64>>,
}

impl Handler for Mirror {
    async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
        if let Some(gateway) = request.gateway() {
            let key = format!("{}/{}", request.outbox, request.message);
            let text = request.payload.clone();
            let push = Push::to_user(&request.user, &request.business_name, text).dedupe_key(key);
            // A push that meets no connection is lost, which is what is promised; the reply is not.
            let _ = gateway.push(push).await;
        }
        let falls = self.to_fall.lock().unwrap().remove(&request.message.0);
        if falls {
            let (restarted, is_restarted) = oneshot::channel();
            self.falls.send(restarted).await.map_err(|_| HandlerError::failed("the test is over"))?;
            let _ = is_restarted.await;
        }
        Ok(Reply::new(request.payload))
    }
}

/// A gateway process; dropping it kills it.
struct Gateway {
    addresses: [SocketAddr; 3],
    service: SocketAddr,
    child: Child,
}

impl Gateway {
    fn start(service: SocketAddr) -> Self {
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.map(|listener| listener.local_addr().unwrap());
        Self { addresses, service, child: spawn(addresses, service) }
    }

    /// Killed without a word, and started again on the same ports.
    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.addresses, self.service);
    }
}

fn spawn([clients, admin, push]: [SocketAddr; 3], service: SocketAddr) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dagor"));
    command.args(["gateway", "--policy", "tests/web/policy.toml", "--workers", "1"]);
    command.args(["--service", &format!("main={service}"), "--listen", &clients.to_string()]);
    command.args(["--admin", &admin.to_string(), "--push", &push.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn serve(mirror: Mirror) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // As in the policy: what is refused waits for a budget of retries, which takes longer than a test may.
    let gate = GateSettings { mode: GateMode::DryRun, ..GateSettings::default() };
    tokio::spawn(async move { Server::new(mirror).gate(gate).serve(listener, std::future::pending()).await });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_restart_loses_no_message_of_the_page_and_shows_none_twice() {
    let (falls, mut fall) = mpsc::channel(FALLS.len());
    let mirror = Mirror { falls, to_fall: Mutex::new(FALLS.into()) };
    let mut gateway = Gateway::start(serve(mirror).await);
    let mut site = Site::start().await;
    let [clients, ..] = gateway.addresses;
    let page = format!("http://{}/web/restart.html?gateway={clients}&messages={MESSAGES}", site.address);
    let _chromium = Chromium::open(&page);
    let mut fallen = 0;
    let posted = loop {
        tokio::select! {
            posted = site.posted() => break posted,
            Some(restarted) = fall.recv() => {
                gateway.restart();
                fallen += 1;
                let _ = restarted.send(());
            }
        }
    };
    assert_eq!(fallen, FALLS.len());
    let list = |name: &str| serde_json::from_value::<Vec<String>>(posted[name].clone()).unwrap();
    let (sent, pushed) = (list("sent"), list("pushed"));
    let all: BTreeSet<_> = (1..=MESSAGES).map(|number| format!("message {number}")).collect();
    assert_eq!((sent.len(), sent.into_iter().collect()), (MESSAGES, all.clone()));
    let shown: BTreeSet<_> = pushed.iter().cloned().collect();
    assert_eq!(pushed.len(), shown.len(), "no push is shown twice");
    assert!(shown.is_subset(&all) && shown.len() > MESSAGES / 2, "{} pushes", shown.len());
}
