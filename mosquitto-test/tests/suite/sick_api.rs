//! Answers that are no HTTP, or not quite, or cut off: each is a failure of the API, with a line that
//! says what it was. Nobody gets in by it, nothing of it is remembered, and what a sick API says on a
//! connection never answers the next question.

use std::time::Duration;

use mosquitto_test::prelude::*;

use crate::failures::{DENY_LONG, SHORT, expect_failure, head_of_200};

/// What the log may say of an answer that ends too soon: the connection may end before anything of
/// it could be read.
const CUT_OFF: &[&str] = &["broken answer (the body breaks off)", "connection lost"];

/// Every question is answered in this way, over http.
fn is_sick(version: Version, bad: fn() -> Reply, lines: &[&str]) {
    expect_failure(version, &AuthServer::start(), &[DENY_LONG], bad, lines);
}

/// Every question is answered in this way, over https.
fn is_sick_over_tls(version: Version, bad: fn() -> Reply, lines: &[&str]) {
    let certs = Certs::new();
    let api = AuthServer::start_tls(&certs);
    let https =
        [("http_protocol", "https"), ("tls_ca_file", certs.ca_file().to_str().unwrap()), DENY_LONG];
    expect_failure(version, &api, &https, bad, lines);
}

/// The head of a 200 without a length that claims a JSON body.
fn json_until_the_end() -> Vec<u8> {
    head_of_200("Content-Type: application/json\r\nConnection: close\r\n\r\n")
}

