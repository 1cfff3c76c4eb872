//! `check` finds the mistakes that stop the broker, and says them in the same words.

use std::fs;
use std::path::Path;

use mosquitto_test::command::{Ran, run};
use mosquitto_test::prelude::*;
use serde_json::Value;

use super::{Conf, is_root};

const HOST: (&str, &str) = ("http_host", "127.0.0.1");
const USER: (&str, &str) = ("http_user_route", "/user");

pub fn texts(remarks: &Value) -> Vec<String> {
    let text = |remark: &Value| remark["text"].as_str().unwrap_or_default().to_owned();
    remarks.as_array().unwrap().iter().map(text).collect()
}

/// A setting's value and origin.
pub fn setting(report: &Value, name: &str) -> (String, String) {
    let settings = report["plugins"][0]["settings"].as_array().unwrap();
    let found = settings.iter().find(|setting| setting["name"] == name).unwrap();
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

/// Starts a broker that has to refuse its configuration, and has the command say the same of it; each
/// mistake with a line of the file that names its option. Returns the mistakes.
pub fn expect_the_same(config: BrokerConfig) -> Vec<String> {
    let failed = config.start_expecting_failure();
    let ours = failed.log.lines().filter_map(|line| line.strip_prefix("mosquitto-http-auth: "));
    let logged: Vec<_> = ours.map(str::to_owned).collect();
    assert!(!logged.is_empty(), "{}", failed.log);
    let conf = Conf::new(&failed.configuration);
    let report = conf.json("check", &[], "", 1);
    assert_eq!(report["valid"], false);
    let mistakes = &report["plugins"][0]["mistakes"];
    assert_eq!(texts(mistakes), logged);
    for mistake in mistakes.as_array().unwrap() {
        let file = fs::read_to_string(mistake["file"].as_str().unwrap()).unwrap();
        let line = usize::try_from(mistake["line"].as_u64().unwrap()).unwrap();
        let line = file.lines().nth(line - 1).unwrap();
        let text = mistake["text"].as_str().unwrap();
        let named = text.strip_prefix("option ").and_then(|rest| rest.split([':', ' ']).next());
        let is_there = named.is_some_and(|option| line.contains(&format!("_opt_{option}")));
        // What is missing, or about several options, is said of the block.
        assert!(is_there || line.starts_with("plugin /"), "{line:?} has nothing to do with {text}");
    }
    logged
}

on_every_broker! {
    fn every_mistake_is_said_as_in_the_brokers_log(version) {
        let refused = refused_port().to_string();
        let table: &[&[(&str, &str)]] = &[
            &[USER],
            &[HOST],
            &[HOST, USER, ("cache_ttl", "soon")],
            &[HOST, USER, ("cache_ttl", "1"), ("cache_ttl", "2")],
            &[HOST, USER, ("http_header_X-Key", "s3cret-a"), ("http_header_x-key", "s3cret-b")],
            &[HOST, USER, ("http_user_fields", "clientid,colour")],
            &[HOST, ("http_acl_route", "acl"), ("on_error", "Deny"), ("http_port", &refused)],
            &[HOST, USER, ("colour", "red"), ("cash_ttl", "1"), ("bearer_token", "hunter2")],
            &[HOST, USER, ("http_acl_batch_route", "/b")],
            &[HOST, ("http_acl_route", "/a"), ("http_acl_batch_route", "/b"), ("http_params_mode", "form")],
            &[HOST, USER, ("tls_ca_file", "/does/not/exist"), ("http_protocol", "https")],
            &[HOST, USER, ("tls_cert_file", "/does/not/exist"), ("http_protocol", "https")],
            &[HOST, USER, ("local_users_file", "/does/not/exist")],
            &[HOST, USER, ("http_header_X-Key", "$DOES_NOT_EXIST_ANYWHERE")],
            &[("http_host", "http://api"), USER, ("cache_max_bytes", "1")],
            &[HOST, ("http_getuser_uri", "/u"), ("backends", "redis")],
            &[HOST, ("http_getuser_uri", "/u"), ("http_with_tls", "true")],
        ];
        for options in table {
            expect_the_same(Broker::config(version).plugin(options.iter().copied()));
        }
    }

    fn a_file_is_read_as_the_broker_reads_it(version) {
        let folder = tempfile::tempdir().unwrap();
        let included = folder.path().join("conf.d");
        fs::create_dir(&included).unwrap();
        // An included file begins anew: its options need a plugin line of their own.
        let plugin = plugin_path();
        let plugin = plugin.display();
        fs::write(included.join("ignored"), "plugin_opt_nobody reads this\n").unwrap();
        fs::write(included.join(".conf"), "plugin_opt_nobody reads this\n").unwrap();
        fs::write(included.join("B.conf"), "# nothing\n\n").unwrap();
        fs::write(
            included.join("a.conf"),
            format!(
                "plugin {plugin}\r\n#plugin_opt_comment 1\r\n\r\nauth_opt_colour  red blue \r\n\
                 plugin_opt_taste \t sweet # not a comment\n   plugin_opt_shape \"round\"\n\
                 plugin_opt_http_host a b"
            ),
        )
        .unwrap();
        let config = Broker::config(version).line(&format!("include_dir {}", included.display()));
        let mistakes = expect_the_same(config);
        let named = ["colour", "taste", "shape", "http_host", "at least"];
        for (mistake, name) in mistakes.iter().zip(named) {
            assert!(mistake.contains(name), "{mistakes:?}");
        }
        assert!(mistakes[0].contains("(given: \"red blue\")"), "{}", mistakes[0]);
        assert!(mistakes[1].contains("(given: \"sweet # not a comment\")"), "{}", mistakes[1]);
    }

    fn what_a_broker_starts_with_is_valid(version) {
        let api = AuthServer::start();
        let key = tempfile::NamedTempFile::new().unwrap();
        fs::write(key.path(), "k3y-in-a-file").unwrap();
        let header = format!("@{}", key.path().display());
        let config = Broker::config(version)
            .plugin(api.options([USER, ("http_header_X-Key", header.as_str()), ("cache_ttl", " 7 ")]));
        let broker = config.start();
        let path = broker.dir().join("mosquitto.conf");
        let ran = run(&["check", "--json", path.to_str().unwrap()], "");
        assert_eq!(ran.status, 0, "{}", ran.all());
        let report = ran.json();
        assert_eq!((&report["valid"], texts(&report["mistakes"])), (&true.into(), vec![]));
        let in_force = |name: &str| setting(&report, name);
        let host = format!("127.0.0.1:{}", api.port());
        assert_eq!(in_force("http_host"), (host, "given".into()));
        assert_eq!(in_force("cache_ttl"), ("7".into(), "given".into()));
        assert_eq!(in_force("cache_acl_ttl"), ("7".into(), "default".into()));
        assert_eq!(in_force("http_acl_route"), ("unset".into(), "default".into()));
        let source = format!("set, from the file {}", key.path().display());
        assert_eq!(in_force("http_header_X-Key"), (source, "given".into()));
        assert!(!ran.all().contains("k3y-in-a-file"));
        assert!(api.requests().is_empty(), "a check asks nobody");
    }
}

/// What `check` says about this text, with its status. The broker stays root, who may read whatever
/// folder the tests are built in.
fn check(text: &str, status: i32) -> Value {
    Conf::new(&format!("user root\n{text}")).json("check", &[], "", status)
}

/// Every mistake, of the file and of its blocks.
pub fn mistakes(report: &Value) -> String {
    let blocks = report["plugins"].as_array().unwrap().iter();
    let all = blocks.flat_map(|block| texts(&block["mistakes"])).chain(texts(&report["mistakes"]));
    all.collect::<Vec<_>>().join("\n")
}

pub fn hints(report: &Value) -> String {
    let blocks = report["plugins"].as_array().unwrap().iter();
    let all = blocks.flat_map(|block| texts(&block["hints"])).chain(texts(&report["hints"]));
    all.chain(texts(&report["warnings"])).collect::<Vec<_>>().join("\n")
}

pub const VALID: &str = "plugin_opt_http_host localhost\nplugin_opt_http_user_route /u\n\
                     plugin_opt_http_acl_route /a\n";

/// A line that loads the plugin.
pub fn plugin() -> String {
    format!("plugin {}\n", plugin_path().display())
}

/// The same for the listeners that use it as x.
pub fn load() -> String {
    plugin().replace("plugin ", "plugin_load x ")
}

#[test]
fn a_broker_without_the_plugin_would_start() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.so");
    fs::copy(plugin_path(), &other).unwrap();
    let line = format!("user root\nplugin {}\n", other.display());
    for (text, verdict) in [
        (line.clone(), "The broker would start without the plugin."),
        (format!("{line}listener 0\n"), "2 mistakes: the broker would not start."),
    ] {
        let ran = Conf::new(&text).run("check", &[], "");
        assert_eq!((ran.status, ran.stdout.lines().last()), (1, Some(verdict)));
    }
}

