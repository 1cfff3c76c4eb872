//! What `check` says of files that whoever runs it may not read, though the broker may.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mosquitto_test::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::check::{VALID, mistakes, texts};
use super::{is_root, users};

/// Who owns nothing, and is in no group.
const STRANGER: u32 = 4_000_000;

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder into which everyone may look, with what is needed to check a configuration in it.
struct Stage {
    dir: TempDir,
}

impl Stage {
    fn new() -> Stage {
        let stage = Stage { dir: tempfile::tempdir().unwrap() };
        allow(stage.dir.path(), 0o755);
        stage.file("libmosquitto_http_auth.so", fs::read(plugin_path()).unwrap());
        // By another process: a program that this one has open for writing, or hands on so to what other
        // tests start, cannot be started (ETXTBSY).
        let mut copy = Command::new("cp");
        copy.arg(mosquitto_test::command::path()).arg(stage.path("command"));
        assert!(copy.status().unwrap().success());
        allow(&stage.path("command"), 0o755);
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// One that everyone may read.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        allow(&path, 0o644);
        path
    }

    fn block(&self, more: &str) -> String {
        let library = self.path("libmosquitto_http_auth.so");
        format!("plugin {}\n{VALID}{more}", library.display())
    }

    /// Runs a subcommand as a stranger. Who is not root stays who it is: files without a mode are closed
    /// to their owner, too.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        self.run_as(STRANGER, arguments)
    }

    fn run_as(&self, uid: u32, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(self.path("command"));
        command.args(arguments).arg(self.path("mosquitto.conf")).current_dir("/");
        if is_root() {
            command.uid(uid).gid(uid);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    }

    /// What `check` says of this mosquitto.conf, which has to end with this status.
    fn check(&self, conf: &str, status: i32) -> Value {
        self.file("mosquitto.conf", conf);
        let (ended, said) = self.run(&["check", "--json"]);
        assert_eq!(ended, status, "{said}");
        serde_json::from_str(&said).unwrap()
    }
}

fn unread(report: &Value) -> Vec<String> {
    let blocks = report["plugins"].as_array().unwrap().iter();
    blocks.flat_map(|block| texts(&block["unread"])).chain(texts(&report["unread"])).collect()
}

/// Fails unless this is all that is said of a file, and that neither it nor anything else is a mistake.
#[track_caller]
fn expect_unread(report: &Value, what: &str, obstacle: &str) {
    let said = unread(report);
    let [one] = &said[..] else { panic!("{what}: {report:#}") };
    assert!(one.starts_with(what), "{what}: {one}");
    assert!(one.contains(&format!(", who {obstacle}: run it as root")), "{obstacle}: {one}");
    assert!(one.contains("this command runs as "), "{one}");
    assert_eq!((mistakes(report), &report["valid"]), (String::new(), &Value::Null), "{report:#}");
}

#[test]
fn a_file_that_an_option_names_may_be_readable_to_the_broker() {
    let stage = Stage::new();
    for (option, reference) in [
        ("local_users_file", ""),
        ("jwt_key_file", ""),
        ("jwt_secret_file", ""),
        ("files_password_path", ""),
        ("http_header_X-Key", "@"),
        ("tls_ca_file", ""),
    ] {
        let file = stage.file("closed/file", "s3cret");
        let more = match option {
            "files_password_path" => "plugin_opt_compat go-auth\nplugin_opt_backends files\n",
            "tls_ca_file" => "plugin_opt_http_protocol https\n",
            _ => "",
        };
        let line = format!("{more}plugin_opt_{option} {reference}{}\n", file.display());
        let conf = match option {
            "files_password_path" => stage.block(&line).replace(VALID, ""),
            _ => stage.block(&line),
        };
        let what = format!("option {option} {}: ", file.display());
        allow(&file, 0o000);
        let report = stage.check(&conf, 2);
        expect_unread(&report, &what, "may not read it");
        let line = usize::try_from(report["plugins"][0]["unread"][0]["line"].as_u64().unwrap());
        assert!(conf.lines().nth(line.unwrap() - 1).unwrap().contains(option));
        allow(&file, 0o644);
        allow(&stage.path("closed"), 0o000);
        let obstacle = format!("may not look into {}", stage.path("closed").display());
        expect_unread(&stage.check(&conf, 2), &what, &obstacle);
        allow(&stage.path("closed"), 0o755);
    }
}

#[test]
fn a_file_that_nobody_reads_is_not_missed() {
    let stage = Stage::new();
    let file = stage.file("authority", "");
    allow(&file, 0o000);
    let conf = stage.block(&format!(
        "plugin_opt_http_protocol https\nplugin_opt_tls_verify false\nplugin_opt_tls_ca_file {}\n",
        file.display()
    ));
    assert_eq!(unread(&stage.check(&conf, 0)), Vec::<String>::new());
}

