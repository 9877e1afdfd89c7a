//! The suite that every registry passes, against real servers.

use super::{
    conformance::{self, conformance_tests},
    *,
};

/// One server for all tests that only need one: the suite's users are apart.
mod single {
    use super::*;
    use crate::redis::Redis;

    /// The server lives as long as the registry.
    fn registry(redis: &Redis) -> RedisRegistry {
        RedisRegistry::open(settings(vec![redis.url()])).unwrap()
    }

    conformance_tests!(redis = Redis::start(); registry(&redis));
}

mod in_a_cluster {
    use super::*;
    use crate::cluster::Cluster;

    conformance_tests!(cluster = Cluster::start(); RedisRegistry::open(settings(cluster.urls())).unwrap());
}

mod with_tls_and_a_password {
    use super::*;
    use crate::tls::Secured;

    conformance_tests!(secured = Secured::start(); RedisRegistry::open(secured.settings()).unwrap());
}