#[test]
fn the_default_listener_has_the_port_that_is_said() {
    let block = |port: &str| format!("{port}\n{}{VALID}", plugin());
    let text = format!("per_listener_settings true\n{}{}", block("port 1884"), block("listener 2"));
    let report = Conf::new(&text).json("check", &["--listener", "1884"], "", 0);
    assert_eq!(report["plugins"][0]["scope"], "listener 1884");
    assert_eq!(texts(&report["warnings"]), Vec::<String>::new());
}

#[test]
fn a_configuration_that_cannot_be_read_is_no_configuration() {
    for path in ["/does/not/exist", "/"] {
        let ran = run(&["check", path], "");
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("cannot read {path}: ")), "{}", ran.stderr);
    }
    assert_eq!(run(&["check", "--colour"], "").status, 2);
}

#[test]
fn plugins_of_2_1_are_known_by_their_names() {
    let load = plugin().replace("plugin ", "plugin_load api ");
    let text =
        format!("{load}{VALID}listener 1\nplugin_use api\nplugin_opt_cache_ttl 9\nlistener 2\n");
    let report = check(&text, 0);
    assert_eq!(report["plugins"][0]["scope"], "listener 1");
    assert_eq!(setting(&report, "cache_ttl").0, "9");
    assert!(hints(&report).contains("Mosquitto 2.0 does not know plugin_load"));
    let report = check(&format!("{load}{VALID}listener 1\n"), 1);
    assert!(texts(&report["mistakes"])[0].contains("no listener has a plugin_use api"));
}

