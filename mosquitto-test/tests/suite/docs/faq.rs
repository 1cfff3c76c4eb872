//! What the questions and answers show.

use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};

use super::stage::PLUGIN;
use super::{Block, blocks};
use crate::support::{PASSWORD, log_in, may_publish};

fn shown(language: &str) -> Vec<Block> {
    let blocks = blocks("docs/faq.md").into_iter();
    blocks.filter(|block| block.language == language).collect()
}

/// A broker with a configuration of the page: its listeners are made by the tests, where it says
/// `listener`, and the API is this one.
fn broker(text: &str, api: &AuthServer, version: Version) -> Broker {
    let own = version.bin("../root/usr/lib/x86_64-linux-gnu/mosquitto").display().to_string();
    let source = Broker::config(version).password_file(&[("filey", PASSWORD)]);
    let mut config = Broker::config(version);
    let users = config.file("passwords", std::fs::read(source.password_path()).unwrap());
    let acl = config.file("acl", "user filey\ntopic readwrite open/#\n");
    let text = text
        .replace(PLUGIN, plugin_path().to_str().unwrap())
        .replace("/usr/lib/x86_64-linux-gnu/mosquitto", &own)
        .replace("/etc/mosquitto/passwords", users.to_str().unwrap())
        .replace("/etc/mosquitto/acl", acl.to_str().unwrap())
        .replace("api.example.com", &format!("127.0.0.1:{}", api.port()));
    let (broker, listeners) = text.split_once("listener 1").unwrap();
    for line in broker.lines() {
        config = config.line(line);
    }
    for listener in listeners.split("\nlistener 1") {
        let lines: Vec<_> = listener.lines().skip(1).map(str::to_owned).collect();
        config = config
            .listener(|listener| lines.iter().fold(listener, |listener, line| listener.line(line)));
    }
    config.start()
}

/// An API that knows everybody but the users of the file, and allows everything to them.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        Reply::status(if request.json()["username"] == "filey" { 403 } else { 200 })
    })
}

#[test]
fn the_forms_of_2_1_work() {
    let version = Version::V2_1_2;
    let forms = shown("conf");
    let [everywhere, named, files] = &forms[..] else { panic!("three forms") };

    let api = api();
    let (everywhere, named) =
        (broker(&everywhere.text, &api, version), broker(&named.text, &api, version));
    for broker in [&everywhere, &named] {
        log_in(broker, Protocol::V5, "filey").expect_refused();
        assert!(may_publish(&log_in(broker, Protocol::V5, "ann").expect_accepted(), "closed/a"));
    }
    let asked = api.requests().len();
    named.client("c").port(named.port_of(1)).connect().expect_accepted();
    assert_eq!(api.requests().len(), asked, "that listener names no plugin");

    let broker = broker(&files.text, &api, version);
    let filey = log_in(&broker, Protocol::V5, "filey").expect_accepted();
    assert!(may_publish(&filey, "open/a") && !may_publish(&filey, "closed/a"));
    assert!(may_publish(&log_in(&broker, Protocol::V5, "ann").expect_accepted(), "closed/a"));
    let wrong = broker.client("w").credentials("filey", "not-his-password");
    wrong.connect().expect_refused();
    assert_eq!(
        api.requests_to("/user").iter().filter(|r| r.json()["username"] == "filey").count(),
        2
    );
}

/// An API that allows everything, by HTTPS.
const HTTPS: &str = "
import http.server, ssl, sys
class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Api)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('api.pem', 'api.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
print('listening', flush=True)
server.serve_forever()
";

/// Both ways out for a certificate of one's own are taken by OpenSSL and by the plugin.
#[test]
fn certificates_of_ones_own_are_accepted() {
    let page = std::fs::read_to_string(repository("docs/faq.md")).unwrap();
    for addition in ["-addext basicConstraints=critical,CA:FALSE", "-addext subjectAltName=DNS:"] {
        assert!(page.contains(addition));
    }
    let name = |text: &str| text.replace("api.example.com", "localhost");
    let alone = "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=api \
                 -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost \
                 -keyout api.key -out api.pem && cp api.pem api-ca.pem";
    let refused = alone.replace("CA:FALSE", "CA:TRUE");
    let ways = [(name(&shown("sh")[0].text), true), (alone.to_owned(), true), (refused, false)];
    for (commands, accepted) in ways {
        let folder = tempfile::tempdir().unwrap();
        let made =
            Command::new("sh").args(["-ec", &commands]).current_dir(&folder).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = free_port();
        let mut command = Command::new("python3");
        command.args(["-c", HTTPS, &port.to_string()]).current_dir(&folder);
        let _api = Program::start(command, port, "listening");
        let host = format!("localhost:{port}");
        let ca = folder.path().join("api-ca.pem").display().to_string();
        let options = [
            ("http_host", host.as_str()),
            ("http_protocol", "https"),
            ("http_user_route", "/user"),
            ("tls_ca_file", &ca),
        ];
        for version in Version::ALL {
            let broker = Broker::config(version).plugin(options).start();
            let login = log_in(&broker, Protocol::V5, "ann");
            assert_eq!(login.is_accepted(), accepted, "{commands}: {}", broker.log());
            if !accepted {
                broker.wait_for_log("the API's certificate is an authority's own (CA:TRUE)");
            }
        }
    }
}
