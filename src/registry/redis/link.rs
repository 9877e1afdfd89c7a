//! One connection to a Redis, single or Cluster, made anew by itself whenever it is lost. Everything that is generic in
//! the client library ends here.

use std::{collections::BTreeSet, time::Duration};

use redis::{
    Cmd, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion, RedisError, RedisFuture, TlsCertificates,
    Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
};

use super::{Fault, RedisSettings};

/// The first pause before Redis is dialed again, and the longest.
const FIRST_REDIAL: Duration = Duration::from_millis(20);
const REDIAL_AT_MOST: Duration = Duration::from_millis(500);
/// A connection takes several round trips, with TLS and a password; so many timeouts for all of them.
const DIAL_TIMEOUTS: u32 = 4;
/// A command is not tried more often in a Cluster whose slots move; each time takes a part of the same timeout.
const CLUSTER_TRIES: u32 = 3;

/// A connection to a Redis. Clones share it; commands of all of them are pipelined.
#[derive(Clone)]
pub(super) enum Link {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Link {
    /// Connects in the background; the first command waits for it.
    ///
    /// # Errors
    ///
    /// If an address or the certificate is none.
    pub(super) fn open(settings: &RedisSettings) -> Result<Self, Fault> {
        let (timeout, dial) = (settings.timeout, settings.timeout * DIAL_TIMEOUTS);
        if settings.nodes.iter().any(|node| node.starts_with("rediss:")) {
            // Fails if the process has chosen one already, which is as good.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let tls = settings.authority.clone().map(|root| TlsCertificates { client_tls: None, root_cert: Some(root) });
        match &settings.nodes[..] {
            [] => Err(Fault::NoAddress),
            [node] => {
                let info = node.as_str().into_connection_info()?;
                // The third version of the protocol tells when a connection is lost.
                let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
                let info = info.set_redis_settings(redis);
                let client = match tls {
                    Some(tls) if node.starts_with("rediss:") => redis::Client::build_with_tls(info, tls)?,
                    _ => redis::Client::open(info)?,
                };
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(dial))
                    .set_response_timeout(Some(timeout))
                    .set_min_delay(FIRST_REDIAL)
                    .set_max_delay(REDIAL_AT_MOST);
                Ok(Self::Single(ConnectionManager::new_lazy_with_config(client, config)?))
            }
            nodes => {
                let nodes = nodes.iter().map(String::as_str);
                let mut builder =
                    ClusterClient::builder(nodes).retries(CLUSTER_TRIES).use_protocol(ProtocolVersion::RESP3);
                if let Some(tls) = tls {
                    builder = builder.certs(tls);
                }
                let config = ClusterConfig::new().set_connection_timeout(dial).set_response_timeout(timeout);
                Ok(Self::Cluster(builder.build()?.get_pending_async_connection_with_config(config)))
            }
        }
    }

    /// The runs of all servers that routes are written to: one that is new here knows less than its predecessor.
    pub(super) async fn servers(&mut self) -> Result<BTreeSet<String>, RedisError> {
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let texts: Vec<String> = match self {
            Self::Single(link) => vec![info.query_async(link).await?],
            Self::Cluster(link) => {
                let everyone = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let answer = link.route_command(info, everyone).await?;
                let by_node = Vec::<(String, String)>::from_redis_value(answer)?;
                by_node.into_iter().map(|(_, text)| text).collect()
            }
        };
        let run = |text: &String| text.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::to_owned);
        Ok(texts.iter().filter_map(run).collect())
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(link) => link.req_packed_command(cmd),
            Self::Cluster(link) => link.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(link) => link.req_packed_commands(cmd, offset, count),
            Self::Cluster(link) => link.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(link) => link.get_db(),
            Self::Cluster(link) => link.get_db(),
        }
    }
}