on_every_broker! {
    fn a_reset_within_the_head(version) {
        is_sick(version, || Reply::raw_then_reset(head_of_200("Content-Le")), &["connection lost"]);
    }

    fn a_reset_within_the_body(version) {
        let bad = || Reply::raw_then_reset(head_of_200("Content-Length: 9\r\n\r\nhalf"));
        is_sick(version, bad, CUT_OFF);
    }

    fn a_reset_within_a_body_of_no_length(version) {
        let bad = || {
            let head = head_of_200("Connection: close\r\n\r\nhalf");
            Reply::raw_then_reset(head).drip(Duration::from_millis(1))
        };
        is_sick(version, bad, CUT_OFF);
    }

    fn a_body_of_no_length_that_never_began(version) {
        // What is cut off may have said no.
        is_sick(version, || Reply::raw_then_close(json_until_the_end()), CUT_OFF);
    }

    fn a_body_of_no_length_that_is_cut_off_under_tls(version) {
        let bad = || Reply::raw_then_cut(json_until_the_end());
        is_sick_over_tls(version, bad, CUT_OFF);
        let bad = || Reply::raw_then_cut([&json_until_the_end(), &b"[1, 2, "[..]].concat());
        is_sick_over_tls(version, bad, CUT_OFF);
    }

    fn two_lengths(version) {
        let bad = || Reply::raw(head_of_200("Content-Length: 5\r\nContent-Length: 7\r\n\r\n1234567"));
        is_sick(version, bad, &["broken answer ("]);
    }

    fn a_list_of_lengths(version) {
        let bad = || Reply::raw(head_of_200("Content-Length: 5, 7\r\n\r\n1234567"));
        is_sick(version, bad, &["broken answer ("]);
    }

    fn a_length_with_a_sign(version) {
        is_sick(version, || Reply::raw(head_of_200("Content-Length: +2\r\n\r\nok")), &["broken answer ("]);
        is_sick(version, || Reply::raw(head_of_200("Content-Length: -2\r\n\r\nok")), &["broken answer ("]);
    }

    fn a_length_beyond_all_numbers(version) {
        let bad = || Reply::raw(head_of_200("Content-Length: 18446744073709551616\r\n\r\nok"));
        is_sick(version, bad, &["broken answer ("]);
    }

    fn a_length_and_chunks(version) {
        let bad = || {
            let head = "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n";
            Reply::raw(head_of_200(&format!("{head}0\r\n\r\nok")))
        };
        is_sick(version, bad, &["broken answer ("]);
    }

    fn a_transfer_coding_that_nobody_asked_for(version) {
        let bad = || {
            let head = "Transfer-Encoding: gzip, chunked\r\n\r\n";
            Reply::raw(head_of_200(&format!("{head}0\r\n\r\n")))
        };
        is_sick(version, bad, &["broken answer ("]);
        let bad = || Reply::raw_then_close(head_of_200("Transfer-Encoding: identity\r\n\r\nok"));
        is_sick(version, bad, &["broken answer ("]);
    }

    fn chunks_in_http_1_0(version) {
        let bad = || {
            let head = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            Reply::raw_then_close(format!("{head}0\r\n\r\n"))
        };
        is_sick(version, bad, &["broken answer ("]);
    }

    fn chunks_that_are_longer_than_they_say(version) {
        let bad = || {
            Reply::raw(head_of_200("Transfer-Encoding: chunked\r\n\r\n2\r\nlonger\r\n0\r\n\r\n"))
        };
        is_sick(version, bad, &["broken answer ("]);
    }

    fn a_chunk_size_without_end(version) {
        let bad = || {
            let size = "0".repeat(1 << 17);
            Reply::raw(head_of_200(&format!("Transfer-Encoding: chunked\r\n\r\n{size}")))
        };
        is_sick(version, bad, &["broken answer ("]);
    }

    fn a_trailer_without_end(version) {
        let bad = || {
            let trailer = "x".repeat(1 << 17);
            Reply::raw(head_of_200(&format!("Transfer-Encoding: chunked\r\n\r\n0\r\nX: {trailer}")))
        };
        is_sick(version, bad, &["broken answer ("]);
    }

    fn a_status_of_two_or_four_digits(version) {
        is_sick(version, || Reply::raw("HTTP/1.1 20 OK\r\n\r\n"), &["broken answer ("]);
        is_sick(version, || Reply::raw("HTTP/1.1 2000 OK\r\n\r\n"), &["broken answer ("]);
        is_sick(version, || Reply::raw("HTTP/1.1 020 OK\r\n\r\n"), &["broken answer ("]);
    }

    fn another_version_of_http(version) {
        is_sick(version, || Reply::raw("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"), &["broken answer ("]);
        is_sick(version, || Reply::raw_then_close("<html>yes</html>"), &["broken answer ("]);
    }

    fn nul_within_the_head(version) {
        is_sick(version, || Reply::raw("HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n"), &["broken answer ("]);
        is_sick(version, || Reply::raw(head_of_200("X-\0: x\r\n\r\n")), &["broken answer ("]);
        is_sick(version, || Reply::raw(head_of_200("X-Y: a\0b\r\nContent-Length: 0\r\n\r\n")), &["broken answer ("]);
    }

    fn a_line_within_the_head_that_is_no_header(version) {
        is_sick(version, || Reply::raw(head_of_200("no header\r\nContent-Length: 0\r\n\r\n")), &["broken answer ("]);
        is_sick(version, || Reply::raw(head_of_200("Content-Length : 0\r\n\r\n")), &["broken answer ("]);
        is_sick(version, || Reply::raw(head_of_200("X: a\r\n b\r\nContent-Length: 0\r\n\r\n")), &["broken answer ("]);
    }

    fn protocols_switched_unasked(version) {
        let bad = || {
            Reply::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        };
        is_sick(version, bad, &["broken answer ("]);
    }

    fn interim_answers_without_end(version) {
        let bad = || Reply::endlessly("HTTP/1.1 103 Early Hints\r\n\r\n");
        expect_failure(version, &AuthServer::start(), SHORT, bad, &["timed out", "broken answer ("]);
    }

    fn a_body_that_is_compressed_unasked(version) {
        // It may say no, and cannot be read.
        let bad = || {
            let reply = Reply::status(200).header("Content-Type", "application/json");
            reply.header("Content-Encoding", "gzip").body([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])
        };
        is_sick(version, bad, &["broken answer ("]);
    }
}
