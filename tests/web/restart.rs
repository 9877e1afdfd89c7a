//! A gateway process is killed and started again on the same port, while a page sends numbered messages and gets pushes.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use dagor::service::{Handler, HandlerError, Push, Reply, Request, Server};

use crate::{chromium::Chromium, site::Site};

const MESSAGES: usize = 300;
/// The gateway is killed whenever so many more are shown.
const BETWEEN_KILLS: usize = 80;

/// Pushes every message back to its sender, then answers it.
#[derive(Clone, Default)]
struct Mirror(Arc<Mutex<Vec<String>>>);

impl Handler for Mirror {
    async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
        let text = String::from_utf8_lossy(&request.payload).into_owned();
        self.0.lock().unwrap().push(text.clone());
        if let Some(gateway) = request.gateway() {
            let key = format!("{}/{}", request.outbox, request.message);
            let push = Push::to_user(&request.user, &request.business_name, text).dedupe_key(key);
            // A push that meets no connection is lost, which is what is promised; the reply is not.
            let _ = gateway.push(push).await;
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
        let addresses = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
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
    command.args(["gateway", "--policy", "policies/chat.toml", "--workers", "1"]);
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
    tokio::spawn(async move { Server::new(mirror).serve(listener, std::future::pending()).await });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_restart_loses_no_message_of_the_page_and_shows_none_twice() {
    let mirror = Mirror::default();
    let mut gateway = Gateway::start(serve(mirror.clone()).await);
    let mut site = Site::start().await;
    let [clients, ..] = gateway.addresses;
    let page = format!("http://{}/web/restart.html?gateway={clients}&messages={MESSAGES}", site.address);
    let _chromium = Chromium::open(&page);
    let mut kills = 0;
    let posted = loop {
        let posted = site.posted().await;
        let Some(shown) = posted["shown"].as_u64() else { break posted };
        if shown as usize >= (kills + 1) * BETWEEN_KILLS {
            gateway.restart();
            kills += 1;
        }
    };
    assert_eq!(kills, (MESSAGES - 1) / BETWEEN_KILLS);
    let expected: BTreeSet<_> = (1..=MESSAGES).map(|number| format!("message {number}")).collect();
    let [sent, pushed] =
        ["sent", "pushed"].map(|list| serde_json::from_value::<Vec<String>>(posted[list].clone()).unwrap());
    assert_eq!((sent.len(), sent.into_iter().collect::<BTreeSet<_>>()), (MESSAGES, expected.clone()));
    let shown: BTreeSet<_> = pushed.iter().cloned().collect();
    assert_eq!(pushed.len(), shown.len(), "no push is shown twice");
    assert!(shown.is_subset(&expected) && shown.len() > MESSAGES / 2, "{} pushes", shown.len());
}
