//! The manifests of docker/kubernetes are what Kubernetes takes, fit together, and configure a broker that starts.

use std::fs;
use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};

use crate::apis::{installed, log_in};

const FOLDER: &str = "docker/kubernetes";

fn read(name: &str) -> String {
    fs::read_to_string(repository(FOLDER).join(name)).unwrap()
}

/// What kubectl is given without kustomize.
fn plain() -> String {
    format!("{}---\n{}", read("base/configuration.yaml"), read("base/mosquitto.yaml"))
}

/// Them and what only an overlay adds.
fn monitored() -> String {
    format!("{}---\n{}", plain(), read("monitoring/servicemonitor.yaml"))
}

/// Whether the manifests are valid, and what is said of them.
fn validate(manifests: &str) -> (bool, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), manifests).unwrap();
    let output = Command::new(installed(".examples/schemathesis/bin/python"))
        .arg(repository("mosquitto-test/kubernetes/validate.py"))
        .arg(file.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_plain_manifests_are_valid() {
    let (valid, said) = validate(&plain());
    assert!(valid && said == "7 manifests, no mistake\n", "{said}");
    let (valid, said) = validate(&monitored());
    assert!(valid && said == "8 manifests, no mistake\n", "{said}");
}

#[test]
fn what_is_wrong_with_a_manifest_is_seen() {
    let manifests = monitored();
    for (right, wrong, expected) in [
        ("periodSeconds: 2\n", "periodSecond: 2\n", "periodSecond"),
        ("replicas: 1\n", "replicas: one\n", "spec.replicas"),
        ("serviceName: mosquitto-metrics", "serviceName: mosquito", "no Service mosquito"),
        ("secretName: mosquitto-api", "secretName: api", "no Secret api"),
        (
            "podManagementPolicy: Parallel",
            "podManagementPolicies: Parallel",
            "podManagementPolicies",
        ),
        ("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n", "no schema"),
        (
            "- name: data\n              mountPath",
            "- name: date\n              mountPath",
            "'data', 'date'",
        ),
        ("listener 1883", "listener 8883", "mosquitto.conf listens on [8883, 9180]"),
        ("  authorization:", "  authorisation:", "the secret has nothing"),
        ("mqtt-api/authorization", "mqtt/authorization", "nothing is mounted"),
        (
            "- port: metrics\n      path",
            "- port: metric\n      path",
            "no service has the port metric",
        ),
        ("interval: 15s", "interval: 15 seconds", "spec.endpoints.0.interval"),
        ("containerPort: 9180", "containerPort: 9181", "listens on"),
        ("targetPort: mqtt", "targetPort: mqt", "no container has the port mqt"),
    ] {
        assert!(manifests.contains(right), "{right}");
        let (valid, said) = validate(&manifests.replacen(right, wrong, 1));
        assert!(!valid && said.contains(expected), "{wrong}: {said}");
    }
}

#[test]
fn kustomize_and_the_plain_manifests_have_the_same_configuration() {
    let conf = read("base/mosquitto.conf");
    let indented: String = conf
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") })
        .collect();
    assert!(read("base/configuration.yaml").contains(&format!("mosquitto.conf: |\n{indented}---")));
    // In the example, which has TLS, the listener is another, and nothing else.
    let tls = read("example/mosquitto.conf");
    let (_, rest) = tls.split_once("allow_anonymous").unwrap();
    assert_eq!(conf.split_once("allow_anonymous").unwrap().1, rest);
}

on_every_broker! {
    fn the_configuration_is_one_that_a_broker_starts_with(version) {
        let api = AuthServer::answering(|_: &Request| Reply::status(200));
        let config = Broker::config(version);
        let token = config.path("authorization");
        fs::write(&token, "Bearer change-me\n").unwrap();
        let conf = read("base/mosquitto.conf");
        let options = conf.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("plugin_opt_")?.split_once(' ').unwrap();
            let value = match name {
                "http_host" | "http_port" => return None,
                "metrics_listen" => format!("127.0.0.1:{}", free_port()),
                _ => value.replace("/run/secrets/mqtt-api/authorization", token.to_str().unwrap()),
            };
            Some((name.to_owned(), value))
        });
        let options: Vec<_> = options.collect();
        let broker = config.plugin(api.options(options)).start();
        log_in(&broker, "c", "ann", "secret").expect_accepted();
        let [request] = &api.requests_to("/user")[..] else { panic!("{:?}", api.requests()) };
        assert_eq!(request.header("authorization"), Some("Bearer change-me"));
    }
}
