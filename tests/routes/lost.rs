//! A gateway that is killed says nothing; the others tell the service that it is lost. One that leaves tells it itself.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use dagor::{
    clock::Timestamp,
    id::Incarnation,
    registry::{
        Loss, Registry, Teller,
        redis::{RedisRegistry, RedisSettings},
    },
    service::{
        Change, Echo, EchoConfig, PresenceBatch, PresenceError, PresenceEvent, PresenceReceiver, ServeError, Server,
    },
    wire::Reason,
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{cluster::Cluster, conformance, fleet::Fleet, redis::Redis, settings, site::until};

/// Everything that was told: through which gateway's run, and what.
#[derive(Clone, Debug, Default)]
struct Book(Arc<Mutex<Vec<(String, Incarnation, PresenceEvent)>>>);

#[tonic::async_trait]
impl PresenceReceiver for Book {
    async fn receive(&self, batch: PresenceBatch) -> Result<(), PresenceError> {
        let PresenceBatch { gateway, incarnation, events } = batch;
        self.0.lock().unwrap().extend(events.into_iter().map(|event| (gateway.clone(), incarnation, event)));
        Ok(())
    }
}

impl Book {
    /// Who is online through which run of a gateway, and who is gone, in the order in which it was told.
    fn clients(&self) -> Vec<(String, &'static str, Incarnation)> {
        let told = self.0.lock().unwrap();
        let client = |(_, run, event): &(String, Incarnation, PresenceEvent)| match &event.change {
            Change::Online(client) => Some((client.user.clone(), "online", *run)),
            Change::Offline(client) => Some((client.user.clone(), "offline", *run)),
            Change::GatewayLost(_) => None,
        };
        told.iter().filter_map(client).collect()
    }

    /// Which gateway said of which run that it is lost.
    fn lost(&self) -> Vec<(String, Incarnation)> {
        let told = self.0.lock().unwrap();
        let lost = |(gateway, _, event): &(String, Incarnation, PresenceEvent)| match event.change {
            Change::GatewayLost(lost) => Some((gateway.clone(), lost)),
            Change::Online(_) | Change::Offline(_) => None,
        };
        told.iter().filter_map(lost).collect()
    }

    fn run_of(&self, user: &str) -> Incarnation {
        let clients = self.clients();
        clients.iter().find(|(name, what, _)| name == user && *what == "online").unwrap().2
    }
}

/// A service that answers whatever it is asked, and keeps what it is told in this book.
async fn serve(book: &Book) -> (SocketAddr, JoinHandle<Result<(), ServeError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = listener.local_addr().unwrap();
    let echo = Echo::new(EchoConfig { workers: 2, work: Duration::ZERO });
    (service, tokio::spawn(Server::new(echo).presence(book.clone()).serve(listener, pending())))
}

const POLICY: &str = "[[service]]\nname = \"main\"\npresence = true\n";

#[tokio::test]
async fn a_gateway_that_is_killed_is_lost_and_one_that_leaves_is_not() {
    let (redis, book) = (Redis::start(), Book::default());
    let (service, serving) = serve(&book).await;
    let mut fleet = Fleet::start_before(service, POLICY, 3, &redis.url()).await;
    let ann = fleet.gateways[0].login("ann", 1).await;
    let mut ben = fleet.gateways[1].login("ben", 1).await;
    until("both are told of", async || book.clients().len() == 2).await;
    let killed = book.run_of("ann");

    let leaving = async { while ben.next().await.is_some() {} };
    tokio::join!(fleet.gateways[1].leave(), leaving);
    until("ben is gone", async || book.clients().iter().any(|(user, what, _)| user == "ben" && *what == "offline"))
        .await;
    fleet.gateways[0].kill();
    until("the loss is told", async || !book.lost().is_empty()).await;
    assert_eq!(book.lost(), [("g3".to_owned(), killed)]);
    assert!(!book.clients().iter().any(|(user, what, _)| user == "ann" && *what == "offline"), "nobody could say so");
    drop((ann, fleet));
    serving.abort();
}

#[tokio::test]
async fn of_all_who_see_a_loss_one_tells_it() {
    let (redis, book) = (Redis::start(), Book::default());
    let (service, serving) = serve(&book).await;
    let mut fleet = Fleet::start_before(service, POLICY, 4, &redis.url()).await;
    let ann = fleet.gateways[0].login("ann", 1).await;
    until("she is told of", async || book.clients().len() == 1).await;
    let killed = book.run_of("ann");
    fleet.gateways[0].kill();
    let told = format!("HGET dagor:lost:{:016x} main", killed.0);
    // From then on nobody can tell it any more.
    until("the service knows", async || redis.tell(&told).ends_with("known")).await;
    let lost: Vec<_> = book.lost().into_iter().map(|(_, lost)| lost).collect();
    assert_eq!(lost, [killed], "once");
    drop((ann, fleet));
    serving.abort();
}