#[test]
fn each_listener_has_a_plugin_of_its_own() {
    let block = |port: u16, host: &str| {
        format!(
            "listener {port}\n{}plugin_opt_http_host {host}\nplugin_opt_http_user_route /u\n",
            plugin()
        )
    };
    let text = format!("per_listener_settings true\n{}{}", block(1883, "a"), block(1884, "b"));
    let conf = Conf::new(&text);
    let report = conf.json("check", &[], "", 0);
    let scopes: Vec<_> =
        report["plugins"].as_array().unwrap().iter().map(|p| p["scope"].clone()).collect();
    assert_eq!(scopes, ["listener 1883", "listener 1884"]);
    assert!(hints(&report).contains("Mosquitto 2.0.11 never wakes its plugins"));
    let report = conf.json("check", &["--listener", "1884"], "", 0);
    assert_eq!(setting(&report, "http_host").0, "b:80");
    let ran = conf.run("login", &["-u", "ann", "--no-password"], "");
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("say which by --listener"), "{}", ran.stderr);
    let ran = conf.run("login", &["-u", "ann", "--no-password", "--listener", "9"], "");
    assert_eq!((ran.status, ran.stderr.contains("no such listener")), (2, true), "{}", ran.stderr);
}

#[test]
fn what_looks_wrong_beside_the_options_is_a_hint() {
    let far = VALID.replace("localhost", "api.example.com");
    let folder = tempfile::tempdir().unwrap();
    let other = |name: &str| {
        let path = folder.path().join(name);
        fs::copy(plugin_path(), &path).unwrap();
        format!("plugin {}\n", path.display())
    };
    let passwords = folder.path().join("passwords");
    fs::write(&passwords, "").unwrap();
    let passwords = format!("password_file {}\n", passwords.display());
    let closed = format!("allow_anonymous false\n{}", plugin());
    let scoped = format!("per_listener_settings true\n{}{VALID}", plugin());
    let no_login = "plugin_opt_http_host localhost\nplugin_opt_http_acl_route /u\n";
    for (text, expected) in [
        (format!("allow_anonymous true\n{}{VALID}", plugin()), "let in without asking the API"),
        (format!("{passwords}{}{VALID}", plugin()), "local_users_file leaves them"),
        (
            format!("{}{VALID}plugin_opt_local_users_file /dev/null\n", plugin()),
            "without password_file",
        ),
        (format!("{}{far}", plugin()), "passwords go to http://api.example.com unencrypted"),
        (format!("{}{VALID}plugin_opt_http_header_X s3cret\n", plugin()), "everyone may read"),
        (format!("{}{}{VALID}", other("first.so"), plugin()), "first.so is asked first"),
        (
            format!("{}{VALID}{}", plugin(), other("mosquitto_dynamic_security.so")),
            "mosquitto_dynamic_security.so is asked after this block",
        ),
        (format!("{}{VALID}", plugin()), "opens port 1883 on the loopback interface only"),
        (format!("{scoped}listener 1\n"), "Mosquitto 2.0 opens port 1883 on every address"),
        (
            format!("{scoped}listener 1\nallow_anonymous true\n"),
            "the plugin is not loaded for listener 1, which lets clients in",
        ),
        (
            format!("{}plugin_opt_metrics_listen 0.0.0.0:9000\n", closed.clone() + VALID),
            "metrics_listen 0.0.0.0:9000: whoever reaches this address can read the metrics",
        ),
        (
            format!(
                "listener 1\nprotocol websockets\n{}{VALID}plugin_opt_login_failures_max 5\n",
                plugin()
            ),
            "on 2.0 peerhost is null for these clients and login_failures_max counts by username",
        ),
        (
            format!(
                "listener 1\nprotocol websockets\n{}{VALID}plugin_opt_websocket_address trust\n",
                plugin()
            ),
            "tells Mosquitto 2.0.15 to 2.0.23 any address",
        ),
        (
            format!("listener 1\nuse_identity_as_username true\n{}{VALID}", plugin()),
            "the broker asks nobody whether these clients may log in",
        ),
        (
            format!(
                "listener 1\nenable_proxy_protocol 2\nuse_identity_as_username true\n{}{VALID}",
                plugin()
            ),
            "a plugin block for this listener alone",
        ),
        (
            format!("{}plugin_opt_http_host localhost\nplugin_opt_http_user_route /u\n", plugin()),
            "without http_acl_route and acl_file",
        ),
        (format!("{closed}{no_login}"), "without http_user_route and password_file"),
        (
            format!(
                "{closed}plugin_opt_compat go-auth\n{}",
                no_login.replace("acl_route", "aclcheck_uri")
            ),
            "without http_getuser_uri and password_file",
        ),
    ] {
        let report = check(&text, 0);
        let said = hints(&report);
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!report.to_string().contains("s3cret"));
    }
    assert_eq!(hints(&check(&format!("{closed}{VALID}"), 0)), "", "an ordinary configuration");
    // 2.1 does not read what a client says of its address.
    let of_2_1 = format!(
        "listener 1\nprotocol websockets\nglobal_{}{VALID}plugin_opt_login_failures_max 5\n",
        plugin()
    );
    let said = hints(&check(&of_2_1, 0));
    assert_eq!(said, "Mosquitto 2.0 does not know global_plugin, and does not start");
}