#[test]
fn the_brokers_own_files_and_libraries_may_be_readable_to_it() {
    let stage = Stage::new();
    for name in ["password_file", "acl_file"] {
        let file = stage.file("closed/file", "");
        let conf = format!("{name} {}\n{}", file.display(), stage.block(""));
        let what = format!("{name} {}: ", file.display());
        allow(&file, 0o000);
        expect_unread(&stage.check(&conf, 2), &what, "may not read it");
        allow(&file, 0o644);
        assert_eq!(stage.check(&conf, 0)["valid"], true);
        allow(&stage.path("closed"), 0o000);
        let obstacle = format!("may not look into {}", stage.path("closed").display());
        expect_unread(&stage.check(&conf, 2), &what, &obstacle);
        allow(&stage.path("closed"), 0o755);
    }
    let other = stage.file("other.so", fs::read(plugin_path()).unwrap());
    let conf = format!("plugin {}\n{}", other.display(), stage.block(""));
    for library in [&other, &stage.path("libmosquitto_http_auth.so")] {
        allow(library, 0o000);
        let what = format!("plugin {}: ", library.display());
        expect_unread(&stage.check(&conf, 2), &what, "may not read it");
        allow(library, 0o644);
    }
}

/// What an included file says may be about every line that can be read.
#[test]
fn nothing_is_claimed_of_a_configuration_of_which_a_part_cannot_be_read() {
    let stage = Stage::new();
    let included = stage.file("conf.d/a.conf", "per_listener_settings true\nplugin_load x /y.so\n");
    let folder = stage.path("conf.d");
    let include = format!("include_dir {}\n", folder.display());
    let load = stage.block("").replace("plugin /", "plugin_load x /");
    let options = "plugin_opt_http_user_route u\n";
    for (conf, mistake) in [
        (format!("{include}listener 1\n"), None),
        (format!("{include}{}", stage.block("")), None),
        (format!("{include}listener 1\nplugin_use x\nplugin_opt_cache_ttl soon\n"), None),
        (format!("{include}{load}listener 1\n"), None),
        (format!("{load}{options}{include}listener 1\n"), None),
        (format!("{include}{}{}", stage.block(""), stage.block("")), None),
        (format!("{include}listener mqtt\n"), Some("listener: \"mqtt\" is not allowed")),
        (format!("{include}{}", stage.block("plugin_opt_cache_ttl soon\n")), Some("cache_ttl")),
        (format!("{include}plugin /does/not/exist.so\n"), Some("No such file")),
    ] {
        for (closed, mode) in [(&included, 0o644), (&folder, 0o755)] {
            allow(closed, 0o000);
            let report = stage.check(&conf, if mistake.is_some() { 1 } else { 2 });
            allow(closed, mode);
            let what = format!("include_dir: cannot read {closed:?}: ");
            match mistake {
                None => expect_unread(&report, &what, "may not read it"),
                Some(mistake) => {
                    let said = mistakes(&report);
                    assert!(said.contains(mistake) && !said.contains('\n'), "{mistake}: {said}");
                    assert!(unread(&report)[0].starts_with(&what), "{report:#}");
                }
            }
            let of_blocks = report["plugins"].as_array().unwrap().iter();
            let claims: Vec<_> = of_blocks.flat_map(|block| texts(&block["hints"])).collect();
            assert_eq!((claims, texts(&report["hints"])), (vec![], vec![]), "{conf}");
        }
    }
    allow(&included, 0o000);
    stage.file("mosquitto.conf", include);
    let (status, said) = stage.run(&["login", "-u", "ann", "--no-password"]);
    assert!(said.contains("but not everything could be read: ") && status == 2, "{said}");
}

#[test]
fn the_last_line_says_that_not_everything_could_be_read() {
    let stage = Stage::new();
    let file = stage.file("closed", "s3cret");
    let header = format!("plugin_opt_http_header_X @{}\n", file.display());
    stage.file("mosquitto.conf", stage.block(&header));
    allow(&file, 0o000);
    let (status, said) = stage.run(&["check"]);
    let verdict = "No mistake was found, but not everything could be read.\n";
    assert!(status == 2 && said.ends_with(verdict) && said.contains("  unread: "), "{said}");
    let (status, said) = stage.run(&["login", "-u", "ann", "--no-password"]);
    assert!(said.contains("cannot be read as a whole") && status == 2, "{said}");
    allow(&stage.path("mosquitto.conf"), 0o000);
    let (status, said) = stage.run(&["check"]);
    assert!(status == 2 && said.contains("who may not read it: run it as root\n"), "{said}");
}

#[test]
fn the_brokers_user_knows_what_the_broker_can_read() {
    let stage = Stage::new();
    let file = stage.file("closed", "s3cret");
    allow(&file, 0o000);
    let (user, uid) = user();
    let acl = format!("acl_file {}\n", file.display());
    let header = format!("plugin_opt_http_header_X @{}\n", file.display());
    for (conf, expected) in [
        (acl + &stage.block(""), format!("the user {user} may not read it")),
        (stage.block(&header), "Permission denied".to_owned()),
    ] {
        stage.file("mosquitto.conf", format!("user {user}\n{conf}"));
        let (status, said) = stage.run_as(uid, &["check", "--json"]);
        let report: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((status, unread(&report)), (1, vec![]), "{report:#}");
        assert!(mistakes(&report).contains(&expected), "{report:#}");
    }
}

/// Somebody whom this machine knows, that a test can be, and that is not root.
fn user() -> (String, u32) {
    let own = fs::metadata("/proc/self").unwrap().uid();
    users()
        .into_iter()
        .find(|(name, uid)| if own == 0 { name == "nobody" } else { *uid == own })
        .unwrap()
}
