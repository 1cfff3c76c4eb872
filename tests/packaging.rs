//! The example configuration of the packages is one that the plugin takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use mosquitto_http_auth::config;

/// The example as it is after its examples were uncommented: a name and a value for each line.
fn uncommented() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/http-auth.conf");
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.strip_prefix('#').unwrap_or_else(|| panic!("in effect: {line}")))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn every_option_of_the_packaged_example_is_accepted() {
    // The one file that an option is read from is not there on this machine.
    let token = std::env::temp_dir().join(format!("http-auth-token-{}", std::process::id()));
    fs::write(&token, "Bearer a-token").unwrap();
    let options: Vec<_> = uncommented()
        .into_iter()
        .filter_map(|(name, value)| {
            let value = value.replace("/etc/mosquitto/http-auth.token", token.to_str().unwrap());
            Some((name.strip_prefix("plugin_opt_")?.to_owned(), value))
        })
        .collect();
    let config = config::read(&options);
    fs::remove_file(&token).unwrap();
    let config = config.unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(config.warnings, Vec::<String>::new());
    assert!(config.https && config.tls_verify);
}

#[test]
fn the_packaged_example_names_the_plugin_once_and_before_its_options() {
    let lines = uncommented();
    let plugins: Vec<_> =
        lines.iter().enumerate().filter(|(_, (name, _))| name == "plugin").collect();
    let [(place, (_, path))] = plugins[..] else { panic!("not one plugin: {plugins:?}") };
    assert_eq!(path, "@PLUGIN@", "each package puts its own path here");
    let first = lines.iter().position(|(name, _)| name.starts_with("plugin_opt_")).unwrap();
    assert!(place < first);
}
