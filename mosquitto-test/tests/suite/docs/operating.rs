//! The page about operating: its commands, and its outage.

use mosquitto_test::mqtt::ClientBuilder;
use mosquitto_test::prelude::*;

use super::stage::Stage;
use super::{RUN_HERE, blocks};
use crate::support::{eventually, may_publish};

const PAGE: &str = "docs/operating.md";

/// A stage with the API of the quick start.
fn stage(version: Version) -> Stage {
    assert!(RUN_HERE.contains(&PAGE));
    let stage = Stage::new(version);
    for block in blocks("docs/quick-start.md").iter().filter(|b| b.language == "python") {
        stage.write(block);
    }
    stage
}

fn log_in(stage: &Stage, name: &str, password: &str) -> Login {
    let builder = ClientBuilder::new(name, stage.port("1883")).protocol(Protocol::V5);
    builder.credentials(name, password).connect()
}

on_every_broker! {
    fn its_commands_do_what_it_says(version) {
        stage(version).play(PAGE);
    }

    fn an_outage_is_as_it_says(version) {
        let mut stage = stage(version);
        for block in blocks(PAGE) {
            stage.write(&block);
        }
        stage.start(&stage.here("python3 api.py"));
        stage.start(&stage.here("/usr/sbin/mosquitto -c mosquitto.conf"));
        let ann = log_in(&stage, "ann", "green").expect_accepted();
        assert!(may_publish(&ann, "users/ann/x"));
        stage.stop("python3 api.py");
        for number in 1..=8 {
            // Nobody is told that a password is wrong, for the 5 who are asked and for those after.
            let name = format!("new-{number}");
            assert!(!log_in(&stage, &name, "green").is_accepted());
        }
        assert!(!stage.broker().log().contains("login denied"));
        // What is known serves. What is not is lost with QoS 0, and the client stays.
        log_in(&stage, "ann", "green").expect_accepted();
        let ann = log_in(&stage, "ann", "green").expect_accepted();
        ann.publish_qos0("users/ann/y", "x");
        assert!(may_publish(&ann, "users/ann/x") && ann.is_connected());
        stage.start(&stage.here("python3 api.py"));
        eventually("the API is found to be back", || log_in(&stage, "ben", "blue").is_accepted());
        let lines = blocks(PAGE).into_iter().find(|block| block.language == "text").unwrap().text;
        stage.expect_log(&lines);
    }
}
