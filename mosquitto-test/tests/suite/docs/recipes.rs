//! The quick start, the page about APIs, and the recipes.

use mosquitto_test::prelude::*;

use super::stage::Stage;
use super::{blocks, run};
use crate::apis::installed;

/// The text block of a page: lines of the broker's log.
fn lines(page: &str) -> String {
    blocks(page).into_iter().find(|block| block.language == "text").unwrap().text
}

on_every_broker! {
    fn the_quick_start_is_true(version) {
        let page = "docs/quick-start.md";
        let mut stage = Stage::new(version);
        // What a machine may have on the usual port: a broker that lets everybody in.
        let everybody = stage.here("listener 1883 127.0.0.1\nallow_anonymous true\n");
        std::fs::write(stage.folder().join("everybody.conf"), everybody).unwrap();
        let _everybody = stage.launch("./bin/mosquitto -c everybody.conf");
        stage.play(page);
        stage.expect_log(&lines(page));
        let said = stage.run("mosquitto_pub -u ann -P wrong -t users/ann/lamp -m off");
        assert_eq!(said, "", "there a wrong password is as good as any");
    }

    fn the_page_about_apis_is_true(version) {
        run(version, "docs/writing-an-api.md");
    }

    fn an_api_that_was_written_for_emqx_decides(version) {
        run(version, "docs/coming-from-emqx.md");
    }

    fn tenants_do_not_see_one_another(version) {
        run(version, "docs/recipes/tenants.md");
    }

    fn clients_with_certificates_are_asked_about(version) {
        let stage = run(version, "docs/recipes/certificates.md");
        // A stranger to the authority is not let in.
        stage.run("sh new.sh other /CN=other");
        let port = stage.port("8883");
        let said = stage.run(&format!(
            "mosquitto_pub -h localhost -p {port} --cafile ca.pem --cert other.pem --key other.key \
             -t sensors/other/t -m 1 -q 1"
        ));
        let refused = ["Error", "Unable to connect"];
        assert!(refused.iter().any(|words| said.contains(words)), "{said}");
    }

    fn several_brokers_share_an_api(version) {
        run(version, "docs/recipes/brokers.md");
    }

    fn tokens_let_in_until_they_end(version) {
        installed("examples/jwt/.venv/installed");
        let page = "docs/recipes/jwt.md";
        let mut stage = Stage::new(version);
        stage.link("examples/jwt");
        stage.play(page);
        for (user, seconds, accepted) in [("ann", 60, true), ("ben", 60, false), ("ann", -60, false)] {
            let issue = format!(".venv/bin/python issue.py ann {seconds}");
            let said = stage.run(&format!(
                "mosquitto_pub -u {user} -P \"$({issue})\" -t x -m 1 -q 1"
            ));
            assert_eq!(!said.contains("refused"), accepted, "{user}, {seconds} s: {said}");
        }
        // A token that somebody else has signed, and one whose signature was taken off.
        for forge in [
            "jwt.encode(claims, 'x' * 32, algorithm='HS256')",
            "jwt.encode(claims, None, algorithm='none')",
            "jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm='ES256')",
            "jwt.encode({**claims, 'aud': 'web'}, open('issuer.key').read(), algorithm='ES256')",
            "jwt.encode({'sub': 'ann', 'aud': 'mqtt'}, open('issuer.key').read(), algorithm='ES256')",
        ] {
            let script = format!(
                "import jwt\nfrom cryptography.hazmat.primitives.asymmetric import ec\n\
                 claims = {{'sub': 'ann', 'aud': 'mqtt', 'exp': 4000000000}}\nprint({forge})"
            );
            std::fs::write(stage.folder().join("forge.py"), script).unwrap();
            let said = stage.run(
                "mosquitto_pub -u ann -P \"$(.venv/bin/python forge.py)\" -t x -m 1 -q 1"
            );
            assert!(said.contains("refused"), "{forge}: {said}");
        }
        let token = stage.run(".venv/bin/python issue.py ann 2 'subscribe sensors/#'");
        let builder = mosquitto_test::mqtt::ClientBuilder::new("c1", stage.port("1883"));
        let client = builder.credentials("ann", token.trim()).connect().expect_accepted();
        stage.expect_log(&lines(page));
        client.wait_disconnected();
        assert!(!stage.broker().log().contains(token.trim()), "the token is in the log");
    }
}
