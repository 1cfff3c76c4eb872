//! What the demonstration installs on the machine of somebody who wants to see it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

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
