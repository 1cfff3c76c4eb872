//! The API of a soak, and the broker that asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::Plan;
use super::model::{CACHE_TTL, Model};
use super::policy::{self, Access, Right};
use crate::api::{AuthServer, Reply, Request};
use crate::broker::Broker;

/// Answers what the policy says at that moment.
pub struct SoakApi {
    server: AuthServer,
    failing: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
}

impl SoakApi {
    pub fn start(model: &Arc<Model>) -> SoakApi {
        let (failing, requests) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (model, fails, count) = (model.clone(), failing.clone(), requests.clone());
        let server = AuthServer::answering(move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            if fails.load(Ordering::SeqCst) { Reply::status(503) } else { answer(&model, request) }
        });
        SoakApi { server, failing, requests }
    }

    pub fn stop(&self) {
        self.server.stop();
    }

    pub fn fail(&self) {
        self.failing.store(true, Ordering::SeqCst);
    }

    /// After either.
    pub fn recover(&self) {
        if !self.failing.swap(false, Ordering::SeqCst) {
            self.server.restart();
        }
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Keeps the recorded ones from piling up.
    pub fn forget_requests(&self) {
        self.server.forget_requests();
    }
}

fn answer(model: &Model, request: &Request) -> Reply {
    let body = request.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    match request.path.as_str() {
        "/user" => {
            let username = text("username");
            if !model.now(policy::may_log_in(username, text("password"))) {
                return Reply::status(403);
            }
            match policy::number(username).filter(|number| policy::has_rules(*number)) {
                Some(number) => Reply::status(200).json(json!({"acl": policy::rules(number)})),
                None => Reply::status(200),
            }
        }
        "/acl" => Reply::status(if model.now(right(&body)) { 200 } else { 403 }),
        "/batch" => {
            let checks = body["checks"].as_array().expect("a batch has checks");
            let word = |check| if model.now(right(check)) { "allow" } else { "deny" };
            let results: Vec<_> = checks.iter().map(word).collect();
            Reply::status(200).json(json!({"results": results}))
        }
        path => panic!("nobody asks {path}"),
    }
}

fn right(check: &Value) -> Right {
    let access = match check["acc"].as_u64() {
        Some(1) => Access::Read,
        Some(2) => Access::Write,
        Some(4) => Access::Subscribe,
        _ => panic!("nobody asks about {check}"),
    };
    let username = check["username"].as_str().and_then(policy::number);
    match (username, check["topic"].as_str()) {
        (Some(number), Some(topic)) => policy::may(number, access, topic),
        _ => Right::No,
    }
}

/// Every question is asked and waited for, so that a refusal while the API is there is a fault.
pub fn broker(plan: &Plan, api: &SoakApi, metrics_port: u16) -> Broker {
    let metrics = format!("127.0.0.1:{metrics_port}");
    let ttl = CACHE_TTL.as_secs().to_string();
    let options = [
        ("http_user_route", "/user"),
        ("http_acl_route", "/acl"),
        ("http_acl_batch_route", "/batch"),
        ("http_connections", "8"),
        ("http_timeout_ms", "30000"),
        ("http_connect_timeout_ms", "10000"),
        ("cache_ttl", &ttl),
        ("max_block_ms", "60000"),
        ("max_block_percent", "100"),
        ("breaker_open_ms", "500"),
        ("log_level", "warn"),
        ("metrics_listen", &metrics),
    ];
    // No message is dropped for want of room, and the log stays small.
    let lines = ["log_type none", "log_type notice", "log_type information", "log_type warning"];
    let lines = lines.into_iter().chain(["log_type error", "max_queued_messages 100000"]);
    let config = Broker::config(plan.version).plugin(api.server.options(options));
    lines.fold(config, |config, line| config.line(line)).start()
}
