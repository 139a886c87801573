//! The dashboard's files: open to everybody, and under a policy that lets nothing else in.

use crate::harness::Instance;

#[tokio::test]
async fn every_page_is_the_same_file_under_a_strict_policy() {
    let instance = Instance::start().await;
    let first = instance.get_anonymously("/dashboard/").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(first.header("cache-control"), "no-cache");
    let policy = first.header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for path in ["/dashboard/keys", "/dashboard/keys/key_0000000000000000000000", "/dashboard/a/b/c?d=e"] {
        let answer = instance.get_anonymously(path).await;
        assert_eq!((answer.status, &answer.text), (first.status, &first.text), "{path}");
    }
    let redirect = instance.get_anonymously("/dashboard").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (308, "/dashboard/"));
}

#[tokio::test]
async fn files_with_a_hash_in_their_name_are_kept_for_ever_and_others_are_not_there() {
    let instance = Instance::start().await;
    let page = instance.get_anonymously("/dashboard/").await;
    let text = page.text;
    let paths: Vec<&str> = text.split('"').filter(|part| part.starts_with("/dashboard/assets/")).collect();
    assert!(paths.len() >= 2, "{text}");
    for path in paths {
        let answer = instance.get_anonymously(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("cache-control").contains("immutable"));
        let kind =
            if path.ends_with(".js") { "text/javascript; charset=utf-8" } else { "text/css; charset=utf-8" };
        assert_eq!(answer.header("content-type"), kind);
    }
    for path in ["/dashboard/assets/index-00000000.js", "/dashboard/assets/../index.html"] {
        instance.get(path).await.assert_error(404, "not_found");
    }
}
