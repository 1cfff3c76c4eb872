//! A Cluster of three masters, one of which has a replica.

use super::{Engine, Redis, until};
use crate::program::free_ports;

/// After how long without a word a node is taken for dead, in milliseconds.
const NODE_TIMEOUT: &str = "1500";

/// What each of the three masters is for.
const SLOTS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];

/// Three masters and a replica.
pub struct Cluster {
    /// The one that has the slot of the key that was given, and then the others.
    pub masters: Vec<Redis>,
    /// It stands in for the first one.
    pub replica: Redis,
}

impl Cluster {
    /// Starts all of them, and waits until they are one Cluster.
    pub fn start(engine: Engine, key: &str) -> Cluster {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..4 {
            let ports = free_ports(2);
            let bus = ports[1].to_string();
            let settings = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                NODE_TIMEOUT,
                "--cluster-replica-validity-factor",
                "0",
                "--repl-diskless-sync-delay",
                "0",
            ];
            nodes.push(Redis::start_on(engine, ports[0], &settings));
            buses.push(bus);
        }
        for (number, (node, slots)) in nodes.iter().zip(SLOTS).enumerate() {
            ok(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            ok(node, &["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            ok(&nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus]);
        }
        for node in &nodes {
            until("the nodes are one Cluster", || {
                let info = node.ask(&["CLUSTER", "INFO"]);
                let says = |text: &str| info.iter().any(|line| line.trim_end() == text);
                says("cluster_state:ok") && says("cluster_known_nodes:4")
            });
        }
        let slot: usize = nodes[0].ask(&["CLUSTER", "KEYSLOT", key])[0].parse().unwrap();
        let owner = SLOTS.iter().position(|[_, last]| slot <= last.parse().unwrap()).unwrap();
        let replica = nodes.pop().unwrap();
        nodes.swap(0, owner);
        let id = nodes[0].ask(&["CLUSTER", "MYID"]).remove(0);
        ok(&replica, &["CLUSTER", "REPLICATE", &id]);
        until("the replica is in step", || {
            replica.ask(&["INFO", "replication"]).iter().any(|line| line == "master_link_status:up")
        });
        let all = Cluster { masters: nodes, replica };
        for node in &all.masters {
            until("all know of the replica", || {
                node.ask(&["CLUSTER", "NODES"])
                    .iter()
                    .any(|line| line.contains(&format!("slave {id}")))
            });
        }
        all
    }

    /// Begins to move the slot of this key from the first master to the second; half of its keys are moved.
    pub fn begin_to_move(&self, key: &str) {
        let [from, to] = [&self.masters[0], &self.masters[1]];
        let slot = from.ask(&["CLUSTER", "KEYSLOT", key]).remove(0);
        let [from_id, to_id] = [from, to].map(|node| node.ask(&["CLUSTER", "MYID"]).remove(0));
        ok(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        ok(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        let keys = keys_in(from, &slot);
        assert!(keys.len() >= 2, "{keys:?}");
        self.migrate(&keys[..keys.len() / 2]);
    }

    /// Moves the rest, and has all know of it.
    pub fn finish_to_move(&self, key: &str) {
        let [from, to] = [&self.masters[0], &self.masters[1]];
        let slot = from.ask(&["CLUSTER", "KEYSLOT", key]).remove(0);
        let to_id = to.ask(&["CLUSTER", "MYID"]).remove(0);
        until("no key is left", || {
            self.migrate(&keys_in(from, &slot));
            keys_in(from, &slot).is_empty()
        });
        for node in [to, from, &self.masters[2]] {
            ok(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }

    fn migrate(&self, keys: &[String]) {
        let port = self.masters[1].port().to_string();
        for key in keys {
            // What has ended meanwhile is not there to be moved.
            self.masters[0].ask(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        }
    }

    /// Has the replica take over, by agreement: the first master is its replica then.
    pub fn hand_over(&self) {
        ok(&self.replica, &["CLUSTER", "FAILOVER"]);
        until("the replica takes over", || {
            is_master(&self.replica) && !is_master(&self.masters[0])
        });
    }
}

fn keys_in(node: &Redis, slot: &str) -> Vec<String> {
    let keys = node.ask(&["CLUSTER", "GETKEYSINSLOT", slot, "1000"]);
    keys.into_iter().filter(|key| !key.is_empty()).collect()
}

fn is_master(node: &Redis) -> bool {
    node.ask(&["ROLE"]).first().is_some_and(|role| role == "master")
}

fn ok(node: &Redis, command: &[&str]) {
    assert_eq!(node.ask(command), ["OK"], "{command:?}");
}