#[test]
fn an_option_is_explained() {
    let ran = run(&["explain", "plugin_opt_cache_ttl"], "");
    assert_eq!(ran.status, 0, "{}", ran.all());
    for part in ["cache_ttl\n", "  allowed: ", "  default: 30"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let family = run(&["explain", "http_header_X-Key"], "");
    assert!(family.stdout.starts_with("http_header_NAME\n"), "{}", family.all());
    let none = run(&["explain", "cash_ttl"], "");
    assert_eq!(none.status, 2);
    assert!(none.stderr.contains("the nearest known name is cache_ttl"), "{}", none.stderr);
}

#[test]
fn files_that_the_brokers_user_cannot_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "k3y").unwrap();
    let closed = |path: &Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    closed(folder.path(), 0o755);
    closed(&secret, 0o600);
    let header = format!("plugin_opt_http_header_X @{}\n", secret.display());
    let is_root = is_root();
    let of = |user: &str| {
        let text = format!("user {user}\n{}{VALID}{header}", plugin());
        let ran = Conf::new(&text).run("check", &["--json"], "");
        // Only root knows that the broker will be this user.
        let report = ran.json();
        let said = if is_root { mistakes(&report) } else { hints(&report) };
        (ran.status, said)
    };
    let (status, said) = of("nobody");
    assert!(said.contains("the user nobody may not read it"), "{said}");
    assert_eq!(status, i32::from(is_root));
    assert_eq!(of("root"), (0, String::new()));
    closed(&secret, 0o644);
    assert!(!of("nobody").1.contains("secret"), "the plugin itself may be out of reach");
}

