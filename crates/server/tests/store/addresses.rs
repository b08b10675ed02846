//! Addresses that cannot be used: one clear line, without the password.

use undertone_server::store::{AnyStore, StoreError};

async fn refused(url: &str) -> StoreError {
    AnyStore::connect(url).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn what_is_no_address_is_said() {
    for url in [
        "",
        "undertone.db",
        "mysql://ann:s3cret@db/x",
        "postgres://ann:s3cret@db:port/x",
        "sqlite:",
        "sqlite::memory:",
        "sqlite:x.db?mode=memory",
        "sqlite:x.db?unknown=1",
    ] {
        let error = refused(url).await;
        assert!(
            matches!(error, StoreError::Address { .. }),
            "{url}: {error:?}"
        );
        one_clear_line(&error);
    }
}

#[tokio::test]
async fn an_unreachable_database_is_named() {
    // A port that was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = refused(&format!(
        "postgres://ann:s3cret@127.0.0.1:{port}/x?password=s3cret"
    ))
    .await;
    one_clear_line(&error);
    let text = error.to_string();
    assert!(
        text.contains(&format!("postgres://ann@127.0.0.1:{port}/x")),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let url = format!(
        "sqlite:{}",
        folder.path().join("no/such/folder.db").display()
    );
    let error = refused(&url).await;
    one_clear_line(&error);
    assert!(error.to_string().contains(&url), "{error}");
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_given_up() {
    // Accepts connections (the kernel does) and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = refused(&format!("postgres://ann:s3cret@127.0.0.1:{port}/x")).await;
    one_clear_line(&error);
    assert!(
        error.to_string().contains("no answer within 5 s"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail.txt");
    std::fs::write(&path, "Dear all, ".repeat(1000)).unwrap();
    let error = refused(&format!("sqlite:{}", path.display())).await;
    one_clear_line(&error);
    assert!(error.to_string().contains("not a database"), "{error}");
}

fn one_clear_line(error: &StoreError) {
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.contains("s3"), "{text}");
}
