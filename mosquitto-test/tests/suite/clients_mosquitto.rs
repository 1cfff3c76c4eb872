//! `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr`, of the same version as the broker, in MQTT
//! 3.1.1 and 5.

use std::process::Output;
use std::thread;

use mosquitto_test::prelude::*;

use crate::clients::{api, asked, broker, hold_logins, whole_session};

const PROTOCOLS: [&str; 2] = ["311", "5"];

/// How a client says who it is, for `-i` as well as `-u`.
fn who<'a>(protocol: &'a str, user: &'a str, password: &'a str) -> Vec<&'a str> {
    vec!["-V", protocol, "-q", "1", "-i", user, "-u", user, "-P", password]
}

/// The status that it ended with, and what it printed on both outputs; 2.0 ends its sentences with a
/// full stop.
fn outcome(output: &Output) -> (i32, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(".\n", "\n");
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

fn ended(status: i32, printed: &str) -> (i32, String) {
    (status, printed.to_owned())
}

on_every_broker! {
    fn whole_sessions(version) {
        for protocol in PROTOCOLS {
            let api = api();
            let broker = broker(version, &api, &[]);
            let logins = hold_logins(version, &api);
            let both = ["-t", "ann/#", "-t", "others/#", "-C", "1"];
            thread::scope(|scope| {
                let subscribe = || broker.mosquitto_sub(&[&who(protocol, "ann", "green"), &both[..]].concat());
                let subscriber = scope.spawn(subscribe);
                logins.release(1);
                broker.wait_for_log("Sending SUBACK to ann");
                // Under another identifier, for the subscriber has this one.
                let publish = |topic| {
                    let what = ["-i", "publisher", "-t", topic, "-m", topic];
                    outcome(&broker.mosquitto_pub(&[&who(protocol, "ann", "green"), &what[..]].concat()))
                };
                assert_eq!(publish("ann/secret"), ended(0, ""));
                assert_eq!(publish("ann/open"), ended(0, ""));
                let denied = if protocol == "5" { "Warning: Publish 1 failed: Not authorized\n" } else { "" };
                assert_eq!(publish("others/x"), ended(0, denied));
                assert_eq!(outcome(&subscriber.join().unwrap()), ended(0, "ann/open\n"));
            });
            assert_eq!(asked(&api, "ann"), whole_session("ann"));
        }
    }

    fn a_request_and_its_response(version) {
        for protocol in PROTOCOLS {
            let api = api();
            let broker = broker(version, &api, &[]);
            let request = |topic, response| {
                let what = ["-t", topic, "-m", "hello", "-e", response];
                outcome(&broker.mosquitto_rr(&[&who(protocol, "ann", "green"), &what[..]].concat()))
            };
            assert_eq!(request("ann/x", "ann/x"), ended(0, "hello\n"));
            assert_eq!(asked(&api, "ann"), ["login", "4 ann/x", "2 ann/x", "1 ann/x"]);
            // Where it may not listen for the response, it does not ask.
            let reason = if protocol == "5" { "Not authorized\n" } else { "Unspecified error\n" };
            assert_eq!(request("ann/y", "others/x"), ended(0, reason));
            assert_eq!(asked(&api, "ann")[4..], ["4 others/x"]);
        }
    }

    fn refusals_end_them(version) {
        for protocol in PROTOCOLS {
            let api = api();
            let broker = broker(version, &api, &[]);
            let wrong = [&who(protocol, "ann", "blue"), &["-t", "ann/x"][..]].concat();
            let published = outcome(&broker.mosquitto_pub(&[&wrong[..], &["-m", "x"]].concat()));
            let subscribed = outcome(&broker.mosquitto_sub(&wrong));
            let requested = outcome(&broker.mosquitto_rr(&[&wrong[..], &["-m", "x", "-e", "ann/y"]].concat()));
            if protocol == "5" {
                let said = "Connection error: Not authorized\n";
                let more = "Error: A network protocol error occurred when communicating with the broker\n";
                assert_eq!(published, ended(135, &format!("{said}{more}")));
                assert_eq!(subscribed, ended(135, said));
                assert_eq!(requested, ended(135, said));
            } else {
                let said = "Connection error: Connection Refused: not authorised\n";
                assert_eq!(published, ended(5, &format!("{said}Error: The connection was refused\n")));
                assert_eq!(subscribed, ended(5, said));
                assert_eq!(requested, ended(5, "Connection error: Unknown reason\n"));
            }
            assert_eq!(asked(&api, "ann"), ["login"]);
            let subscribed = broker.mosquitto_sub(&[&who(protocol, "ben", "green"), &["-t", "others/x"][..]].concat());
            assert_eq!(outcome(&subscribed), ended(0, "All subscription requests were denied\n"));
        }
    }

    fn while_the_api_is_down_only_mosquitto_sub_goes_on_trying(version) {
        for protocol in PROTOCOLS {
            let api = api();
            api.stop();
            let broker = broker(version, &api, &[]);
            let ann = |id, more: &[&'static str]| [&who(protocol, "ann", "green"), &["-t", "ann/x", "-i", id][..], more].concat();
            let published = outcome(&broker.mosquitto_pub(&ann("p", &["-m", "x"])));
            let requested = outcome(&broker.mosquitto_rr(&ann("r", &["-m", "x", "-e", "ann/y"])));
            if protocol == "5" && version.is_2_1() {
                assert_eq!(published, ended(4, "Error: The client is not currently connected\n"));
                assert_eq!(requested, ended(0, ""));
            } else {
                let lost = ended(7, "Error: The connection was lost\n");
                assert_eq!((published, requested), (lost.clone(), lost));
            }
            thread::scope(|scope| {
                let mark = broker.log_mark();
                let subscriber = scope.spawn(|| broker.mosquitto_sub(&ann("s", &["-C", "1"])));
                // The second attempt: the first was closed.
                broker.wait_for_log_after(mark, "New connection from ");
                let first = broker.log_mark();
                broker.wait_for_log_after(first, "New connection from ");
                api.restart();
                broker.wait_for_log("Sending SUBACK to s");
                assert_eq!(outcome(&broker.mosquitto_pub(&ann("p", &["-m", "hello"]))), ended(0, ""));
                assert_eq!(outcome(&subscriber.join().unwrap()), ended(0, "hello\n"));
            });
        }
    }
}

#[test]
fn they_send_nothing_before_their_connack() {
    for protocol in PROTOCOLS {
        let api = api();
        let broker = broker(Version::V2_1_2, &api, &[]);
        let logins = hold_logins(Version::V2_1_2, &api);
        let all = |user, what: &[&'static str]| [&who(protocol, user, "green"), what].concat();
        let published = all("ann", &["-t", "ann/x", "-m", "x"]);
        let subscribed = all("ben", &["-t", "ben/x", "-E"]);
        let requested = all("cem", &["-t", "cem/x", "-m", "x", "-e", "cem/x"]);
        thread::scope(|scope| {
            let running = [
                scope.spawn(|| broker.mosquitto_pub(&published)),
                scope.spawn(|| broker.mosquitto_sub(&subscribed)),
                scope.spawn(|| broker.mosquitto_rr(&requested)),
            ];
            logins.release(running.len());
            let outcomes = running.map(|program| outcome(&program.join().unwrap()));
            assert_eq!(outcomes, [ended(0, ""), ended(0, ""), ended(0, "x\n")]);
        });
    }
}
