//! Every configuration in the documents is one that the plugin takes.

use std::fs;

use mosquitto_test::command;
use mosquitto_test::prelude::*;
use mosquitto_test::tokens::Issuer;
use serde_json::Value;

use super::stage::PLUGIN;
use super::{blocks, pages};

/// Paths on the pages, which are files of a folder here.
const FOLDERS: [&str; 2] = ["/etc/mosquitto/", "/run/secrets/"];

/// What a fragment lacks.
fn completed(text: &str) -> String {
    let has = |option: &str| text.lines().any(|line| line.starts_with(option));
    let mut whole = text.to_owned();
    let loads = ["plugin ", "auth_plugin ", "global_plugin ", "plugin_load "];
    if !loads.into_iter().any(has) {
        whole = format!("listener 1883\nplugin {}\n{text}", plugin_path().display());
    }
    for (option, value) in [
        ("plugin_opt_http_host", "api.example.com"),
        ("plugin_opt_http_user_route", "/user"),
        ("plugin_opt_http_acl_route", "/acl"),
    ] {
        let is_fragment = !has("listener ");
        if is_fragment && !has(option) {
            whole.push_str(&format!("{option} {value}\n"));
        }
    }
    whole
}

/// The text with its files in this folder.
fn moved(text: &str, folder: &str) -> String {
    let text = FOLDERS.iter().fold(text.to_owned(), |text, place| text.replace(place, folder));
    let plugin = plugin_path();
    // Mosquitto's own plugins are where the tests have unpacked it.
    let own = Version::V2_1_2.bin("../root/usr/lib/x86_64-linux-gnu/mosquitto");
    text.replace(PLUGIN, plugin.to_str().unwrap())
        .replace("jwt_key_file issuer.pub", &format!("jwt_key_file {folder}issuer.pub"))
        .replace("/usr/lib/x86_64-linux-gnu/mosquitto", own.to_str().unwrap())
}

#[test]
fn every_configuration_is_valid() {
    let certs = Certs::new();
    let folder = tempfile::tempdir().unwrap();
    let client = certs.client("broker");
    for (name, source) in
        [("api-ca.pem", certs.ca_file()), ("broker.pem", &client.cert), ("broker.key", &client.key)]
    {
        fs::copy(source, folder.path().join(name)).unwrap();
    }
    for (name, text) in [
        ("http-auth.token", "Bearer t"),
        ("mqtt-api", "Bearer t"),
        ("passwords", "gateway:$7$x\n"),
        ("redis.password", "p\n"),
        ("fleet.key", "0123456789abcdef0123456789abcdef\n"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("issuer.pub"), Issuer::es256().key_file()).unwrap();
    let path = folder.path().join("checked.conf");
    let mut seen = 0;
    for page in pages().iter().map(String::as_str).chain(["README.md"]) {
        for block in blocks(page).iter().filter(|block| block.language == "conf") {
            let text = completed(&block.text);
            let text = moved(&text, &format!("{}/", folder.path().display()));
            fs::write(&path, &text).unwrap();
            let ran = command::run(&["check", path.to_str().unwrap(), "--json"], "");
            assert_eq!(ran.status, 0, "{page}:\n{text}\n{}", ran.all());
            let report: Value = ran.json();
            let shown = report.to_string();
            let has_source = shown.contains("http_host") || shown.contains("jwt_key_file");
            assert!(has_source, "{page}: {report}");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} configurations were found");
}