async fn one_tells(registry: &dyn Registry) {
    let [gone, g1, g2, g3] = ["gone", "g1", "g2", "g3"].map(conformance::home);
    let now = Timestamp::ZERO;
    for home in [&g1, &g2, &g3] {
        registry.renew(home, now).await.unwrap();
    }
    let loss = |service| Loss { lost: gone.incarnation, service };
    let claim = async |service, home| registry.claim_loss(loss(service), home, now).await.unwrap();
    assert_eq!((claim("main", &g1).await, claim("main", &g1).await), (Teller::Own, Teller::Own));
    assert_eq!(claim("main", &g2).await, Teller::Other);
    assert_eq!(claim("search", &g2).await, Teller::Own, "each service is told by itself");
    registry.release(&g1).await.unwrap();
    assert_eq!(claim("main", &g2).await, Teller::Own, "who wanted to tell it has ended");
    registry.settle_loss(loss("main"), &g1, now).await.unwrap();
    assert_eq!(claim("main", &g3).await, Teller::Other, "whose word it was does not count any more");
    registry.settle_loss(loss("main"), &g2, now).await.unwrap();
    assert_eq!((claim("main", &g2).await, claim("main", &g3).await), (Teller::Nobody, Teller::Nobody));
    registry.renew(&gone, now).await.unwrap();
    registry.settle_loss(loss("main"), &g2, now).await.unwrap();
    assert_eq!(claim("main", &g3).await, Teller::Own, "it was there, and is lost once more");
    assert_eq!(claim("main", &g2).await, Teller::Other);
    until("who does not get it told has had its time", async || claim("main", &g2).await == Teller::Own).await;
}

#[tokio::test]
async fn a_loss_is_told_by_one_home_that_lives() {
    // So short that a test can wait for five of them, so long that it need not renew any: what was read counts for as long as
    // its clock stands still.
    let settings = |nodes| RedisSettings { lease: Duration::from_millis(300), ..settings(nodes) };
    let redis = Redis::start();
    one_tells(&RedisRegistry::open(settings(vec![redis.url()])).unwrap()).await;
    let cluster = Cluster::start();
    one_tells(&RedisRegistry::open(settings(cluster.urls())).unwrap()).await;
}

#[tokio::test]
async fn a_gateway_whose_lease_was_lost_says_again_who_is_online() {
    let (redis, book) = (Redis::start(), Book::default());
    let (service, serving) = serve(&book).await;
    let fleet = Fleet::start_before(service, POLICY, 2, &redis.url()).await;
    let ann = fleet.gateways[0].login("ann", 1).await;
    until("she is told of", async || book.clients().len() == 1).await;
    redis.tell("FLUSHALL");
    until("she is told of again", async || book.clients().len() >= 2).await;
    assert_eq!(book.clients()[0], book.clients()[1]);
    assert!(book.lost().is_empty(), "each gateway is back before anybody takes it for lost");
    drop((ann, fleet));
    serving.abort();
}

#[tokio::test]
async fn nobody_is_gone_who_has_logged_in_elsewhere() {
    let (redis, book) = (Redis::start(), Book::default());
    let (service, serving) = serve(&book).await;
    let fleet = Fleet::start_before(service, POLICY, 2, &redis.url()).await;
    let mut old = fleet.gateways[0].login("ann", 1).await;
    until("she is told of", async || book.clients().len() == 1).await;
    let new = fleet.gateways[1].login("ann", 1).await;
    assert_eq!(old.refused().await.reason, Reason::Superseded.code());
    drop(old);
    until("she is told of again", async || book.clients().len() == 2).await;
    // Whatever the first gateway had to say of ann, it says before this.
    let ben = fleet.gateways[0].login("ben", 1).await;
    until("he is told of", async || book.clients().len() >= 3).await;
    let said: Vec<_> = book.clients().into_iter().map(|(user, what, _)| (user, what)).collect();
    assert_eq!(
        said,
        [("ann", "online"), ("ann", "online"), ("ben", "online")].map(|(user, what)| (user.to_owned(), what))
    );
    let orders: Vec<_> = book.0.lock().unwrap().iter().map(|(_, _, event)| event.order()).collect();
    assert!(orders[0] < orders[1], "{orders:?}");
    drop((new, ben, fleet));
    serving.abort();
}
