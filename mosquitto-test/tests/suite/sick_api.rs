//! Answers that are no HTTP, or not quite, or cut off: each is a failure of the API, with a line that
//! says what it was. Nobody gets in by it, nothing of it is remembered, and what a sick API says on a
//! connection never answers the next question.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use mosquitto_test::prelude::*;

use crate::failures::{DENY_LONG, SHORT, expect_failure, head_of_200};
use crate::support::{ROUTES, broker_on_port, broker_with, log_in, wait_for_failure};

/// What the log may say of an answer that ends too soon: the connection may end before anything of
/// it could be read.
const CUT_OFF: &[&str] = &["broken answer (the body breaks off)", "connection lost"];

/// Far more than the time that is up, on a busy machine too, and far less than it would take otherwise.
const WELL_BEFORE: Duration = Duration::from_secs(15);

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

/// A body that nobody has decompressed.
fn gzipped() -> Reply {
    Reply::status(200).header("Content-Encoding", "gzip").body([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])
}

/// The head of a 200 without a length that claims a JSON body, and does not say that the connection
/// will end with it.
fn json_until_the_end() -> Vec<u8> {
    head_of_200("Content-Type: application/json\r\n\r\n")
}

/// The same, and says that it will.
fn json_until_the_close() -> Vec<u8> {
    head_of_200("Content-Type: application/json\r\nConnection: close\r\n\r\n")
}

/// A port on which a TLS handshake (RFC 8446) begins, and goes on by a byte at a time.
fn handshake_without_end() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                // A record of 16 KiB, in which a certificate comes.
                let mut sent = stream.write_all(b"\x16\x03\x03\x40\x00\x0b\x00\x3f\xf0");
                while sent.is_ok() {
                    thread::sleep(Duration::from_millis(100));
                    sent = stream.write_all(b"x");
                }
            });
        }
    });
    port
}

