//! Clients that come by a proxy which tells of them by the PROXY protocol, version 2, as HAProxy does. Only
//! Mosquitto 2.1 understands it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{PASSWORD, ROUTES};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a proxy sends before anything else, about a client of this address, with what else it says of it, as type,
/// length and value (section 2.2 of the protocol).
pub fn header(client: IpAddr, more: &[u8]) -> Vec<u8> {
    let (family, addresses) = match client {
        IpAddr::V4(client) => (0x11, [client.octets(), Ipv4Addr::LOCALHOST.octets()].concat()),
        IpAddr::V6(client) => (0x21, [client.octets(), Ipv6Addr::LOCALHOST.octets()].concat()),
    };
    let ports = [50_000_u16.to_be_bytes(), 1883_u16.to_be_bytes()].concat();
    let length = u16::try_from(addresses.len() + ports.len() + more.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x21, family], &length, &addresses, &ports, more].concat()
}

fn connect(id: &str) -> Vec<u8> {
    let (name, password) = (Some(&b"ann"[..]), Some(PASSWORD.as_bytes()));
    mosquitto_test::raw::connect_packet(Protocol::V5, id, name, password, true)
}

#[test]
fn the_api_is_told_the_address_of_the_client_and_not_the_proxys() {
    let api = AuthServer::start();
    let options = [&ROUTES[..], &[("http_user_fields", "clientid,peerhost")]].concat();
    let broker = Broker::config(Version::V2_1_2)
        .plugin(api.options(options))
        .listener(|plain| plain)
        .listener(|listener| listener.line("enable_proxy_protocol 2"))
        .start();
    let port = broker.port_of(1);
    for client in ["203.0.113.7", "2001:db8::7"] {
        api.forget_requests();
        let mut by_proxy = RawClient::connect_to(port);
        by_proxy.send(header(client.parse().unwrap(), &[])).send(connect(client));
        assert_eq!(by_proxy.read_connack(), Some(0));
        assert_eq!(api.requests()[0].json()["peerhost"], json!(client));
    }
    // Whoever comes past the proxy is no client.
    let mut past = RawClient::connect_to(port);
    past.send(connect("past"));
    assert_eq!(past.read_packet(), None);
    assert!(api.requests().iter().all(|request| request.json()["clientid"] != "past"));
}
