//! A Redis Cluster of three servers.

use std::time::{Duration, Instant};

use crate::redis::{Durability, Redis, free_port};

const NODES: usize = 3;
const SLOTS: usize = 16384;
/// How long the servers may take to find each other.
const MEETS_WITHIN: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts one and waits until all of its nodes say that it is whole.
    pub(crate) fn start() -> Self {
        let arguments = || {
            let bus = free_port().to_string();
            ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "5000"]
                .map(str::to_owned)
                .to_vec()
        };
        let nodes: Vec<_> = (0..NODES).map(|_| Redis::start_as(Durability::None, None, arguments)).collect();
        for (number, node) in nodes.iter().enumerate() {
            let slots = SLOTS * number / NODES..SLOTS * (number + 1) / NODES;
            assert_eq!(node.tell(&format!("CLUSTER ADDSLOTSRANGE {} {}", slots.start, slots.end - 1)), "+OK");
            // Epochs that are different from the start need not be negotiated.
            assert_eq!(node.tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)), "+OK");
        }
        for node in &nodes[1..] {
            let (address, bus) = (node.address(), node.argument("--cluster-port"));
            assert_eq!(nodes[0].tell(&format!("CLUSTER MEET {} {} {bus}", address.ip(), address.port())), "+OK");
        }
        let cluster = Self { nodes };
        cluster.wait_until_whole();
        cluster
    }

    /// What a registry is given: two of the nodes, which name the third.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes[..NODES - 1].iter().map(Redis::url).collect()
    }

    pub(crate) fn wait_until_whole(&self) {
        let began = Instant::now();
        let is_whole = |node: &Redis| {
            let info = node.tell("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{NODES}"))
        };
        while !self.nodes.iter().all(is_whole) {
            assert!(began.elapsed() < MEETS_WITHIN, "the servers do not find each other");
        }
    }
}
