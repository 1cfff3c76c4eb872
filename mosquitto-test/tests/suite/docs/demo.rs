//! What the demonstration installs on the machine of somebody who wants to see it, and what it shows.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use mosquitto_test::broker::{Version, plugin_path};
use mosquitto_test::program::repository;

/// What `mosquitto-test/install.sh` asks apt to install on a machine that has none of it.
fn installs(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("asked");
    let program = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for name in ["dpkg-query", "cargo", "node", "npm"] {
        program(name, "exit 0");
    }
    program("id", "echo 0");
    program("apt-get", &format!("echo \"$@\" >> {}", asked.display()));
    // Nothing is unpacked into the repository.
    program("dpkg-deb", "exit 1");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let script = repository("mosquitto-test/install.sh");
    Command::new("bash").arg(script).args(arguments).env("PATH", path).output().unwrap();
    fs::read_to_string(asked).unwrap()
}

#[test]
fn the_demonstration_installs_no_more_than_it_needs() {
    let (demo, tests) = (installs(&["--demo"]), installs(&[]));
    for needed in ["libclang-dev", "mosquitto-dev", "debian-archive-keyring"] {
        assert!(demo.contains(needed) && tests.contains(needed), "{needed}: {demo}");
    }
    for other in ["jdk", "java", "node", "npm", "python", "nginx", "faketime"] {
        assert!(!demo.contains(other), "{other}: {demo}");
    }
    assert!(tests.contains("default-jdk-headless"), "{tests}");
}

/// What the demonstration prints, if all its steps come out as they should.
fn plays(version: Version, settings: &[(&str, &str)]) -> String {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.env("DEMO_ONCE", "1").env("BROKER", version.name()).envs(settings.iter().copied());
    demo.env("MOSQUITTO_HTTP_AUTH_SO", plugin_path()).env("NO_COLOR", "1");
    let output = demo.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("all as expected."), "{text}\n{output:?}");
    text
}

#[test]
fn the_demonstration_comes_out_as_it_should() {
    let text = plays(Version::V2_1_2, &[]);
    assert!(text.contains("cached, no request"), "{text}");
}

#[test]
fn the_demonstration_of_three_brokers_comes_out_as_it_should() {
    for version in [Version::V2_0_21, Version::V2_1_2] {
        let text = plays(version, &[("DEMO_FLEET", "1")]);
        for shown in [
            "logged in at broker b3: no request",
            r#""applied":3"#,
            "was disconnected at all three",
            "refused by broker b3",
            "runs, and is in touch with the others",
        ] {
            assert!(text.contains(shown), "{shown:?} is not in:\n{text}");
        }
    }
}
