//! A gateway in this process in front of one scripted instance, and what tests wait for.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use dagor::{
    client::{ClientConfig, DirectClient, Pushes},
    gateway::{self, Gateway, GatewayConfig, PolicySource, Running, dispatch::InstanceHandle},
    id::BusinessCode,
    policy::table::ServiceAddresses,
    service::PushClient,
};
use tempfile::TempDir;

use super::{
    service::{Instance, Script, Shape},
    talker::Talker,
};

/// Every wait ends after this time at the latest.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const PAYMENT: BusinessCode = BusinessCode(10);
pub(crate) const MESSAGE: BusinessCode = BusinessCode(20);
pub(crate) const MOMENTS: BusinessCode = BusinessCode(30);

/// What a test wants otherwise than most.
pub(crate) struct Plan {
    /// Lines of the policy's `[connections]`.
    pub(crate) connections: &'static str,
    /// Lines of the policy's `[[service]]`.
    pub(crate) service: &'static str,
    /// Lines of the policy's `[service.queue]`.
    pub(crate) queue: &'static str,
    /// Lines behind everything else, where the policy's last table is the business `moments`.
    pub(crate) moments: &'static str,
    /// Threads of the gateway.
    pub(crate) workers: usize,
    pub(crate) instance: Shape,
}

impl Default for Plan {
    fn default() -> Self {
        Self { connections: "", service: "", queue: "", moments: "", workers: 1, instance: |server| server }
    }
}

/// A policy with three businesses. Its gates never find themselves overloaded: a busy machine must not fail a test.
pub(crate) fn policy(plan: &Plan, [payment, message, moments]: [u8; 3]) -> String {
    let business = |name: &str, code: BusinessCode, priority: u8| {
        format!("[[business]]\nname = \"{name}\"\ncode = {code}\npriority = {priority}\ntimeout = \"30s\"\n")
    };
    let gate = "target = \"10s\"\nwindow = \"60s\"";
    [
        format!("[connections]\n{}\n[gateway.gate]\n{gate}\n", plan.connections),
        format!("[[service]]\nname = \"main\"\n{}\n[service.gate]\n{gate}\n", plan.service),
        format!("[service.queue]\n{}\n", plan.queue),
        business("payment", PAYMENT, payment),
        business("message", MESSAGE, message),
        business("moments", MOMENTS, moments),
        plan.moments.to_owned(),
    ]
    .concat()
}

/// The gateway and its surroundings.
pub(crate) struct Site {
    pub(crate) running: Running,
    pub(crate) instance: Instance,
    directory: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(Plan::default()).await
    }

    /// Starts the instance and the gateway, and waits until every worker knows its grants.
    pub(crate) async fn with(plan: Plan) -> Self {
        let instance = Instance::start(plan.instance).await;
        Self::before(instance.address, instance, plan).await
    }

    /// Puts the gateway in front of what listens at `address` instead of the plan's instance.
    pub(crate) async fn in_front_of(address: SocketAddr, plan: Plan) -> Self {
        Self::before(address, Instance::start(plan.instance).await, plan).await
    }

    async fn before(address: SocketAddr, instance: Instance, plan: Plan) -> Self {
        Self::before_all(vec![address], instance, plan).await
    }

    /// Puts the gateway in front of several instances; `instance` is the one that does as it is told.
    pub(crate) async fn before_all(instances: Vec<SocketAddr>, instance: Instance, plan: Plan) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        fs::write(&path, policy(&plan, [10, 20, 30])).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = GatewayConfig {
            name: "test".into(),
            clients: any_port,
            admin: any_port,
            push: any_port,
            push_advertised: None,
            workers: plan.workers,
            services: vec![ServiceAddresses { name: "main".into(), instances }],
            policy: PolicySource::File(path),
            priority_key: [7; 16],
            sample: None,
            managers: None,
            routes: gateway::RouteStore::Memory,
        };
        let running = gateway::start(config).await.unwrap();
        let site = Self { running, instance, directory };
        site.linked().await;
        site
    }

    /// Waits until every worker is linked to the instance and knows how much it may send.
    pub(crate) async fn linked(&self) {
        until("links to the instance", || {
            self.links().iter().all(|one| one.link().grants().is_some_and(|grants| one.queue().places() == grants))
        })
        .await;
    }

    /// What each worker knows of the instance.
    pub(crate) fn links(&self) -> Vec<InstanceHandle> {
        self.gateway().worker_list().iter().flat_map(|worker| worker.instances().concat()).collect()
    }

    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.running.gateway
    }

    pub(crate) fn script(&self) -> &Script {
        &self.instance.script
    }

    /// Where clients connect.
    pub(crate) fn clients(&self) -> SocketAddr {
        self.running.addresses.clients
    }

    pub(crate) fn policy_path(&self) -> PathBuf {
        self.directory.path().join("policy.toml")
    }

    /// How a client of this gateway is configured.
    pub(crate) fn config(&self, user: &str) -> ClientConfig {
        ClientConfig::new(self.clients().to_string(), user)
    }

    /// A client that is logged in.
    pub(crate) async fn client(&self, user: &str) -> (DirectClient, Pushes) {
        within("login", DirectClient::connect(self.config(user))).await.unwrap()
    }

    /// Frames by hand, logged in.
    pub(crate) async fn talker(&self, user: &str) -> Talker {
        Talker::login(self.clients(), user).await
    }

    /// Pushes as a logic service does.
    pub(crate) fn pusher(&self) -> PushClient {
        PushClient::new(self.running.addresses.push.to_string())
    }

    /// Waits until this many handlers have begun.
    pub(crate) async fn started(&self, calls: usize) {
        until("calls at the service", || self.script().started().len() >= calls).await;
    }

    /// Waits until nothing is held for anybody, and stops. To be called when all clients are gone.
    pub(crate) async fn end(self) {
        let gateway = self.gateway().clone();
        until("the roster is empty", || gateway.roster.is_empty()).await;
        until("all permits are back", || gateway.limits.open() == 0).await;
        until("all bytes are given back", || gateway.budget.used() == 0).await;
        let pulses = || gateway.worker_list().iter().map(|worker| worker.heartbeats.len()).sum::<usize>();
        until("nobody is watched any more", || pulses() == 0).await;
        within("shutdown", self.running.shutdown()).await;
    }
}

/// Waits for `future`, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else { panic!("{what}: nothing after {PATIENCE:?}") };
    output
}

/// Waits until something is so, of which nobody is told.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    within(what, async {
        while !is_so() {
            looks.tick().await;
        }
    })
    .await;
}