#[test]
fn a_predecessors_configuration_is_checked_before_its_library_is_changed() {
    let text = "user root\nplugin /mosquitto/go-auth.so\nauth_opt_backends http\nauth_opt_http_host localhost\n\
                auth_opt_http_getuser_uri /u\nauth_opt_http_aclcheck_uri /a\nauth_opt_http_mode x\n";
    let report = check(text, 0);
    assert_eq!(setting(&report, "compat"), ("go-auth".into(), "compat".into()));
    assert_eq!(setting(&report, "cache_ttl"), ("0".into(), "compat".into()));
    assert_eq!(setting(&report, "http_connections"), ("32".into(), "default".into()));
    let warnings = report["plugins"][0]["warnings"].to_string();
    assert!(warnings.contains("option http_mode does nothing here"), "{warnings}");
    assert!(hints(&report).contains("this loads go-auth.so"));
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine.so");
    fs::copy(plugin_path(), &mine).unwrap();
    let renamed = text.replace("/mosquitto/go-auth.so", mine.to_str().unwrap());
    assert_eq!(Conf::new(&renamed).json("check", &[], "", 1)["valid"], false);
    assert_eq!(Conf::new(&renamed).json("check", &["--plugin", "mine.so"], "", 0)["valid"], true);
}

#[test]
fn a_reader_sees_the_same_without_colours_where_there_is_no_terminal() {
    let conf = Conf::new(&format!("{}{VALID}plugin_opt_cache_ttl 7\nuser root\n", plugin()));
    let short = conf.run("check", &[], "").stdout;
    assert!(!short.contains("cache_auth_ttl") && short.contains("--all shows them"), "{short}");
    let Ran { status, stdout, stderr } = conf.run("check", &["--all"], "");
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(!stdout.contains('\u{1b}'), "{stdout}");
    assert!(
        stdout.contains("  cache_ttl                7                                line 5\n")
    );
    assert!(
        stdout.contains("  cache_auth_ttl           7                                default\n")
    );
    assert!(stdout.ends_with("The options are valid.\n"), "{stdout}");
    let coloured = mosquitto_test::command::run_with(
        &[("CLICOLOR_FORCE", "1")],
        &["check", conf.path().to_str().unwrap()],
        "",
    );
    assert!(coloured.stdout.contains("\u{1b}[1m"), "a terminal has them");
    let never = mosquitto_test::command::run_with(
        &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
        &["check", conf.path().to_str().unwrap()],
        "",
    );
    assert!(!never.stdout.contains('\u{1b}'));
}

/// The broker's folder is not that of whoever checks its configuration.
#[test]
fn a_path_without_a_slash_in_front_counts_from_another_folder() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "listener 1883\nplugin {}\nplugin_opt_http_host api\nplugin_opt_http_user_route /user\n\
         plugin_opt_local_users_file passwords\n",
        plugin_path().display()
    );
    let conf = folder.path().join("mosquitto.conf");
    fs::write(&conf, text).unwrap();
    fs::write(folder.path().join("passwords"), "ann:$7$x\n").unwrap();
    let check = |from: &Path| {
        let mut command = std::process::Command::new(mosquitto_test::command::path());
        let output = command.arg("check").arg(&conf).current_dir(from).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, said) = check(folder.path());
    assert!(status == Some(0) && said.contains("hint: "), "{said}");
    assert!(
        said.contains("\"passwords\" counts from the folder in which the broker is started"),
        "{said}"
    );
    let (status, said) = check(Path::new("/"));
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("mistake: ") && said.contains("and here from /: write the whole path"),
        "{said}"
    );
}