/// Answers that no two readers would read in two ways, though few servers write them.
const UNUSUAL: [(&str, &str); 10] = [
    ("no-reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    ("empty-reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    ("bare-line-feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    (
        "the-same-length-twice",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "chunk-extensions",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n",
    ),
    ("continue", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (
        "early-hints",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ),
    // As Python's `http.server` answers, unless it is told otherwise.
    ("json-in-http-1-0-and-no-body", "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"),
    (
        "json-with-an-announced-end-and-no-body",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
    ),
    (
        "http-1-0-kept-alive",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    ),
];

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
        let bad = || Reply::raw_then_cut(json_until_the_close());
        is_sick_over_tls(version, bad, CUT_OFF);
        let bad = || Reply::raw_then_cut([&json_until_the_close(), &b"[1, 2, "[..]].concat());
        is_sick_over_tls(version, bad, CUT_OFF);
    }

    fn what_has_nothing_more_to_say_may_end_under_tls_without_a_word(version) {
        // As servers answer that are made of Python's `http.server` and `ssl`, and many others.
        let json = "Content-Type: application/json\r\n\r\n";
        let answers = [
            ("nothing", "HTTP/1.0 200 OK\r\n\r\n".to_owned()),
            ("text", "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nwelcome".to_owned()),
            ("close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned()),
            ("yes", format!("HTTP/1.0 200 OK\r\n{json}{{\"result\":\"allow\"}}\n")),
            ("no", format!("HTTP/1.0 200 OK\r\n{json}{{\"result\":\"deny\"}}")),
            ("denied", "HTTP/1.0 403 Forbidden\r\n\r\n".to_owned()),
            ("failed", "HTTP/1.0 500 Oh\r\n\r\n".to_owned()),
            ("half", format!("HTTP/1.0 200 OK\r\n{json}{{\"result\":")),
        ];
        let certs = Certs::new();
        let api = AuthServer::start_tls(&certs);
        api.set_handler(move |request| {
            let user = request.json()["username"].as_str().unwrap().to_owned();
            Reply::raw_then_cut(&answers.iter().find(|(name, _)| *name == user).unwrap().1)
        });
        let ca_file = certs.ca_file().to_str().unwrap();
        let broker =
            broker_with(version, &api, &[("http_protocol", "https"), ("tls_ca_file", ca_file)]);
        for user in ["nothing", "text", "close", "yes"] {
            log_in(&broker, Protocol::V5, user).expect_accepted();
        }
        for user in ["no", "denied"] {
            log_in(&broker, Protocol::V5, user).expect_refused();
        }
        for user in ["failed", "half"] {
            log_in(&broker, Protocol::V5, user).expect_closed();
        }
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
        let replies: [fn() -> Reply; 3] = [
            gzipped,
            || gzipped().header("Content-Type", "application/json"),
            || gzipped().header("Content-Type", "text/plain"),
        ];
        for bad in replies {
            is_sick(version, bad, &["broken answer ("]);
        }
    }

    fn a_no_beside_a_content_encoding_that_is_none_is_a_no(version) {
        let api = AuthServer::answering(|_| {
            let no = Reply::status(200).header("Content-Encoding", "UTF-8");
            no.json(serde_json::json!({"result": "deny"}))
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_refused();
    }

    fn one_byte_a_second_ends_when_the_time_is_up(version) {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n".len();
        // Within the head, and within the body.
        for said in [5, whole + 5] {
            let api = AuthServer::answering(move |_| {
                let text = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n     ";
                let (at_once, rest) = text.as_bytes().split_at(said);
                Reply::raw(at_once).then_drip(rest, Duration::from_secs(1))
            });
            let broker = broker_with(version, &api, &[("http_timeout_ms", "1500")]);
            let started = Instant::now();
            log_in(&broker, Protocol::V5, "ann").expect_closed();
            let took = started.elapsed();
            assert!(took >= Duration::from_millis(1500) && took < WELL_BEFORE, "{took:?}");
            broker.wait_for_log(" failed: timed out; ");
        }
    }

    fn a_server_that_says_nothing_to_a_tls_handshake_is_unreachable(version) {
        let (certs, silence) = (Certs::new(), Deaf::saying("", false));
        let options = [
            ("http_protocol", "https"),
            ("tls_ca_file", certs.ca_file().to_str().unwrap()),
            ("http_connect_timeout_ms", "300"),
            ("http_timeout_ms", "60000"),
        ];
        let broker = broker_on_port(version, silence.port(), &options);
        let started = Instant::now();
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        assert!(started.elapsed() < WELL_BEFORE, "{:?}", started.elapsed());
        wait_for_failure(&broker, "unreachable", "the login of \"ann\"");
    }

    fn a_tls_handshake_that_drips_ends_when_the_time_is_up(version) {
        let (certs, port) = (Certs::new(), handshake_without_end());
        let options = [
            ("http_protocol", "https"),
            ("tls_ca_file", certs.ca_file().to_str().unwrap()),
            ("http_connect_timeout_ms", "500"),
            ("http_timeout_ms", "60000"),
        ];
        let broker = broker_on_port(version, port, &options);
        let started = Instant::now();
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        assert!(started.elapsed() < WELL_BEFORE, "{:?}", started.elapsed());
        wait_for_failure(&broker, "unreachable", "the login of \"ann\"");
    }

    fn whoever_does_not_listen_lets_nobody_in(version) {
        for said in ["HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "220 mail.example ESMTP\r\n", ""] {
            for hangs_up in [false, true] {
                let deaf = Deaf::saying(said, hangs_up);
                let broker = broker_on_port(version, deaf.port(), &[("http_timeout_ms", "300")]);
                let login = broker.client("c").credentials("ann", &"x".repeat(60_000)).connect();
                assert!(!login.is_accepted(), "{said:?}: {login:?}");
            }
        }
    }

    fn whoever_answers_before_the_question_is_believed(version) {
        let deaf = Deaf::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false);
        let broker = broker_on_port(version, deaf.port(), &[]);
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
    }

    fn another_host_is_asked_when_an_answer_breaks_off(version) {
        let sick = AuthServer::answering(|_| {
            Reply::raw_then_close(head_of_200("Content-Length: 9\r\n\r\nhalf"))
        });
        let healthy = AuthServer::answering(|request| {
            Reply::status(if request.json()["username"] == "ann" { 200 } else { 403 })
        });
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", sick.port(), healthy.port());
        let broker =
            Broker::config(version).plugin([("http_host", hosts.as_str()), ROUTES[0]]).start();
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        log_in(&broker, Protocol::V5, "ben").expect_refused();
    }

    fn what_is_unusual_but_clear_is_an_answer(version) {
        let api = AuthServer::answering(|request| {
            let user = request.json()["username"].as_str().unwrap().to_owned();
            let answer = UNUSUAL.iter().find(|(name, _)| *name == user).unwrap().1;
            if user.starts_with("json-") { Reply::raw_then_close(answer) } else { Reply::raw(answer) }
        });
        let broker = broker_with(version, &api, &[]);
        for (user, _) in UNUSUAL {
            log_in(&broker, Protocol::V5, user).expect_accepted();
        }
        assert_eq!(api.requests().len(), UNUSUAL.len());
    }
}
