//! Pages of other origins: they may use a scoped key, and they may not touch the control plane.

use till_testkit::client::{Answer, Client};
use till_testkit::upstream::{Upstream, json, respond};

use super::rig::Rig;

const ORIGIN: &str = "origin: https://page.example\r\n";

async fn ask(rig: &Rig, method: &str, path: &str, headers: &str) -> Answer {
    let text = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    Client::connect(rig.address).await.request(text).await
}

#[tokio::test]
async fn the_control_plane_answers_no_other_origin() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let preflight = format!(
        "{ORIGIN}access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n"
    );
    for path in ["/metrics", "/docs", "/healthz", "/dashboard", "/admin/keys", "/admin/openapi.json"] {
        for (method, headers) in [("GET", ORIGIN), ("POST", ORIGIN), ("OPTIONS", preflight.as_str())] {
            let answer = ask(&rig, method, path, headers).await;
            assert_eq!(answer.text(), format!("own {path}"), "{method}: only the control plane answers");
            assert!(!answer.head.to_lowercase().contains("access-control-"), "{method} {}", answer.head);
        }
    }
}

#[tokio::test]
async fn a_page_may_read_answers_and_refusals() {
    let upstream = Upstream::start(|_, request| {
        let own = "access-control-allow-origin: https://page.example\r\n";
        if request.target() == "/v1/strict" { respond("200 OK", own, b"{}") } else { json("{}") }
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 4).await;
    let key = format!("authorization: Bearer {token}\r\n");
    let with_origin = format!("{key}{ORIGIN}");
    let rows = [
        ("/v1/models", with_origin.as_str(), 200, Some("*")),
        ("/v1/strict", &with_origin, 200, Some("https://page.example")),
        ("/key", &with_origin, 200, Some("*")),
        ("/v1/organization/users", &with_origin, 403, Some("*")),
        ("/v1/models", ORIGIN, 401, Some("*")),
        ("/key", ORIGIN, 401, Some("*")),
        ("/v1/models", &key, 200, None),
        ("/v1/organization/users", &key, 403, None),
    ];
    for (path, headers, status, allowed) in rows {
        let answer = ask(&rig, "GET", path, headers).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{path}: {}", answer.head);
    }
}
